"""Test that jobs held, and files dropped, by one cause give few messages, without loss or repetition."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign
from receivers import Mattermost, mattermost, words_of, write_targets
from taking import FAILED, PRE, rows, take
from worlds import PROMPT, altered

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import holds

pytestmark = pytest.mark.slow

FILES = 9
# A script that is killed after its first message arrived, before that is recorded.
KILLED = altered(
    "from faser_align.system.libraries import site_packages\nsite_packages()\nfrom faser_align.state import outbox\n"
    "outbox.mark = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def chat() -> Iterator[Mattermost]:
    with mattermost() as server:
        yield server


@pytest.fixture
def folder(chat: Mattermost, tmp_path: Path) -> str:
    """Provide a campaign with running jobs whose messages go to the webhook."""
    targets = write_targets(tmp_path / "targets.toml", group=chat.url())
    notify = {"targets": ["group"], "events": ["held", "lost", "submitted", "end"], "file": str(targets)}
    config = {"notify": notify, "reconstruction": {"min_files": 0.1}}
    record = make_campaign(tmp_path / "campaign", files=FILES, config=config)
    for file in record["files"]:
        take(record["folder"], {**PRE, "node": layout.reco_node(1, 1, file)})
    return str(record["folder"])


def log(folder: str, *files: int, reason: str = "quota of /eos exceeded", minute: int = 0, more: str = "") -> None:
    """Make HTCondor write into the nodes log that the jobs of these files were submitted and held."""
    with Path(folder, layout.NODES_LOG).open("a") as nodes:
        for file in files:
            job = f"({file:03d}.000.000) 2026-11-24 08:{minute:02d}:00"
            nodes.write(
                f"000 {job} Job submitted from host: <127.0.0.1:1>\n    DAG Node: {layout.reco_node(1, 1, file)}\n...\n"
            )
            nodes.write(f"012 {job} Job was held.\n\t{reason}\n\tCode 13 Subcode 2\n...\n{more}")


def hold(folder: str, file: int, interpreter: tuple[str, ...] = PROMPT) -> int:
    """Run the HOLD script of a file's job; return its exit status."""
    return hook("hold", folder, layout.reco_node(1, 1, file), f"{file}.0", 0, interpreter=interpreter).returncode


def headlines(chat: Mattermost) -> list[str]:
    """Return the first lines of the posts, without their common part."""
    return [post["text"].partition("F400-405 ")[2].strip("* ").replace("\\", "") for post in chat.posts]


def test_the_first_hold_script_takes_in_all(chat: Mattermost, folder: str) -> None:
    """One message has all jobs of the log, and the other HOLD scripts find theirs recorded."""
    log(folder, *range(400, 409))
    assert [hold(folder, file) for file in range(400, 409)] == [0] * FILES
    assert headlines(chat)[1:] == [f"has {FILES} held jobs in iteration 1 of 4"]
    assert "quota" in words_of(chat.posts[-1])
    assert rows(folder, "SELECT count(*), count(DISTINCT node) FROM history WHERE event = 'held'") == [(FILES, FILES)]


def test_a_later_hold_of_the_same_cause_waits_for_the_end_of_the_pause(chat: Mattermost, folder: str) -> None:
    """A hold soon after a message of the same cause waits until the pause is over; another cause is sent at once."""
    pause = "import faser_align.fsm.next_message as rules\nrules.PAUSE_S = "
    log(folder, 400)
    hold(folder, 400)
    log(folder, 401)
    hold(folder, 401, altered(f"{pause}1e6"))  # longer than a script waits
    assert headlines(chat)[1:] == ["has a held job in iteration 1 of 4"]
    log(folder, 402)
    hold(folder, 402, altered(f"{pause}3"))
    assert headlines(chat)[2:] == ["has 2 held jobs in iteration 1 of 4"]
    log(folder, 403, reason="memory use exceeded the request")
    hold(folder, 403)
    assert headlines(chat)[3:] == ["has a held job in iteration 1 of 4"]


@pytest.mark.parametrize(("phase", "macros"), [("pre", (0, 2)), ("final", (4, 0))])
def test_a_hold_whose_script_was_killed_is_not_lost(
    phase: str, macros: tuple[int, int], chat: Mattermost, folder: str
) -> None:
    """A Millepede node's script and FINAL record holds without a HOLD script, and FINAL sends paused messages."""
    log(folder, 400, 401)
    hook(phase, folder, layout.mille_node(1, 1) if phase == "pre" else "final", *macros)
    ends = ["removed in iteration 1 of 4"] if phase == "final" else []
    assert headlines(chat)[1:] == ["has 2 held jobs in iteration 1 of 4", *ends]
    hold(folder, 401)
    assert len(chat.posts) == 2 + len(ends)


