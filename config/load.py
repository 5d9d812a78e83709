"""Read the configuration file, and report each error in one sentence."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

import faser_align
from faser_align.config.decisions import Convergence
from faser_align.config.describe import A_LIST, SOME, allowed_values, names
from faser_align.config.fields import PATH, PATTERN, PROGRAM, Table
from faser_align.config.near import nearest as similar
from faser_align.config.schema import Config
from faser_align.fsm.errors import UserError

DEFAULT_FILE = "faser-align.toml"
EXAMPLES = "{examples}"  # at the beginning of a path: the installed folder of examples
ZEROS = f"{EXAMPLES}/align_zeros.txt"  # constants of zeros
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
AnyTable = TypeVar("AnyTable", bound=Table)


def load_config(path: str) -> Config:
    """Read, validate and complete a configuration file.

    Paths that are relative to the file's folder, or begin with ``~``, become absolute. Raises UserError with one
    sentence per problem, each on its own line.
    """
    return parse_config(read_text(path), path)


def parse_config(text: str, path: str) -> Config:
    """Validate the text of the configuration file ``path``; see :func:`load_config`."""
    if not text.strip():
        raise UserError(f"{path} is empty; create a configuration with `faser-align init`")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error)
        raise UserError(f"{path} is not valid TOML: {why[:1].lower()}{why[1:]}; correct it there") from None
    return _with_absolute_paths(validate(raw, path), os.path.dirname(os.path.abspath(path)))


def validate(raw: Mapping[str, Any], where: str) -> Config:
    """Return the configuration from plain values; raise UserError with one sentence per error, naming ``where``."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        allowed = allowed_values()
        raise UserError(*(f"{where}: {_sentence(problem, allowed)}" for problem in _problems(error))) from None


def read_text(path: str) -> str:
    """Return the contents of the configuration file ``path``; raise UserError if it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such configuration file; create one with `faser-align init`, or name another with --config"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; create a configuration with `faser-align init`") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}; correct the name or the permissions") from None


def absolute(path: str, base: str) -> str:
    """Return ``path`` as an absolute path, with ``~`` and ``{examples}`` expanded; an empty path stays empty.

    Relative paths start at the folder ``base``.
    """
    if path.startswith(EXAMPLES):
        path = f"{os.path.dirname(os.path.abspath(faser_align.__file__))}/examples{path.removeprefix(EXAMPLES)}"
    return os.path.normpath(os.path.join(base, os.path.expanduser(path))) if path else ""


def absolute_pattern(pattern: str, base: str) -> str:
    """Return a format string as an absolute path; braces in folder names of ``base`` are escaped."""
    head, slash, rest = pattern.partition("/")
    if head.startswith("~"):
        pattern = _escaped(os.path.expanduser(head)) + slash + rest
    return os.path.normpath(os.path.join(_escaped(base), pattern)) if pattern else ""


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _problems(error: ValidationError) -> Iterator[dict[str, Any]]:
    """Yield each problem; an invalid table of a stage's criteria gives one for each of its keys."""
    found: list[dict[str, Any]] = [dict(problem) for problem in error.errors(include_url=False)]
    for problem in found:
        location, value = problem["loc"], problem["input"]
        if location[-1:] == ("convergence",) and len(location) > 1 and isinstance(value, dict):
            try:
                Convergence.model_validate(value)
            except ValidationError as inner:
                yield from ({**dict(one), "loc": (*location, *one["loc"])} for one in inner.errors(include_url=False))
        else:
            yield problem


def _sentence(problem: dict[str, Any], allowed: dict[str, str]) -> str:
    """Return one problem as a sentence: the key as counted in the file, its value, and what is allowed."""
    location: tuple[str | int, ...] = problem["loc"]
    if location[-1:] == ("[key]",):  # of a table with keys chosen by the user
        location = location[:-2]
    dotted = ".".join(part for part in location if isinstance(part, str))
    dotted = dotted.removeprefix("stages.") if dotted.startswith("stages.convergence.") else dotted
    shown = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if problem["type"] == "extra_forbidden":
        return f"{shown} is not a key of the configuration; {nearest(dotted)}"
    value = _shown(problem["input"])
    if dotted not in allowed and dotted.rpartition(".")[0] in allowed:
        dotted = dotted.rpartition(".")[0]
    if dotted in allowed:
        words = allowed[dotted]
        if isinstance(location[-1], int):
            words = words.removeprefix(A_LIST).removeprefix(SOME)
        detail = str(problem["ctx"]["error"]) + "; " if problem["type"] == "value_error" else ""
        if problem["type"] == "string_pattern_mismatch" and CONTROL.search(problem["input"]):
            detail = "it contains a line break or another control character; "
        elif problem["type"] == "string_pattern_mismatch" and problem["input"].endswith("\\"):
            detail = "it ends with a backslash; "
        return f"{shown} = {value} is not allowed: {detail}it must be {words}"
    if problem["type"] == "value_error":
        return f"{shown}: {problem['ctx']['error']}"
    kind = {"list_type": "a list of tables", "too_short": "one table or more", "too_long": "9 tables at most"}.get(
        problem["type"], "a table"
    )
    return f"{shown} = {value} is not allowed: it must be {kind}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(dotted: str) -> str:
    """Return advice for an unknown key: the most similar known key, the keys of its table, or the page that has all."""
    known = names()
    table, _, last = dotted.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == table]
    near = [name for name in known if name.rpartition(".")[2] == last]
    near = near or [name for name in known if len(name) > 3 and f"_{last}".endswith(f"_{name.rpartition('.')[2]}")]
    if not near:
        # The table's name would make any of its keys look similar.
        of_table = {name.rpartition(".")[2]: name for name in siblings}
        near = [of_table.get(similar(last, of_table), "") if siblings else similar(dotted, known)]
    if near[0]:
        return f"did you mean {near[0]}?"
    if not siblings:
        return "docs/configuration.md lists all keys"
    return f"known here: {', '.join(name.rpartition('.')[2] for name in siblings)}"


def _with_absolute_paths(table: AnyTable, base: str) -> AnyTable:
    """Return a table, with those in it, in which the paths are absolute."""
    update: dict[str, Any] = {}
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if isinstance(value, Table):
            update[name] = _with_absolute_paths(value, base)
        elif isinstance(value, list) and isinstance(next(iter(value), None), Table):
            update[name] = [_with_absolute_paths(inner, base) for inner in value]
        elif PATTERN in field.metadata:
            update[name] = absolute_pattern(value, base)
        # A program without a slash is looked up on the execute node.
        elif PATH in field.metadata or (PROGRAM in field.metadata and "/" in value):
            update[name] = absolute(value, base)
    return table.model_copy(update=update)
