"""Test screens and tables from snapshots, without a campaign and without a terminal."""

from datetime import UTC
from typing import Any

import pytest

from faser_align.campaign.next_steps import held_steps
from faser_align.cli.show import draw, explain, figures, history_view, incidents, live, screens
from faser_align.cli.show.draw import Grid, Line
from faser_align.operations import failures
from faser_align.state.logends import LogEnd


def snapshot(**changes: Any) -> dict[str, Any]:
    """Return a campaign in the second of two stages, without incidents."""
    return {
        "name": "a b",
        "state": "reconstructing",
        "reason": "iteration 1: 0 of 7 nodes done",
        "folder": "/c",
        "ended": False,
        "year": 2023,
        "run": "011705",
        "files": 1200,
        "held_back": [],
        "stage": 2,
        "stages": 2,
        "iteration": 1,
        "limit": 10,
        "created_utc": "2026-11-24T07:30:00.000Z",
        "updated_utc": "2026-11-24T07:30:00.000Z",
        "elapsed_s": 7200.0,
        "iterations": [],
        "held": [],
        "failed": [],
        "lost": [],
        "undelivered": [],
        "pending": [],
        "published_age_s": 300.0,
        "spool_waiting": 0,
        "spool_aside": 0,
        "constants": None,
        "start_constants": "/start.txt",
        **changes,
    }


def iteration(**metrics: Any) -> dict[str, Any]:
    """Return a solved iteration with some metrics."""
    counts = {"nodes": {"done": 7}, "files_used": 6, "files_expected": 6, "tracks": None, "chi2_per_ndf": None}
    judged = {"effect_um": None, "significance": None, "largest": None, "verdict": "go_on", "reason": "", "wall_s": 9.0}
    return {"stage": 2, "iteration": 1, **counts, **judged, "metrics": {"format": 1, **metrics}}


def lines(blocks: list[draw.Block]) -> list[str]:
    return draw.text(blocks).splitlines()


def test_nodes_of_an_ended_campaign_were_interrupted() -> None:
    """After the campaign's end, nodes without a result are interrupted; before it they are in HTCondor or held."""
    row = {**iteration(), "verdict": "", "nodes": {"done": 4, "running": 2, "held": 1}}
    for ended, shown in ((False, "2 in HTCondor, 1 held"), (True, "3 interrupted")):
        found = screens.iterations(snapshot(iterations=[row], ended=ended))
        assert found.rows[0][-1] == shown


def test_a_campaign_with_stages() -> None:
    """Stage and iteration are shown, and names with spaces are quoted in commands."""
    found = lines(screens.status(snapshot(), program="faser-align"))
    assert found[:3] == [
        "a b  reconstructing",
        "  iteration 1: 0 of 7 nodes done",
        "  2023 run 011705, 1,200 files, stage 2 of 2, iteration 1 of 10",
    ]
    assert found[3].endswith(", last news 5 min 00 s ago")
    assert found[-3:] == ["constants so far: none yet; it starts from /start.txt", "next:", "  faser-align watch 'a b'"]


def test_long_lists_are_cut() -> None:
    """Of a hundred failed nodes a few are shown, and the others are counted."""
    failed = [
        {"node": f"reco_s1_i01_{n:05d}", "attempts": 3, "why": f"no {n}", "cure": "read the job's output log"}
        for n in range(100)
    ]
    found = lines(incidents.blocks(snapshot(failed=failed)))
    assert found[:3] == [
        "100 nodes failed",
        "  reco_s1_i01_00000 (3 attempts): no 0",
        "    fix: read the job's output log",
    ]
    assert found[-1] == "  and 94 other reasons"
    assert len(found) < 20
    same = lines(incidents.blocks(snapshot(failed=[{**node, "why": "no output"} for node in failed])))
    assert same[:2] == ["100 nodes failed", "  reco_s1_i01_00000 and 99 other nodes (3 attempts): no output"]
    assert len(same) == 3


