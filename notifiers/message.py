"""Compose a message: one view of the event payload, rendered as text, HTML and Markdown.

``campaign.message_facts`` describes the payload. The wording of an event
and the order of its parts are in its own template (``converged.j2``), the three forms in ``message.txt.j2``,
``message.html.j2`` and ``message.md.j2``. ``notifiers.templates`` loads the user's templates.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from faser_align.campaign.message_facts import Facts
from faser_align.notifiers.formats import line
from faser_align.notifiers.templates import Templates
from faser_align.notifiers.view import Limits, Words
from faser_align.notifiers.wording import names, view

_SUBJECT_MAX = 180  # characters; a mail client shows fewer than half of them
MARKDOWN_MAX = 16_000  # characters; Mattermost accepts 16,383 per post
FORMS = ("txt", "html", "md")
_CHAT_LIMITS = (Limits(), Limits(log_lines=4, sentence=200), Limits(items=3, log_lines=0, sentence=200))


@dataclass(frozen=True)
class Message:
    """One message in three forms with the same content; a form that its target does not show is empty."""

    subject: str
    text: str
    html: str
    markdown: str
    tone: str = "info"  # one of apprise's message types: info, success, warning, failure
    picture: bytes | None = field(default=None, repr=False)  # plot of the convergence (PNG), as an attachment
    problems: tuple[str, ...] = ()  # sentences about templates of the user that could not be used


def compose(facts: Facts, folder: str = "", forms: Collection[str] = FORMS) -> Message:
    """Write the message about an event of a campaign, in the requested forms.

    Names, reasons and log lines of ``facts`` may contain anything: they cannot become a header, a tag, a link or a mention.
    Templates in ``folder`` replace ours of the same name; ``problems`` names each one that cannot be used.
    """
    templates, known = Templates(folder), names(facts)
    event = known["event"]
    words = _words(templates.words(event, known))
    seen = view(facts, Limits(), words)
    picture = facts.get("picture")
    return Message(
        subject=line(f"[faser-align] {seen.headline}", _SUBJECT_MAX),
        text=_tidy(templates.render(event, "txt", seen)) if "txt" in forms else "",
        html=templates.render(event, "html", seen) if "html" in forms else "",
        markdown=_short_markdown(facts, event, words, templates) if "md" in forms else "",
        tone=seen.tone,
        picture=picture if isinstance(picture, bytes) else None,
        problems=tuple(templates.problems),
    )


def _words(set_by: dict[str, Any]) -> Words:
    """Return the event's wording: from the user's template, completed by ours."""
    words = Words(**{"subject": "", "meaning": "", **set_by})
    return words._replace(meaning=words.meaning.rstrip(". "), parts=tuple(words.parts))


def _short_markdown(facts: Facts, event: str, words: Words, templates: Templates) -> str:
    """Return Markdown that fits into one post: shorten logs and lists first, then fall back from the user's template."""
    for ours in (False, True):
        for limits in _CHAT_LIMITS:
            markdown = _tidy(templates.render(event, "md", view(facts, limits, words), ours=ours))
            if len(markdown) <= MARKDOWN_MAX:
                return markdown
        templates.refuse_markdown(f"it makes more than {MARKDOWN_MAX:,} characters")
    return markdown[:MARKDOWN_MAX]


def _tidy(text: str) -> str:
    """Remove repeated blank lines and those at the ends, which omitted parts leave."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
