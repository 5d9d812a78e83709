"""Test that posts stay within Mattermost's documented limits: length, tables, mentions."""

import json
import re
from typing import Any

import pytest
from receivers import words_of
from sending import ask, spelled

from faser_align.notifiers.mattermost import COLOURS, parts
from faser_align.notifiers.message import compose
from faser_align.notifiers.targets import EVENTS, Target
from faser_align.operations import samples

POST_MAX = 16_383  # code points of a post (a quarter of 65,535 bytes); longer ones are refused or split
PROPERTIES_MAX = 760_000  # code points of all attachments as JSON
UTC = "2026-11-25T12:00:00Z"
CELL = re.compile(r"(?<!\\)\|")


def post_of(server: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the server received of a message."""
    answer = ask(Target("group", server.url()), compose(facts), key="1", thread="t")
    assert answer == (True, "200 ok")
    post: dict[str, Any] = server.posts.pop()
    assert server.posts == []
    return post


def check(post: dict[str, Any]) -> list[str]:
    """Check a post; return the rows of its table."""
    assert set(post) <= {"text", "username", "channel", "icon_url", "attachments"}  # what an incoming webhook accepts
    assert 0 < len(words_of(post)) <= POST_MAX
    assert len(json.dumps(post["attachments"], ensure_ascii=False)) <= PROPERTIES_MAX
    assert len({part["color"] for part in post["attachments"]}) == 1
    assert all(re.fullmatch(r"#[0-9a-f]{6}", part["color"]) for part in post["attachments"])
    assert all(part["fallback"].startswith("[faser-align] ") and part["text"] for part in post["attachments"])
    for text in (post["text"], *(part["text"] for part in post["attachments"])):
        assert text.count("```") % 2 == 0
    words = re.sub(r"(?ms)^```$.*?^```$|`[^`\n]*`", "", re.sub(r"\\.", "", words_of(post)))
    assert not re.search(r"@(all|channel|here)\b", words)  # mentions nobody inside code
    tables = [part["text"] for part in post["attachments"] if part["text"].startswith("**Iterations**")]
    if not tables:
        return []
    (part,) = tables
    heading, table, *others = part.split("\n\n")  # a table follows an empty line and contains none
    assert heading == "**Iterations**"
    assert not any(other.startswith("|") for other in others)
    rows = table.splitlines()
    assert all(row.startswith("|") for row in rows)
    assert re.fullmatch(r"\|(:?-{3,}:?\|)+", rows[1])
    assert len({len(CELL.findall(row)) for row in rows}) == 1
    return rows


@pytest.mark.parametrize("event", sorted(EVENTS - {"end"}))
def test_every_event_is_within_the_limits(mattermost_server: Any, event: str) -> None:
    """The post of each event has its colour, a recognised table, the page, and the next command separately."""
    facts = samples.facts(UTC, event) | {"page": "https://align.example.org/pages/A%20B.html"}
    post = post_of(mattermost_server, facts)
    rows = check(post)
    assert len(rows) == (0 if event in ("submitted", "reconstructed") else 2 + len(facts["rows"]))
    assert post["text"][0] in "\U0001f7e2\U0001f7e0\U0001f534\U0001f535"
    assert "\n- Page: https://align.example.org/pages/A%20B.html" in words_of(post)
    last = post["attachments"][-1]["text"]
    assert re.match(r"\*\*[^*]+:\*\* `(faser-align|condor_qedit) [^`]+`\n", last)  # alone in its code span
    tone = compose(facts).tone
    assert {part["color"] for part in post["attachments"]} == {COLOURS[tone]}


@pytest.mark.slow
def test_the_worst_is_within_the_limits(mattermost_server: Any, facts: dict[str, Any]) -> None:
    """Thousands of failures with long logs, hostile names and four-byte characters make one accepted post."""
    name = "|@channel ``` \N{ROCKET}\n" * 40
    facts |= {"campaign": name, "reason": name, "solver": name, "notes": [name] * 50, "event": "failed"}
    facts["failed"] = [
        {"node": f"n{i}", "why": f"{spelled(i)}{name}", "cure": name, "log": [name] * 50} for i in range(1000)
    ]
    facts["held"] = [{"node": f"n{i}", "reason": f"{spelled(i)}{name}"} for i in range(1000)]
    facts["files_lost"] = [{"file": i, "why": f"{spelled(i)}{name}"} for i in range(1000)]
    facts["weak"] = [{"name": f"{spelled(i)}{name}", "moved_um": 1.0} for i in range(300)]
    facts["rows"] = [row | {"largest": {"value": 1.0, "where": name, "dof": name}} for row in facts["rows"] * 30]
    post = post_of(mattermost_server, facts)
    assert len(check(post)) == 14  # twelve iterations, the column names, and the line below them
    assert "**Failed: 1,000**" in words_of(post)
    assert "The 108 iterations before these are not shown." in words_of(post)


def test_a_post_is_parted_at_its_headings() -> None:
    """A bold paragraph begins a part; a fenced block with such a paragraph, or with a table, stays together."""
    fence = "- `n`: why\n\n```\n| a |\n\n**b**\n```"
    assert parts(f"**head**\n\nsentence\n\n**Failed: 1**\n\n{fence}\n\n**Next:** `c`\n\nfoot\n") == [
        "**head**",
        "sentence",
        f"**Failed: 1**\n\n{fence}",
        "**Next:** `c`\n\nfoot",
    ]
    assert parts("alone\n") == ["alone"]


def test_a_web_page_is_no_webhook(mattermost_server: Any, facts: dict[str, Any]) -> None:
    """An answer with a web page, such as a log-in page, means that the message was not accepted."""
    mattermost_server.page = True
    said_not = ask(Target("group", mattermost_server.url()), compose(facts), key="1", thread="t")
    assert said_not == (False, "target 'group': its address leads to a web page, not to a webhook of Mattermost")