def test_a_message_is_repeated_with_its_key(chat: Mattermost, folder: str) -> None:
    """If a HOLD script is killed after its message arrived, the message is repeated with its key, without later holds."""
    take(folder, {**PRE, "phase": "control", "event": "submitted"})
    hold(folder, 408)  # the submission's message, and one job's
    log(folder, 400, 401)
    assert hold(folder, 400, KILLED) == -9
    log(folder, 402, 403)
    hold(folder, 402)
    assert headlines(chat)[-3:] == [f"has {jobs} held jobs in iteration 1 of 4" for jobs in (2, 2, 2)]
    keys = [words_of(post).rstrip().rpartition("\n")[2] for post in chat.posts[-3:]]
    assert (len(set(keys)), keys[0]) == (2, keys[1])


def test_a_log_can_hold_anything(folder: str) -> None:
    """Truncated and foreign events, other jobs' holds and undecodable bytes are skipped; the rest is recorded."""
    log(folder, 400, reason="x" * 10_000, more="012 (999.000.000) 2026-11-24 08:00:00 Job was held.\n\tnobody's\n...\n")
    with Path(folder, layout.NODES_LOG).open("ab") as nodes:
        nodes.write(b"\xff\xfe\x00 000 (\n012 (\n012 (401.000.000) 2026-11-24 08:00:00 Job was held.\n\ttorn")
    found = holds.read(folder)
    assert [(one.node, one.job_id) for one in found[:2]] == [(layout.reco_node(1, 1, 400), "400.0"), ("", "999.0")]
    assert len(found[0].reason) == 400
    hold(folder, 400)
    assert rows(folder, "SELECT job_id FROM history WHERE event = 'held'") == [("400.0",)]


def test_the_log_of_another_dagman_is_left_to_its_scripts(folder: str) -> None:
    """A HOLD script of an earlier DAGMan records its own hold, and none from the next one's log."""
    log(folder, 400, 401)
    take(folder, {**PRE, "dag_id": "20.0"})
    hold(folder, 401)
    assert rows(folder, "SELECT job_id, dag_id FROM history WHERE event = 'held'") == [("401.0", "12.0")]


def test_dropped_files_are_one_message(chat: Mattermost, folder: str) -> None:
    """Files dropped one after the other, between holds of one cause, are one message with their number."""
    gone: dict[str, Any] = {
        "fatal": True,
        "ret": exit_codes.RAW_MISSING,
        "exit": exit_codes.FATAL,
        "reason": "raw file missing",
    }
    for file in range(400, 404):
        node = layout.reco_node(1, 1, file)
        assert take(folder, {**FAILED, **gone, "node": node, "job_id": f"{file}.0"}) == [0]
        log(folder, file + 4)
        hold(folder, file + 4, altered("import faser_align.fsm.next_message as rules\nrules.PAUSE_S = 1e6"))
    assert headlines(chat)[1:] == ["dropped a file in iteration 1 of 4", "has a held job in iteration 1 of 4"]
    hook("final", folder, "final", 4, 0)
    assert headlines(chat)[3:] == [
        "dropped 3 files in iteration 1 of 4",
        "has 3 held jobs in iteration 1 of 4",
        "removed in iteration 1 of 4",
    ]
    assert "Dropped files: 4" in words_of(chat.posts[3]).replace("**", "")


def test_a_late_message_says_how_it_was(folder: str, chat: Mattermost) -> None:
    """Messages that waited for the end arrive in the order of events, each with the state of its time."""
    chat.token, token = "away", chat.token
    hold(folder, 400)
    take(folder, {**FAILED, "node": layout.reco_node(1, 1, 401), "job_id": "401.0"})
    chat.token = token
    hook("final", folder, "final", 2, 1)
    assert headlines(chat) == ["submitted", "has a held job in iteration 1 of 4", "failed in iteration 1 of 4"]
    for post, state, failed in zip(chat.posts, ("submitted", "reconstructing", "failed"), (0, 0, 1), strict=True):
        assert f"**State: {state}**" in words_of(post)
        assert words_of(post).count("**Failed: 1**") == failed
    assert "Held" not in words_of(chat.posts[0])
