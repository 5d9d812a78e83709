"""Test that names cannot become a header, part or tag of a mail."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hostile import HOSTILE

from faser_align.notifiers.mail import write_mail
from faser_align.notifiers.message import compose
from faser_align.notifiers.services import open_service

ADDRESS = "mailto://127.0.0.1:25?from=faser@example.org&to=me@example.org"
# A name may also contain the end of a header, a MIME part or a page.
MORE = [
    "a\r\nBcc: all@example.org\r\n\r\n<b>",
    "=?utf-8?q?x?=",
    "--===============",
    "</td></table><img src=x onerror=alert(1)>",
    "&amp;<!--",
]


def letter(name: str) -> EmailMessage:
    """Return the received mail about a failed campaign in which everything that has a name has this one."""
    facts: dict[str, Any] = dict.fromkeys(("campaign", "reason", "solver"), name) | {
        "event": "failed",
        "state": "failed",
        "folder": f"/data/{name}",
        "constants": f"/data/{name}/inputforalign.txt",
        "failed": [{"node": name, "why": name, "cure": name, "log": [name]}],
        "held": [{"node": name, "reason": name}],
        "files_lost": [{"file": 400, "node": name, "why": name}],
        "notes": [name],
        "steps": [("next", f"faser-align resume {name}")],
        "rows": [{"stage": 1, "iteration": 1, "largest": {"value": 1.0, "unit": name, "dof": name, "where": name}}],
    }
    key = f"{name}/7"
    written = write_mail(open_service(ADDRESS), compose(facts), key=key, thread=name)
    # As smtplib sends it; an undecodable byte becomes a question mark.
    received = message_from_bytes(written.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert isinstance(received, EmailMessage)
    return received


class Tags(HTMLParser):
    """The tags and attributes of a page, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


@pytest.mark.parametrize("name", [*HOSTILE, *MORE])
def test_a_letter_has_the_same_build_with_any_name(name: str) -> None:
    """Headers, parts, tags and attributes equal those of a mail about a plain name; the subject is one line."""
    plain, found = letter("plain name"), letter(name)
    assert found.keys() == plain.keys()
    assert [part.get_content_type() for part in found.walk()] == [part.get_content_type() for part in plain.walk()]
    assert (found["To"], found["From"]) == (plain["To"], plain["From"])
    for header, value in found.items():
        assert not re.search(r"[\r\n\x00]", value), header
    pages = [part.get_body(("html",)) for part in (plain, found)]
    tags = [Tags(page.get_content()).found for page in pages if page is not None]
    assert tags[0] == tags[1]
