"""Test the end of the job's own log in message, page and `analyze`: 20 lines, and the last ERROR or FATAL line."""

import os
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign
from commandline import faser_align
from receivers import notify, text_of

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pages.collect import collect
from faser_align.pages.report import render
from faser_align.state.logends import BYTES_MAX, LINE_CHARS_MAX, LINES, LogEnd, log_end

NODE = layout.reco_node(1, 1, 400)
TOKEN = "yobjmukpaw3r3urc5h6i369yima"
ERROR = f"Segment.Finder   FATAL no geometry, asked with {TOKEN}"
PRINTED = [ERROR, *(f"ApplicationMgr   INFO event {i:03d}" for i in range(30))]


def leave(
    folder: str, printed: bytes, *, node: str = NODE, said: str = "reconstruction: it ended with status 1"
) -> str:
    """Write what `reconstruct.sh` leaves of a failed job; return the path of its own log."""
    own = layout.job_log(folder, node, "log")
    Path(own).write_bytes(printed)
    Path(layout.job_log(folder, node, "err")).write_text(f"{said} (log: {own})\n")
    return own


def crash(folder: str, printed: bytes, **said: str) -> None:
    """Run the scripts of a campaign whose job crashes."""
    hook("pre", folder, NODE, 2, 2)
    leave(folder, printed, **said)
    hook("post", folder, NODE, 2, 2, exit_codes.CRASHED, "13.0", 0)
    hook("final", folder, "final", 2, 1)


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    return make_campaign(tmp_path / "campaign", files=1)


@pytest.mark.slow
def test_message_page_and_analyze_have_the_end_of_the_log(tmp_path: Path) -> None:
    """Message, page and `analyze` have the last lines and the last error, without secrets and lines of the wrapper."""
    with Mailbox(tmp_path / "mail") as mailbox:
        table = notify(tmp_path, mailbox, "end", group=f"mmost://127.0.0.1:1/{TOKEN}")
        folder = make_campaign(tmp_path / "campaign", files=1, config={"notify": table})["folder"]
        crash(folder, "\n".join(PRINTED).encode())
        (letter,) = mailbox.messages()
    analyzed = faser_align("analyze", folder).out
    assert faser_align("report", folder, "-o", str(tmp_path / "page.html")).status == 0
    page = (tmp_path / "page.html").read_text()
    for text in (text_of(letter), text_of(letter, "html"), analyzed, page):
        assert [line for line in PRINTED if line in text] == PRINTED[-LINES:]
        assert "FATAL no geometry, asked with ***" in text
        assert TOKEN not in text
        assert text.count("it ended with status 1") <= text.count(f"/{NODE}.log)")  # the reason, and only there
    Path(table["file"]).chmod(0o644)  # secrets are unknown now
    assert "ApplicationMgr" not in faser_align("analyze", folder).out


def test_message_and_page_have_no_secrets_in_reasons(tmp_path: Path) -> None:
    """If the last line of a job contains a target's secret, message and page show the reason without it."""
    with Mailbox(tmp_path / "mail") as mailbox:
        table = notify(tmp_path, mailbox, "end", group=f"mmost://127.0.0.1:1/{TOKEN}")
        folder = make_campaign(tmp_path / "campaign", files=1, config={"notify": table})["folder"]
        crash(folder, b"", said=f"reconstruction: asked with {TOKEN}")
        (letter,) = mailbox.messages()
    (group,) = collect(folder).failed
    assert group.reason.startswith("reconstruction crashed: reconstruction: asked with ***")
    for text in (
        text_of(letter),
        text_of(letter, "html"),
        render(collect(folder), written_utc="2026-11-25T12:00:00.000Z"),
    ):
        assert "asked with ***" in text
        assert TOKEN not in text


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"\n \n\n",
        b"\x00\x01\xff" * 100_000 + b"\nlast\n",
        b"x" * (BYTES_MAX + 5000),
        b"\x1b]0;title\x07\x1b[2J\x1b[31mERROR red\x1b[0m\r\nlast \xe2\x80\xae line\n",
        b"ERROR <script>alert(1)</script>\n" * 200_000,
    ],
    ids=["empty", "blank", "binary", "one line", "terminal", "huge"],
)
def test_a_log_can_hold_anything(record: dict[str, Any], printed: bytes) -> None:
    """The end of any log is at most 20 short lines of text without control characters."""
    leave(record["folder"], printed)
    end = log_end(record["folder"], NODE, "reconstruction crashed")
    assert len(end.lines) <= LINES
    for line in (*end.lines, end.error):
        assert len(line) <= LINE_CHARS_MAX
        assert line.isprintable() or not line
    if b"last" in printed:
        assert end.lines[-1].startswith("last")
    assert ("ERROR" in end.error) == (b"ERROR" in printed)


def test_which_log_is_the_jobs_own(record: dict[str, Any]) -> None:
    """The log of another attempt is ignored; without a log of its own, the job's output is shown."""
    folder = record["folder"]
    own = leave(folder, b"of this attempt\n")
    assert log_end(folder, NODE, "reconstruction crashed") == LogEnd(own, ("of this attempt",))
    err, out = (layout.job_log(folder, NODE, ending) for ending in ("err", "out"))
    Path(err).write_text("inputs: raw file /r/400 cannot be read\n")
    assert log_end(folder, NODE, "raw file missing or unreadable") == LogEnd()
    Path(out).write_text("2026-11-24T08:00:00Z inputs\n")
    assert log_end(folder, NODE, "raw file missing or unreadable") == LogEnd(out, ("2026-11-24T08:00:00Z inputs",))
    Path(err).write_text("Traceback\n  line 1\nreconstruction crashed: KeyError\n")  # of the simulation
    assert log_end(folder, NODE, "reconstruction crashed") == LogEnd(err, ("Traceback", "  line 1"))
    os.unlink(err)
    os.mkfifo(err)
    assert log_end(folder, NODE, "reconstruction crashed").path == out


def test_a_millepede_job_without_a_solution_shows_its_solver(record: dict[str, Any]) -> None:
    """Without a solution the log is pede's output; for any other failure it is the job's."""
    folder, node = record["folder"], layout.mille_node(1, 1)
    Path(layout.job_log(folder, node, "err")).write_text("trace\nno solution: pede ended with 26\n")
    printed = layout.solver_logs(folder, node)[0]
    Path(printed).write_text("  ERROR: too many rejects\n  STOP 26\n")
    end = LogEnd(printed, ("  ERROR: too many rejects", "  STOP 26"), "ERROR: too many rejects")
    assert log_end(folder, node, "no solution: pede ended with 26") == end
    assert log_end(folder, node, "disk full: quota").lines == ("trace",)