def test_messages_that_were_not_delivered_are_told_by_target() -> None:
    """For each target the undelivered message about the end is shown first, with its refusal; the others are counted."""
    kinds = ("submitted", "iteration", "iteration", "diverged", "held")
    waiting = [
        {"target": target, "kind": kind, "state": "waiting", "tries": n, "error": f"no {n}"}
        for n, kind in enumerate(kinds, start=1)
        for target in ("me", "group")
    ]
    assert lines(incidents.blocks(snapshot(undelivered=waiting[:-1]))) == [
        "9 messages not delivered",
        "  diverged to me, after 4 tries: no 4",
        "    and others: 1 held, 2 iteration, 1 submitted",
        "  diverged to group, after 4 tries: no 4",
        "    and others: 2 iteration, 1 submitted",
        "  try the targets with `faser-align notify test`, then `faser-align notify retry 'a b'`",
    ]
    unfinished = lines(incidents.blocks(snapshot(undelivered=waiting[:4])))
    assert unfinished[1:3] == ["  iteration to me, after 2 tries: no 2", "    and others: 1 submitted"]


def test_the_spool_is_unusual() -> None:
    """Queued and unreadable events are shown, a queued submission is not."""
    found = lines(incidents.blocks(snapshot(spool_waiting=2, spool_aside=1)))
    assert found == [
        "2 events in the fallback event queue until the next script",
        "1 event of the fallback event queue could not be read: see /c/spool/aside",
    ]
    assert incidents.blocks(snapshot(spool_waiting=1, pending=["submitted"])) == []


def test_metrics_that_are_missing() -> None:
    """Missing metrics are dashes in the tables."""
    seen = snapshot(iterations=[iteration(), iteration(chi2_per_ndf=None, solver={"rejects": {"a": 1, "b": 2}})])
    found = lines(figures.tables(seen))
    assert found[3].split() == ["2.1", *"-----", "-", "go", "on"]
    assert found[-1].split() == ["2.1", "-/-", "-", "-", "-", "-", "-", "3", "9.0", "s"]


def test_many_degrees_of_freedom_are_told_below_each_other() -> None:
    """Eleven degrees of freedom with errors make four tables, none wider than 80 columns."""
    corrections = {
        f"module{n:02d}.rz": {"rms": 1234.0, "largest": -654.3, "where": "003", "unit": "urad"} for n in range(11)
    }
    errors = {"003": [0.0, 0.0, 0.0, 0.0, 0.0, 25.2]}
    blocks = figures.tables(snapshot(iterations=[iteration(corrections=corrections, constant_errors=errors)]))
    assert sum(isinstance(block, Grid) for block in blocks) == 2 + 4
    found = lines(blocks)
    assert max(map(len, found)) <= 80
    assert found[-1].split(None, 1)[1] == "  ".join(2 * ["1,234, -654±25 (26) 003"])


def test_text_is_never_cut_or_interpreted() -> None:
    """Text that looks like markup is shown unchanged, and a long line stays whole without a terminal."""
    text = "[red]x[/red] :smile: " + "/long" * 50
    assert draw.text([Line(text, "red"), Grid(("a",), [("[bold]y",)])]).splitlines()[0] == text
    assert "[bold]y" in draw.text([Grid(("a",), [("[bold]y",)])])


def event(**changes: Any) -> dict[str, Any]:
    """Return a row of the history."""
    row = {"subject": "campaign", "source": "", "event": "created", "destination": "created", "ignored": "", "stage": 0}
    return row | {"iteration": 0, "node": "", "attempt": 0, "facts": {}, "utc": "2026-11-24T07:30:00Z", **changes}


@pytest.mark.parametrize(
    ("source", "name", "destination", "shown"),
    [
        ("running", "failed", "failed", "running -> failed"),
        ("running", "succeeded", "done", "running -> done"),
        ("waiting", "started", "running", "waiting -> running"),
        ("running", "started", "running", "running             started"),
        ("held", "held", "held", "held                held"),
    ],
)
def test_the_event_of_a_node_is_shown_where_it_says_more(source: str, name: str, destination: str, shown: str) -> None:
    """An event is not shown if the new state says the same."""
    row = event(subject="mille_s1_i01", source=source, event=name, destination=destination, attempt=1)
    assert history_view.entry(row, UTC)[0].text == f"07:30:00  mille_s1_i01       1  {shown}"


