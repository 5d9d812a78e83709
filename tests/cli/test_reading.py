"""Test the reading commands on campaigns in every state; their screens are those of test_golden_screens.py."""

import csv
import itertools
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command

from faser_align.alignment.parameters.constants import read_constants
from faser_align.api import Campaign
from faser_align.campaign import layout
from faser_align.cli.show import curves
from faser_align.operations import forking, snapshot, solve_again
from faser_align.state import registry

EXAMPLES = Path(__file__).parents[2] / "examples"
STATES = {
    "converged": "converged",
    "failed": "failed",
    "running": "reconstructing",
    "held": "reconstructing",
    "lost": "reconstructing",
    "created": "created",
    "removed": "removed",
    "one": "exhausted",
}
ENDED = ("converged", "failed", "removed", "one")


def test_list_has_all_campaigns_newest_first(command: Command) -> None:
    """Every registered campaign is listed with its state and metrics."""
    left = command("list", "--json")
    rows = json.loads(left.out)
    assert left.status == 0
    assert {row["name"]: row["state"] for row in rows} == STATES
    assert [row["created_utc"] for row in rows] == sorted((row["created_utc"] for row in rows), reverse=True)
    converged = next(row for row in rows if row["name"] == "converged")
    assert (converged["iteration"], converged["limit"], converged["chi2_per_ndf"]) == (4, 4, 1.003)


def test_list_of_a_state(command: Command) -> None:
    """``--state`` filters the list; an unknown state is a usage error."""
    assert [row["name"] for row in json.loads(command("list", "--state", "failed", "--json").out)] == ["failed"]
    assert "no campaign is diverged" in command("list", "--state", "diverged").out
    wrong = command("list", "--state", "convergd", status=2)
    assert wrong.err == "error: --state convergd: not a state of a campaign; did you mean converged?\n"
    assert "the states are created, submitted, " in command("list", "--state", "x").err


