"""Post to Mattermost: apprise parses the address, this module writes the post with the colour of its state.

apprise posts text only. Here the headline is the text, and each following part is an attachment, which Mattermost shows
beside a coloured bar. Mattermost would fold a single long attachment and hide the next command.
"""

import json
from collections.abc import Collection, Generator
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from faser_align.notifiers.formats import line
from faser_align.notifiers.message import Message
from faser_align.notifiers.services import APP, Answer, secured

# Colours of the bar, with enough contrast on white and on black.
COLOURS = {"success": "#1f8a54", "warning": "#c77d00", "failure": "#d0342c", "info": "#3b82c4"}
ANSWER_BYTES_MAX = 2000
_PART = "**"  # a paragraph that begins with this, like a heading, starts a part
_FENCE = "```"


def send_post(service: Any, message: Message, reached: Collection[str]) -> Generator[str, None, Answer]:
    """Post a message to the channels of an apprise Mattermost service; return the unredacted answer.

    Channels in ``reached`` are skipped. Yields those that accept. If a channel refuses, the others still get the
    message, and the answer is the refusal.
    """
    server = f"{service.schema}://{service.host}" + (f":{service.port}" if service.port else "")
    address = f"{server}{(service.fullpath or '').rstrip('/')}/hooks/{service.token}"
    channels = list(dict.fromkeys(name for _, name in service.targets)) or [""]
    accepted, refused = Answer(True, ""), []
    try:
        for channel in (name for name in channels if name not in reached):
            answer = _post(service, address, write_post(service, message, channel))
            if answer.accepted:
                yield channel
                accepted = answer
            else:
                refused.append(f"channel {channel}: {answer.words}" if len(channels) > 1 else answer.words)
    except (OSError, HTTPException, ValueError) as error:  # one channel's error must not affect others
        return Answer(False, f"the Mattermost server could not be used: {getattr(error, 'reason', error)}")
    others = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return Answer(False, refused[0] + others) if refused else accepted


def _post(service: Any, address: str, post: dict[str, Any]) -> Answer:
    request = Request(address, json.dumps(post).encode(), {"Content-Type": "application/json", "User-Agent": APP})
    try:
        tls = secured(verified=service.verify_certificate) if service.secure else None
        timeout_s = float(max(service.socket_connect_timeout, service.socket_read_timeout))
        with urlopen(request, timeout=timeout_s, context=tls) as answer:
            if answer.headers.get_content_type() == "text/html":  # a log-in page, or another server at this address
                return Answer(False, "its address leads to a web page, not to a webhook of Mattermost")
            return Answer(True, f"{answer.status} {_words(answer.read(ANSWER_BYTES_MAX))}".strip())
    except HTTPError as error:
        with error:
            reason = f"{error.code} {error.reason}: {_words(error.read(ANSWER_BYTES_MAX))}".rstrip(": ")
        return Answer(False, f"the Mattermost server answered {reason}")


def write_post(service: Any, message: Message, channel: str = "") -> dict[str, Any]:
    """Return the webhook's payload (https://developers.mattermost.com/integrate/webhooks/incoming)."""
    headline, *others = parts(message.markdown)
    coloured = {"color": COLOURS[message.tone], "fallback": message.subject}
    post: dict[str, Any] = {"text": headline, "username": service.user or APP}
    post |= {"channel": channel} if channel else {}
    post |= {"icon_url": service.icon_url} if service.icon_url else {}
    return post | {"attachments": [{**coloured, "text": part} for part in others]}


def parts(markdown: str) -> list[str]:
    """Split into the first paragraph, the text after it, and each part with its heading; keep fenced blocks together."""
    headline, *paragraphs = markdown.strip().split("\n\n")
    blocks: list[list[str]] = []
    fenced = False
    for paragraph in paragraphs:
        if not blocks or (paragraph.startswith(_PART) and not fenced):
            blocks.append([])
        blocks[-1].append(paragraph)
        fenced ^= paragraph.count(_FENCE) % 2 == 1
    return [headline, *("\n\n".join(part) for part in blocks)]


def _words(answer: bytes) -> str:
    """Return the server's words: the message of its JSON, else its text."""
    text = answer.decode("utf-8", "replace")
    with suppress(ValueError, TypeError, KeyError):
        text = str(json.loads(text)["message"])
    return line(text)
