"""What Mattermost is sent keeps within what it documents: length of a post, form of a table, mentions."""

import json
import re
from typing import Any

import pytest

from faser_align.cli.work import samples
from faser_align.notifiers.message import compose
from faser_align.notifiers.send import ask
from faser_align.notifiers.targets import EVENTS, Target

POST_MAX = 16_383  # code points of a post (a quarter of 65,535 bytes); longer ones are refused or split
UTC = "2026-11-25T12:00:00Z"
CELL = re.compile(r"(?<!\\)\|")


def post_of(server: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What the server received of a message."""
    answer = ask(Target("group", server.url()), compose(facts), key="1", thread="t")
    assert answer == (True, "HTTP status 200")
    post: dict[str, Any] = server.posts.pop()
    assert server.posts == []
    return post


def check(post: dict[str, Any]) -> list[str]:
    """Check a post; returns the rows of its table."""
    assert set(post) <= {"text", "username", "channel", "icon_url"}  # fields that an incoming webhook takes
    assert 0 < len(post["text"]) <= POST_MAX
    assert len(json.dumps(post, ensure_ascii=False).encode()) <= 4 * POST_MAX
    words = re.sub(r"(?ms)^```$.*?^```$|`[^`\n]*`", "", re.sub(r"\\.", "", post["text"]))
    assert not re.search(r"@(all|channel|here)\b", words)  # in code it calls nobody
    lines = post["text"].splitlines()
    table = [at for at, line in enumerate(lines) if line.startswith("|")]
    if not table:
        return []
    assert table == list(range(table[0], table[-1] + 1))  # no line between its rows
    assert lines[table[0] - 1] == ""  # a table begins after an empty line
    assert lines[table[-1] + 1] == ""
    rows = [lines[at] for at in table]
    assert re.fullmatch(r"\|(:?-{3,}:?\|)+", rows[1])
    assert len({len(CELL.findall(row)) for row in rows}) == 1
    return rows


@pytest.mark.parametrize("event", sorted(EVENTS - {"end"}))
def test_every_event_is_within_the_limits(mattermost_server: Any, event: str) -> None:
    """The post of each event has its colour, its sentence, and a table that Mattermost shows as one."""
    facts = samples.facts(UTC, event) | {"page": "https://align.example.org/pages/A%20B.html"}
    post = post_of(mattermost_server, facts)
    rows = check(post)
    assert len(rows) == (0 if event == "submitted" else 5)
    assert post["text"][0] in "\U0001f7e2\U0001f7e0\U0001f534\U0001f535"
    assert "\n- Page: https://align.example.org/pages/A%20B.html\n" in post["text"]


def test_the_worst_is_within_the_limits(mattermost_server: Any, facts: dict[str, Any]) -> None:
    """Thousands of failures with long logs, hostile names and four-byte letters make one post that is accepted."""
    name = "|@channel ``` \N{ROCKET}\n" * 40
    facts |= {"campaign": name, "reason": name, "solver": name, "notes": [name] * 50, "event": "failed"}
    facts["failed"] = [{"node": f"n{i}", "why": f"{i}{name}", "cure": name, "log": [name] * 50} for i in range(3000)]
    facts["held"] = [{"node": f"n{i}", "reason": f"{i}{name}"} for i in range(3000)]
    facts["files_lost"] = [{"file": i, "why": f"{i}{name}"} for i in range(3000)]
    facts["weak"] = [{"name": f"{i}{name}", "moved_um": 1.0} for i in range(300)]
    facts["rows"] = [row | {"largest": {"value": 1.0, "where": name, "dof": name}} for row in facts["rows"] * 30]
    post = post_of(mattermost_server, facts)
    assert len(check(post)) == 14  # twelve iterations, the names of the columns, and the line below them
    assert "**Failed: 3,000**" in post["text"]
    assert "The 108 iterations before these are not shown." in post["text"]