def test_the_end_of_a_dag_that_a_verdict_stopped() -> None:
    """A failure of DAGMan after a decision that causes it is expected; after another end it is an ignored event."""
    ignored = "a campaign that is so takes no event final_failed"
    about = {"event": "final_failed", "ignored": ignored, "facts": {"reason": "the DAG ended: 1 node failed"}}
    told = history_view.entry(event(source="diverged", destination="diverged", **about), UTC)
    assert [line.text.strip() for line in told] == [
        "07:30:00  campaign  diverged  DAGMan ended, as expected after diverged",
        "the DAG ended: 1 node failed",
    ]
    other = history_view.entry(event(source="converged", destination="converged", **about), UTC)
    assert other[0].text.endswith("converged  final_failed  (ignored)")
    assert other[1].text.endswith(f"; ignored: {ignored}")


def test_a_new_day_in_the_history() -> None:
    """Each day in the history has a heading."""
    row = event()
    days = [{**row, "utc": f"2026-11-{day}T07:30:00.000Z"} for day in (24, 24, 25)]
    found = lines(history_view.lines(days, UTC))
    assert [line for line in found if "times in" in line] == ["2026-11-24, times in UTC", "2026-11-25, times in UTC"]


def test_a_validation_is_no_iteration_to_come() -> None:
    """During the validation the estimate uses the validation's time and counts no iterations."""
    pace = {"iteration_s": 1800.0, "iterations": 3, "left": 0, "end_utc": "2026-11-24T20:00:00Z", "converges": None}
    found = screens.estimate(snapshot(state="validating", estimate=pace), UTC)
    most = "if the validation takes as long as an iteration, about 30 min 00 s (median of 3)"
    assert found == ["", f"estimate: over by 2026-11-24 20:00 at the latest, {most}"]


def test_a_rejected_campaign_says_its_reason_once() -> None:
    """The status of a rejected campaign has the validation's table, and its sentence once."""
    why = "the new constants describe the data worse: chi2/ndf of all files went from 1.003 to 1.02"
    half = {"tracks": 8000, "chi2_per_ndf": 1.003}
    groups = {"all": {"before": half, "after": {**half, "chi2_per_ndf": 1.02}}}
    judged = {"verdict": "refuted", "reason": why, "metrics": {"groups": groups}}
    found = lines(screens.status(snapshot(state="rejected", ended=True, reason=why, validation=judged), program="f"))
    assert any(shown.startswith("rejected constants: ") for shown in found)
    assert sum(why in line for line in found) == 1
    assert ["all", "files", "8,000", "1.003", "1.020"] in [line.split() for line in found]


def test_the_estimate_says_what_it_assumes() -> None:
    """The estimate of the end states the assumed number of iterations and their duration."""
    known = {"iteration_s": 1200.0, "iterations": 3, "left": 7, "end_utc": "2026-11-24T20:00:00.000Z"}
    pace = {"converges": 6, "converges_utc": "2026-11-24T18:00:00.000Z"}
    found = screens.estimate(snapshot(estimate={**known, **pace}), UTC)
    most = "if each of at most 7 iterations to come takes about 20 min 00 s (median of 3)"
    assert found[1:] == [
        f"estimate: over by 2026-11-24 20:00 at the latest, {most}",
        "  at its pace so far it converges in about iteration 6, 2026-11-24 18:00",
    ]
    late = screens.estimate(snapshot(estimate={**known, **pace, "converges": 14}), UTC)
    assert late[-1] == "  at its pace so far it needs about 14 iterations to converge, and may have 10"
    stuck = lines(screens.status(snapshot(estimate={**known, **pace}), program="f", trouble="gone", stuck=True))
    assert not [line for line in stuck if "estimate" in line]


