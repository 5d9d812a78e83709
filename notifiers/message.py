"""What a message says: one view of the facts, laid out as text, as HTML and as Markdown.

The facts are a plain mapping; all of it may be missing but the campaign, the event and the state.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from faser_align.notifiers.wording import Facts, Limits, Table, View, line, view

if TYPE_CHECKING:
    from jinja2 import Environment

_SUBJECT_MAX = 180  # characters; a mail client shows less than half of it
MARKDOWN_MAX = 16_000  # characters; Mattermost takes 16,383 in a post
_CHAT_LIMITS = (Limits(), Limits(log_lines=4, sentence=200), Limits(items=3, log_lines=0, sentence=200))
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


@dataclass(frozen=True)
class Message:
    """One message in its three forms, which say the same.

    ``tone`` is one of apprise's kinds of message: info, success, warning, failure.
    """

    subject: str
    text: str
    html: str
    markdown: str
    tone: str = "info"


def compose(facts: Facts) -> Message:
    """Write the message about an event of a campaign.

    ``facts`` holds what is known: ``campaign``, ``event``, ``state``, ``reason``, ``stage``, ``stages``,
    ``iteration``, ``iterations``, ``rows`` (one per iteration, oldest first), ``files_lost``, ``held``, ``failed``,
    ``solver``, ``wall_s``, ``constants``, ``folder``, ``next``, ``key``, ``utc``. Names, reasons and log lines may
    hold anything: they cannot become a header, a tag, a link or a mention.
    """
    seen = view(facts, Limits())
    subject = line(f"[faser-align] {seen.headline}", _SUBJECT_MAX)
    return Message(subject, _render("txt", seen), _render("html", seen), _short_markdown(facts), seen.tone)


def _short_markdown(facts: Facts) -> str:
    """Markdown that a chat server takes in one post: logs and lists give way first."""
    for limits in _CHAT_LIMITS:
        markdown = _render("md", view(facts, limits))
        if len(markdown) <= MARKDOWN_MAX:
            break
    return markdown


def _render(form: str, seen: View) -> str:
    text = _environment().get_template(f"message.{form}.j2").render(view=seen)
    return text if form == "html" else _tidy(text)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("faser_align", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain_table=_plain_table, md=_markdown, code=_code, unfenced=_unfenced)
    return environment


def _tidy(text: str) -> str:
    """No blank line twice, none at the ends: a part that is left out leaves no hole."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _plain_table(table: Table) -> str:
    """The table in aligned columns; the last one, of words, to the left."""
    lines = [table.columns, *table.rows]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == len(widths) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in lines
    )


def _markdown(text: str) -> str:
    """``text`` that Markdown shows as it is; an invisible space keeps ``@all`` from calling anybody."""
    return _MARKDOWN.sub(r"\\\1", text).replace("@", "@\u200b")


def _code(text: str) -> str:
    """``text`` between backticks."""
    return "`" + text.replace("`", "'") + "`" if text else ""


def _unfenced(text: str) -> str:
    """``text`` that cannot end a fenced block."""
    return text.replace("```", "'''")