def test_list_without_a_campaign(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without campaigns list says how to begin, and --json gives an empty list."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert "faser-align init" in command("list").out
    assert command("list", "--json").out == "[]\n"


def test_list_with_a_campaign_that_cannot_be_read(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign without a snapshot is named, and does not hide others."""
    from faser_align.state import registry

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / layout.RECORD).write_text("{}")
    registry.add("broken", str(tmp_path / "broken"))
    left = command("list", status=0)
    assert "unreadable" in left.out
    assert "broken cannot be read" in left.err


@pytest.mark.parametrize(("key", "value", "lacks"), [("config", {}, "config.htcondor"), ("stages", [], "stages")])
def test_a_manifest_that_was_emptied_by_hand(
    key: str, value: object, lacks: str, plain_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emptied table of a manifest is named, and does not hide other campaigns from list."""
    from faser_align.state import registry

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = make_campaign(tmp_path / "c", files=1, name="mine")["folder"]
    registry.add("mine", folder)
    path = Path(folder, layout.RECORD)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert f"{path} lacks {lacks}; restore it from a copy" in plain_command("status", "mine", status=1).err
    listed = plain_command("list", status=0)
    assert "unreadable" in listed.out
    assert f"mine cannot be read: {path} lacks {lacks}" in listed.err


def test_status_of_a_campaign_that_runs(command: Command) -> None:
    """In JSON, nodes whose jobs wait or run are "running" if HTCondor could not be asked."""
    assert json.loads(command("status", "running", "--json").out)["iterations"][1]["nodes"]["running"] == 1


def test_no_job_is_on_hold_after_the_end(plain_command: Command, tmp_path: Path) -> None:
    """A held job of a removed campaign is shown as interrupted, not for release, even if its POST never ran."""
    record = make_campaign(tmp_path / "c", files=1, config={"notify": {"file": str(tmp_path / "none")}})
    folder, node = record["folder"], layout.reco_node(1, 1, 400)
    hook("pre", folder, node, 0, 2)
    hook("hold", folder, node, "31.0", 0)
    before = plain_command("status", folder, status=0).out
    assert "condor_release 31.0" in before
    hook("final", folder, "final", 4, 0)
    after = plain_command("status", folder, status=0).out
    assert "1 interrupted" in after
    assert "hold" not in after
    assert "release" not in after
    assert snapshot.summary(folder)["nodes_held"] == 0
    assert "on hold" not in plain_command("report", folder, "--text", status=0).out


def test_status_of_a_campaign_whose_submission_no_hook_has_seen(command: Command, campaigns: Path) -> None:
    """A queued event of the command line is shown before any script has recorded it."""
    waiting = campaigns / "created" / layout.SPOOL / "0000000000000001.json"
    event = {"phase": "control", "event": "submitted", "dag_id": "77.0", "utc": "2026-11-24T07:30:00.000Z", "host": "h"}
    waiting.write_text(json.dumps(event))
    try:
        out = command("status", "created").out
    finally:
        waiting.unlink()
    assert out.startswith("created  submitted\n  submitted as DAGMan job 77.0; no script has run yet\n")


@pytest.mark.parametrize("name", STATES)
def test_status_as_json(name: str, command: Command) -> None:
    """JSON has the state of every campaign, and the next command."""
    seen = json.loads(command("status", name, "--json").out)
    assert (seen["name"], seen["state"], seen["ended"]) == (name, STATES[name], name in ENDED)
    assert seen["next"].startswith("faser-align ")


def test_status_by_folder(command: Command, campaigns: Path) -> None:
    """A campaign can be given by its folder or its name."""
    assert command("status", str(campaigns / "converged")).out == command("status", "converged").out


def test_hints_name_the_command_as_it_was_typed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints use the name of a launcher."""
    monkeypatch.setenv("FASER_ALIGN_COMMAND", "./faser-align")
    assert "next:\n  ./faser-align report converged\n" in command("status", "converged").out


@pytest.mark.parametrize("words", ["status", "watch", "wait", "history", "metrics", "report", "stop", "resume"])
def test_unknown_campaign(words: str, command: Command) -> None:
    """For an unknown name every command suggests the most similar campaign, with exit status 2 and no output."""
    left = command(words, "convergd")
    assert left == (2, "", "error: there is no campaign 'convergd'; the nearest is 'converged'\n")


def test_history_in_utc(command: Command) -> None:
    """history shows times in UTC on request, and says so; without a terminal its lines are short."""
    out = command("history", "failed", "--utc").out
    assert "times in UTC" in out.splitlines()[0]
    assert max(len(line) for line in out.splitlines() if not line.startswith(" " * 10)) <= 80


def test_history_in_part(command: Command) -> None:
    """history can be limited to the campaign, a node or a time; an empty result says so."""
    everything = json.loads(command("history", "failed", "--json").out)
    own = json.loads(command("history", "failed", "--campaign-only", "--json").out)
    assert {row["subject"] for row in own} == {"campaign"}
    assert own == [row for row in everything if row["subject"] == "campaign"]
    one = json.loads(command("history", "failed", "--node", "mille_s1_i01", "--json").out)
    assert one == [row for row in everything if row["node"] == "mille_s1_i01"]
    later = json.loads(command("history", "failed", "--since", everything[3]["utc"], "--json").out)
    assert later == [row for row in everything if row["utc"] >= everything[3]["utc"].replace("Z", "")[:19]]
    assert command("history", "failed", "--since", "2100-01-01").out == "no event matches\n"


def test_history_of_what_is_not_there(command: Command) -> None:
    """An unknown node and an invalid time are usage errors."""
    node = command("history", "failed", "--node", "reco_s1_i02_0400", status=2)
    assert "--node reco_s1_i02_0400: no such node in this campaign; did you mean reco_s1_i02_00400?" in node.err
    other = command("history", "failed", "--node", "nothing like it")
    assert "no such node in this campaign; write its whole name, for example reco_s1_i01_00400" in other.err
    assert "--since yesterday: not a time" in command("history", "failed", "--since", "yesterday", status=2).err


def test_metrics(command: Command) -> None:
    """metrics shows each iteration as JSON as the job wrote it, and as CSV."""
    rows = json.loads(command("metrics", "converged", "--json").out)
    assert [row["metrics"]["effect_um"] for row in rows] == [9.0, 4.5, 0.1, 0.1]
    read = list(csv.DictReader(command("metrics", "converged", "--csv").out.splitlines()))
    assert [row["corrections.module.y.rms"] for row in read] == ["30.0", "15.0", "10.0", "7.5"]
    assert [row["verdict"] for row in read] == ["go_on", "go_on", "go_on", "converged"]
    assert [row["wall_s"] for row in read] == ["1.5"] * 4  # of the job
    assert all(float(row["iteration_wall_s"]) > 0 for row in read)


def test_metrics_before_the_first_solution(command: Command) -> None:
    """metrics without a finished iteration says so; CSV has only the column names."""
    assert command("metrics", "created").out == "created has no finished iteration yet; it is created\n"
    assert json.loads(command("metrics", "created", "--json").out) == []
    assert command("metrics", "created", "--csv").out == "stage,iteration\n"
    assert command("metrics", "created", "--csv", "--json").status == 2


def test_report(command: Command, tmp_path: Path) -> None:
    """The text of the report is the same on the terminal and in a file."""
    out = command("report", "converged", "--text").out
    path = tmp_path / "report.txt"
    assert command("report", "converged", "--text", "-o", str(path)).out == f"{path} written\n"
    assert path.read_text().splitlines()[4:] == out.splitlines()[4:]


@pytest.mark.parametrize("name", STATES)
def test_report_of_every_campaign(name: str, command: Command) -> None:
    """Every campaign has a report, and `report --json` contains all of it."""
    assert f"Report of {name}" in command("report", name, "--text").out
    found = json.loads(command("report", name, "--json").out)
    assert set(found) == {"campaign", "record", "history"}


def test_report_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    """A file is replaced only with --force; a missing folder gives one sentence."""
    path = tmp_path / "report.txt"
    for form, missing in (((), "cannot be written"), (("--text",), "does not exist")):
        path.write_text("mine")
        assert command("report", "converged", *form, "-o", str(path)).status == 2
        assert path.read_text() == "mine"
        assert command("report", "converged", *form, "-o", str(path), "--force").status == 0
        assert "converged" in path.read_text()
        assert missing in command("report", "converged", *form, "-o", str(tmp_path / "no" / "report")).err


def test_report_is_a_page(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options the report is NAME.html in this folder, and replaces an older one of the same campaign."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command("report", "converged").out == f"{tmp_path / 'converged.html'} written\n"
    page = (tmp_path / "converged.html").read_text()
    assert "<h1>converged" in page
    assert command("report", "failed", "-o", "converged.html").status == 2


def test_constants_of_a_campaign_by_its_name(command: Command, campaigns: Path, tmp_path: Path) -> None:
    """The commands for constants accept a campaign's name for its latest constants, and say if there are none."""
    found = Path(json.loads(command("status", "converged", "--json").out)["constants"])
    text = found.read_text()
    found.write_text('"00": [1, 0, 0, 0, 0, 0]')
    try:
        assert json.loads(command("constants", "show", "converged", "--json").out) == {"00": [1, 0, 0, 0, 0, 0]}
        assert command("constants", "export", str(campaigns / "converged"), "-o", str(tmp_path / "c")).status == 0
        assert command("constants", "diff", "converged", "converged").status == 0
    finally:
        found.write_text(text)
    assert (
        "created has no constants, because none of its iterations is solved"
        in command("constants", "show", "created").err
    )
    unknown = command("constants", "show", "convergd", status=2)
    assert "convergd is neither a file here nor a campaign" in unknown.err
    assert "the nearest is 'converged'" in unknown.err


def test_a_campaign_that_was_moved_aside_has_its_own_files(plain_command: Command, tmp_path: Path) -> None:
    """Constants and tracks are those of the folder that was named, not of another campaign that is now in the old place."""
    config = {"notify": {"file": str(tmp_path / "none")}}
    record = make_campaign(tmp_path / "c", files=1, config=config)
    run_iteration(record, 1)
    aside, other = str(tmp_path / "c.old"), str(EXAMPLES / "align_2025.txt")
    shutil.copytree(record["folder"], aside)
    shutil.copy(EXAMPLES / "align_zeros.txt", layout.result_file(aside, 1, 1))
    shutil.copy(other, layout.result_file(record["folder"], 1, 1))
    assert f"constants so far: {layout.result_file(aside, 1, 1)}\n" in plain_command("status", aside, status=0).out
    plain_command("constants", "export", aside, "-o", str(tmp_path / "out"), status=0)
    assert read_constants(tmp_path / "out") == read_constants(EXAMPLES / "align_zeros.txt")
    assert Campaign(aside).constants() == read_constants(EXAMPLES / "align_zeros.txt")
    tracks = solve_again._tracks(forking.find(aside, None, None), record["files"], same=False)
    assert tracks == {400: [layout.kfalignment_file(aside, 1, 1, record["run"], 400)]}


def test_diagram(command: Command) -> None:
    """Both transition tables are drawn in each format; another format is a usage error."""
    assert command("diagram").out.startswith("stateDiagram-v2\n")
    assert "waiting --> running: started" in command("diagram", "--node").out
    assert command("diagram", "--format", "dot").out.startswith('digraph "campaign" {')
    assert command("diagram", "--node", "--format", "svg").out.startswith("<svg ")
    wrong = command("diagram", "--format", "png")
    assert wrong == (2, "", "error: --format png: must be mermaid, dot or svg\n")


def test_reading_touches_no_database(command: Command, campaigns: Path) -> None:
    """Reading commands do not open the state database, which may be locked."""
    store = sqlite3.connect(campaigns / "converged" / layout.STATE, isolation_level=None)
    try:
        store.execute("BEGIN EXCLUSIVE")
        for words in (("status",), ("history",), ("metrics",), ("report", "--text"), ("wait",)):
            assert command(words[0], "converged", *words[1:]).status == 0
    finally:
        store.close()


def test_list_by_run_and_year(command: Command) -> None:
    """The list can be limited to runs and years; a run needs no leading zeros."""
    everything = json.loads(command("list", "--json").out)
    assert json.loads(command("list", "-r", "11705", "-y", "2023", "--json").out) == everything
    assert command("list", "-r", "11706").out == "no campaign matches; see all with `faser-align list`\n"
    assert json.loads(command("list", "-y", "2022", "--json").out) == []
    assert command("list", "-r", "x").status == 2


def test_curves_have_the_limits_of_the_latest_stage(plain_command: Command, workdir: Path) -> None:
    """metrics --plot draws the latest stage's limits: its own, and otherwise those of all stages."""
    common: dict[str, Any] = {"patience": 1, "rules": ["significance"], "significance_max": 100.0, "effect_um_max": 0.5}
    own: dict[str, Any] = {"rules": ["effect", "significance"], "effect_um_max": 1e-6}
    stages = [{"name": "coarse", "steps": [{}]}, {"name": "fine", "steps": [{}], "convergence": own}]
    record = make_campaign(workdir / "c", files=1, config={"convergence": common, "stages": stages})

    def limited() -> dict[str, float]:
        """Return the limit of each curve that has one, which is also named beside its line."""
        drawings = plain_command("metrics", record["folder"], "--plot").out.split("\n\n")
        found = [(re.match(r"(.*), limit (\S+)", drawing), drawing.count("     limit |")) for drawing in drawings]
        return {heading[1]: float(heading[2]) for heading, named in found if heading and named == 1}

    run_iteration(record, 1, residual_max_final=True)
    assert list(limited()) == ["expected Δχ² per parameter"]
    run_iteration(record, 1, stage=2, residual_max_final=True)
    assert limited() == {"expected residual shift": 1e-6, "expected Δχ² per parameter": 100.0}


@pytest.mark.parametrize("values", [(1.2, 1.2, 1.003), (1.003,), (287.3, 12.1, 1.03), (-0.2, 0.31)])
def test_ticks_are_round(values: tuple[float, ...]) -> None:
    """Each row of a curve has a round number, and the curve fills most rows."""
    drawn = curves._plot(values, unit="1", log=False, limit=None, width=80).splitlines()[1:-2]
    ticks = [float(line.partition("|")[0]) for line in drawn]
    steps = {round(before - after, 9) for before, after in itertools.pairwise(ticks)}
    assert len(steps) == 1
    assert f"{steps.pop():e}"[:7] in ("1.00000", "2.00000", "5.00000")
    assert ticks[-1] <= min(values) <= max(values) <= ticks[0]
    assert len(ticks) <= curves.HEIGHT_MAX + 1


def test_ticks_of_decades() -> None:
    """On a logarithmic scale, ticks are 1, 2 and 5 times powers of ten, or the limit."""
    for values in ((9.0, 0.1), (15000.0, 3.0, 1e-4), (0.2,)):
        drawn = curves._plot(values, unit="um", log=True, limit=0.5, width=80).splitlines()[1:-2]
        ticks = [word for line in drawn if (word := line.partition("|")[0].strip())]
        assert ticks.count("limit") == 1
        assert all(f"{float(tick):e}"[:8] in ("1.000000", "2.000000", "5.000000") for tick in ticks if tick != "limit")


def test_curves_have_no_colour_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves have the terminal's own colour, and are empty without a number."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    row = {"metrics": {"format": 1}, "chi2_per_ndf": 1.2, "effect_um": 3.0, "significance": None}
    rules: dict[str, Any] = {"effect_um_max": 0.5, "significance_max": 0.01}
    drawn = curves.plots({"iterations": [row, row]}, rules, 80)
    assert len(drawn) == 2
    assert "\x1b" not in "".join(drawn)
    assert curves.plots({"iterations": [{"metrics": {"format": 1}}]}, rules, 80) == []
    # Curves of an imported campaign have no limit, and no line that looks like one.
    effects = [{"metrics": {"format": 1}, "effect_um": effect} for effect in (30.0, 0.1)]
    bare, limited = (curves.plots({"iterations": effects}, asked, 80)[0] for asked in ({}, rules))
    assert bare.startswith("expected residual shift\n")
    assert limited.startswith("expected residual shift, limit 0.5 um\n")
    across = [sum("\N{BRAILLE PATTERN BLANK}" not in row for row in one.splitlines()[3:-2]) for one in (bare, limited)]
    assert across == [0, 1]
    assert max(map(len, limited.splitlines())) <= 80
    # Below each point is its number.
    six = curves.plots({"iterations": [*effects, *effects, *effects]}, {}, 80)[0].splitlines()
    points = [at for at in range(80) if any(row[at : at + 1] == "o" for row in six[2:-2])]
    assert [(six[-1][at], six[-2][at]) for at in points] == [(str(number), "|") for number in range(1, 7)]
    many = curves.plots({"iterations": effects * 40}, {}, 80)[0].splitlines()
    assert many[-1].split()[1:4] == ["1", "4", "7"]
    corrections = {"module.x": {"largest": -3.0, "unit": "um"}, "module.rz": {"largest": 20.0, "unit": "urad"}}
    rows = [{"metrics": {"relative": 0.1, "corrections": corrections}}]
    found = curves.plots({"iterations": rows}, {"rules": ["absolute", "relative"]}, 80)
    assert [drawn.partition("\n")[0] for drawn in found] == [
        "relative, limit 0.001",
        "largest correction, limit 1 um",
        "largest correction, limit 10 urad",
    ]


def test_constants_that_are_gone_are_named(tmp_path: Path, plain_command: Command) -> None:
    """Without its resulting constants a solved iteration cannot be forked; the file is named."""
    record = make_campaign(tmp_path / "c", files=1)
    run_iteration(record, 1)
    path = Path(layout.result_file(record["folder"], 1, 1))
    path.unlink(missing_ok=True)
    refused = plain_command("solve", "--from", record["folder"], "-o", str(tmp_path / "again"), status=2)
    assert f"{path} is gone; restore it from a copy, or name another iteration" in refused.err


def test_a_solution_that_cannot_begin_leaves_no_folder(tmp_path: Path, plain_command: Command) -> None:
    """If a file is missing, or the disk is full, `solve --from` names the file and removes the new folder."""
    record = make_campaign(tmp_path / "c", files=1)
    run_iteration(record, 1)
    Path(layout.result_file(record["folder"], 1, 1)).touch()
    Path(layout.mille_file(record["data"], 1, 1, record["run"], 400)).touch()
    start = Path(layout.constants_file(record["folder"], 1, 1))
    start.unlink(missing_ok=True)
    refused = plain_command("solve", "--from", record["folder"], "-o", str(tmp_path / "again"), status=2)
    assert f"again: cannot create: No such file or directory: {start};" in refused.err
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everywhere")
def test_a_folder_that_cannot_be_read_is_named(here: Path, plain_command: Command) -> None:
    """A campaign whose folder cannot be read, as on AFS without a token, is listed with the reason and the fix."""
    folder = here / "locked"
    registry.add("locked", make_campaign(folder, files=1, name="locked")["folder"])
    folder.chmod(0)
    try:
        said = "published.db: cannot read: Permission denied; correct its permissions"
        assert f"locked cannot be read: {folder}/{said}" in plain_command("list", status=0).err
        assert "Permission denied" in plain_command("status", "locked", status=1).err
        assert "is missing" not in plain_command("verify", "locked", status=1).err
    finally:
        folder.chmod(0o755)
    shutil.rmtree(folder)
    assert plain_command("list", status=0).err == ""