def test_nodes_that_were_tried_again_are_told_together() -> None:
    """Retried nodes with the same problem make one line, with their present states."""
    again = [
        {"node": f"n{n}", "state": "running" if n else "done", "attempts": 2, "why": "no scratch"} for n in range(3)
    ]
    assert lines(incidents.blocks(snapshot(retried=again))) == [
        "3 nodes retried",
        "  n0 and 2 other nodes: no scratch; now 1 done, 2 in HTCondor",
    ]


def test_many_iterations_fit_one_screen() -> None:
    """Of a hundred iterations the status shows the latest twenty and says where the others are."""
    rows = [{**iteration(), "iteration": n} for n in range(1, 101)]
    found = lines(screens.status(snapshot(iterations=rows), program="f"))
    assert "80 earlier iterations left out; all with `f metrics 'a b'`" in found
    assert len(found) < 50


def test_what_is_watched_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live, a small terminal shows fewer iterations, so that incidents and the next command stay visible."""
    rows = [{**iteration(), "iteration": n} for n in range(1, 31)]
    seen = snapshot(iterations=rows, lost=[{"file": 1, "node": "n", "why": "gone"}])
    monkeypatch.setenv("COLUMNS", "80")
    for height, shown in ((60, 20), (27, 10), (20, 5), (10, 0)):
        monkeypatch.setenv("LINES", str(height))
        found = lines(live._fitting(seen, "f", "", UTC))
        assert sum(line.startswith("2.") for line in found) == shown
        assert len(found) < height
        assert f"{30 - shown} earlier iterations left out; all with `f metrics 'a b'`" in found or not shown
        assert found[-1] == "Ctrl-C ends this display; the campaign continues"


def test_incidents_make_room_for_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 24 lines with ten iterations and five slow nodes, `watch` keeps constants and next command."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    slow = [{"node": f"reco_s1_i10_0040{n}", "since_s": 900.0, "median_s": 60.0} for n in range(5)]
    rows = [{**iteration(), "iteration": n} for n in range(1, 11)]
    seen = snapshot(iterations=rows, slow=slow, dag_id="12.0", to_pool="")
    blocks = live._fitting(seen, "f", "", UTC)
    found = lines(blocks)
    assert draw.height(blocks) < 24
    assert sum(line.startswith("2.") for line in found) == 5
    assert "5 nodes slow" in found
    assert found[-2:] == [
        "constants so far: none yet; it starts from /start.txt",
        "Ctrl-C ends this display; the campaign continues",
    ]


def test_a_table_that_does_not_fit() -> None:
    """A wide table first narrows its gaps, then wraps text, and finally shows one value per line."""
    grid = Grid(("name", ">number", "in words"), [("first", "1,234", "some words that say it all"), ("no", "-", "")])
    wide = [line.text for line in draw._table(grid, 80)]
    assert wide == [
        "name   number  in words",
        "─────────────────────────────────────────",
        "first   1,234  some words that say it all",
        "no          -",
    ]
    assert max(map(len, (line.text for line in draw._table(grid, 40)))) == 39
    folded = [line.text for line in draw._table(grid, 30)]
    assert folded[2:5] == ["first  1,234 some words that", "             say it all", "no         -"]
    assert [line.text for line in draw._table(grid, 20)] == [
        *("name first", "  number: 1,234", "  in words: some", "  words that say it", "  all", "name no")
    ]


def test_wide_characters_keep_columns_straight() -> None:
    """The width of names in any script is counted in columns."""
    rows = [("整列", "1"), ("a\u0308b", "2"), ("abcd", "3")]
    assert [line.text for line in draw._table(Grid(("n", "m"), rows), 40)][2:] == [
        "整列  1",
        "a\u0308b    2",
        "abcd  3",
    ]


def held_jobs(*reasons: str) -> dict[str, Any]:
    """Return the snapshot's part with this many held jobs."""
    held = [{"node": f"n{n}", "why": why, "job_id": f"{n}.0"} for n, why in enumerate(reasons)]
    steps = held_steps("A=b ", [row["job_id"] for row in held], "12.0", 0)
    return {"held": held, "dag_id": "12.0", "to_pool": "A=b ", "release": [step._asdict() for step in steps]}


