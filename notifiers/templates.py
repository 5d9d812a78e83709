"""Load message templates: the user's (``notify.templates``) before ours.

For an event ``converged`` the wording comes from ``converged.j2``, and a form (txt, html, md) from
``converged.txt.j2``, then ``message.txt.j2``: from the user's folder first, then from ours. A template of the user can
extend, import or include ours as ``ours/message.html.j2``. It runs in Jinja's sandbox and within a time limit, because
somebody else may have written it. If it fails, ours is used.
"""

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

from faser_align.notifiers.view import PARTS, Table, View
from faser_align.system import jinja

OURS = "ours"
UNKNOWN = "event"  # template of events without their own
CPU_S_MAX = 2.0  # of one template of the user
_EVENT = re.compile(r"[a-z_]{1,40}")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


class Templates:
    """Templates of one message; ``problems`` lists the user's templates that could not be used, with the reason."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder
        self.problems: list[str] = []
        self._refused: set[str] = set()
        if folder and not os.path.isdir(folder):
            self.problems.append(
                f"notify.templates = {folder} is not a readable folder; the program's own templates are used"
            )
            self.folder = ""

    def words(self, event: str, names: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that an event's template sets: ``subject``, ``meaning``, ``tone``, ``parts``."""
        known = event if _EVENT.fullmatch(event) and f"{event}.j2" in _names() else UNKNOWN
        variables = _set_by(_ours(), f"{known}.j2", names)
        for name in self._of_the_user([f"{event}.j2"], event):
            try:
                with _bounded():
                    variables |= _checked(_set_by(_users(self.folder), name, names))
            except Exception as problem:  # noqa: BLE001 -- a template is a program of the user's
                self._tell(name, problem)
        return variables

    def render(self, event: str, form: str, view: View, *, ours: bool = False) -> str:
        """Render a form of the message, ``txt``, ``html`` or ``md``; with ``ours`` ignore the user's templates."""
        wanted = [f"{event}.{form}.j2", f"message.{form}.j2"]
        for name in [] if ours else self._of_the_user(wanted, event):
            try:
                with _bounded():
                    return _sendable(_users(self.folder).get_template(name).render(view=view))
            except Exception as problem:  # noqa: BLE001 -- as above
                self._tell(name, problem)
        return _ours().get_template(f"message.{form}.j2").render(view=view)

    def refuse_markdown(self, why: str) -> None:
        """Record that the output of the user's template for Markdown cannot be used, if there is such a template."""
        for name in self._of_the_user(sorted(os.listdir(self.folder)) if self.folder else [], "message"):
            if name.endswith(".md.j2"):
                self._note(name, why)

    def _of_the_user(self, wanted: list[str], event: str) -> list[str]:
        """Return those of the wanted templates that the user has and that have not failed yet."""
        if not self.folder or not _EVENT.fullmatch(event):
            return []
        return [name for name in wanted if name not in self._refused and os.path.isfile(f"{self.folder}/{name}")]

    def _tell(self, name: str, problem: Exception) -> None:
        if isinstance(problem, TimeoutError):
            raise problem  # the delivery's alarm, not an error of the template
        line = getattr(problem, "lineno", None)
        reason = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        self._note(name, f"line {line}: {reason}" if line else reason)

    def _note(self, name: str, why: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            sentence = " ".join(f"{self.folder}/{name} cannot be used: {why}".split())
            self.problems.append(f"{sentence}; the program's own is used")


class _TooLong(Exception):
    """A template exceeded its CPU time."""


@contextmanager
def _bounded() -> Iterator[None]:
    """Limit CPU time; independent of the delivery's alarm, which measures wall time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"it did not end within {CPU_S_MAX:g} s of CPU time")

    previous = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, previous)


def _set_by(environment: Environment, name: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that a template sets."""
    module = environment.get_template(name).make_module(dict(names))
    return {key: value for key in ("subject", "meaning", "tone", "parts") if (value := getattr(module, key, None))}


def _checked(words: dict[str, Any]) -> dict[str, Any]:
    """Return the user's wording if its types are right; raise ValueError or TypeError otherwise."""
    for key in ("subject", "meaning", "tone"):
        if not isinstance(words.get(key, ""), str):
            raise TypeError(f"{key} must be text")
    parts = words.get("parts", [])
    if not isinstance(parts, list) or not all(part in PARTS for part in parts):
        raise ValueError(f"parts must be a list of {', '.join(PARTS)}")
    if words.get("tone", "info") not in ("info", "success", "warning", "failure"):
        raise ValueError("tone must be info, success, warning or failure")
    return words


def _sendable(text: str) -> str:
    """Return the text of a form; raise ValueError if it is empty or cannot be encoded: servers refuse such messages."""
    if not text.strip():
        raise ValueError("it writes nothing")
    text.encode()
    return text


@cache
def _names() -> frozenset[str]:
    loader = _ours().loader
    assert loader is not None
    return frozenset(loader.list_templates())


def _loader() -> PackageLoader:
    return PackageLoader("faser_align", "templates/messages")


@cache
def _ours() -> Environment:
    return _prepared(jinja.environment(loader=_loader()))


@cache
def _users(folder: str) -> Environment:
    loader = ChoiceLoader([FileSystemLoader(folder), PrefixLoader({OURS: _loader()})])
    return _prepared(jinja.environment(ImmutableSandboxedEnvironment, loader))


def _prepared(environment: Environment) -> Environment:
    environment.filters.update(
        plain_table=_plain_table,
        md=_markdown,
        code=_code,
        unfenced=lambda text: text.replace("```", "'''"),  # so that it cannot end a fenced block
        capitalized=lambda text: text[:1].upper() + text[1:],
    )
    return environment


def _plain_table(table: Table) -> str:
    """Return the table in aligned columns."""
    lines = [table.columns, *table.rows]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == table.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in lines
    )


def _markdown(text: str) -> str:
    """Escape ``text`` for Markdown; a zero-width space keeps ``@all`` from mentioning anybody."""
    return _MARKDOWN.sub(r"\\\1", text).replace("@", "@\u200b")


def _code(text: str) -> str:
    """Return ``text`` between backticks."""
    return "`" + text.replace("`", "'") + "`" if text else ""