def test_jobs_on_hold_for_one_reason_are_told_together() -> None:
    """Jobs held for one reason are listed together, with one command to release them."""
    cure = "A=b condor_release -constraint 'DAGManJobId == 12 && JobStatus == 5'"
    assert lines(incidents.blocks(snapshot(**held_jobs(*["quota"] * 5000)))) == [
        "5,000 jobs on hold",
        "  n0 and 4,999 other jobs: quota",
        "  remove the cause, then release all held jobs:",
        f"    {cure}",
    ]


def test_reasons_that_differ_in_hosts_and_numbers_are_told_together() -> None:
    """Of thousands of similar reasons the first is shown; small numbers, such as a status, keep reasons apart."""
    hosts = [f"cannot send to slot1_{n % 8}@wn{n:04d}.cern.ch (errno 5)" for n in range(2000)]
    others = [f"cannot send to slot1_1@wn{n:04d}.cern.ch (errno 13)" for n in range(3)]
    assert lines(incidents.blocks(snapshot(**held_jobs(*hosts, *others))))[:-2] == [
        "2,003 jobs on hold",
        "  n0 and 1,999 others like it: cannot send to slot1_0@wn0000.cern.ch (errno 5)",
        "  n2000 and 2 others like it: cannot send to slot1_1@wn0000.cern.ch (errno 13)",
    ]
    failed = [
        {"node": f"n{n}", "attempts": 1, "why": f"raw file missing: /raw/{n:05d}.raw", "cure": "put it there"}
        for n in range(4000)
    ]
    assert lines(incidents.blocks(snapshot(failed=failed))) == [
        "4,000 nodes failed",
        "  n0 and 3,999 others like it: raw file missing: /raw/00000.raw",
        "    fix: put it there",
    ]


def test_the_table_of_a_narrow_terminal() -> None:
    """A narrow terminal shows the most important columns, and names the others."""
    grid = Grid(
        ("iter", ">chi2\n/ndf", "largest\ncorrection", "verdict"), [("1", "1.2", "-120 um y 003", "go on")], (0, 1, 3)
    )
    assert [line.text for line in draw._table(grid, 24)] == [
        "      chi2",
        "iter  /ndf  verdict",
        "─" * 19,
        "1      1.2  go on",
        "too narrow for: largest",
        "correction",
    ]


def test_counts_of_a_large_iteration_stay_short() -> None:
    """Of thousands of nodes a percentage is shown, 100 % only when all are done; of files the number used."""
    row = iteration() | {"nodes": {"done": 9999, "failed": 1}, "files_used": 9_999, "files_expected": 10_000}
    many = screens.iterations(snapshot(iterations=[row], stages=1)).rows[0]
    assert many[1:3] == ("99.9 %", "9,999")
    few = screens.iterations(snapshot(iterations=[iteration()], stages=1)).rows[0]
    assert few[1:3] == ("7/7", "6/6")


def test_what_a_job_printed_does_not_command_the_terminal() -> None:
    """Control sequences in a reason, a log or a name are removed, and the text is shown on one line."""
    why = "\x1b[1;31mERROR\x1b[0m no\tgeometry\r\n\x1b]0;owned\x07\x9b2Jat \x1bcall"
    failed = [{"node": "n0", "attempts": 1, "why": why, "cure": ""}]
    assert lines(incidents.blocks(snapshot(failed=failed))) == ["1 node failed", "  n0: ERROR no geometry  at all"]
    row = {
        "node": "n0",
        "attempt": 1,
        "utc": "",
        "host": "\x1b[7mwn1",
        "why": why,
        "name": "x",
        "cure": "",
        "state": "",
    }
    (kind,) = failures.kinds([row])
    said = draw.text(explain.analysis(snapshot(), [kind], {"n0": LogEnd("/n0.log", ("\x1b[31mlog\x1b[0m", "a\tb"))}))
    assert "\x1b" not in said
    assert "    | log\n    | a b\n" in said
    grid = Grid(("\x1b[5mname", "text"), [(why, "\x1b[2J")])
    assert all(line.isprintable() for line in lines([grid]))
