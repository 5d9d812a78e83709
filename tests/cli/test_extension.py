"""Test an extension: its nodes, its DAG, and what a killed command leaves."""

import json
from pathlib import Path

import pytest
from campaigns import hook, make_campaign, run_iteration, write_output
from commandline import Command
from stored import seen

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_record
from faser_align.dag.render import render
from faser_align.fsm import exit_codes
from faser_align.operations import lifecycle
from faser_align.state import control_requests, queries, spool, verify, writer


def test_an_extension_brings_its_nodes_once(tmp_path: Path) -> None:
    """The request changes the campaign's state and adds the nodes in one transaction; a repeat changes nothing."""
    record = make_campaign(tmp_path / "c", files=2, config={"campaign": {"iterations": 2}})
    folder = record["folder"]
    assert [run_iteration(record, i) for i in (1, 2)] == [0, 0]
    hook("final", folder, "final", 0, 0)
    name = control_requests.put(folder, "extended", {"stage": 1, "before": 2, "after": 3})
    wish = spool.read(folder, name)
    changes.write(folder, [{"id": wish["id"], "key": "stages.1.iterations", "before": 2, "after": 3}])
    assert seen(folder, queries.campaign_now, folder)["state"] == "submitted"
    for half in ("1reco", "2kfalignment", "3millepede"):
        (Path(folder) / "iter03" / half / "logs").mkdir(parents=True)
    assert run_iteration(record, 3, dag_id="13.0", significance=1.0, effect_um=5.0) == 0
    writer.take(folder, wish)
    hook("final", folder, "final", 0, 0, dag_id="13.0")
    with queries.published(folder) as db:
        assert queries.campaign(db)["state"] == "exhausted"
        assert db.execute("SELECT count(*) FROM nodes").fetchone() == (9,)
        events = [row["event"] for row in queries.history(db, nodes=False)]
        assert verify.findings(db) == []
    assert events.count("extended") == 1
    assert events[-4:] == ["extended", "reconstruction_started", "solving_started", "limit"]


def test_an_extension_of_what_runs_is_ignored(tmp_path: Path) -> None:
    """A request that the state does not allow adds a row to the history, and no nodes."""
    record = make_campaign(tmp_path / "c", files=1)
    run_iteration(record, 1)
    control_requests.put(record["folder"], "extended", {"stage": 1, "before": 4, "after": 6})
    writer.take(record["folder"], None)
    hook("hold", record["folder"], layout.reco_node(1, 1, 400), "31.0", 0)
    with queries.published(record["folder"]) as db:
        (row,) = [row for row in queries.history(db) if row["event"] == "extended"]
        assert row["ignored"]
        assert db.execute("SELECT max(iteration) FROM nodes").fetchone() == (4,)
        assert verify.findings(db) == []


def test_the_dag_of_an_extension(tmp_path: Path) -> None:
    """The DAG begins with the first unjudged iteration, without its completed nodes."""
    record = make_campaign(tmp_path / "c", files=2, config={"campaign": {"iterations": 3}})
    text = render(record, (1, 2), {layout.reco_node(1, 2, 400)})
    assert "_i01" not in text
    assert layout.reco_node(1, 2, 400) not in text
    assert f"PARENT {layout.reco_node(1, 2, 401)} CHILD {layout.mille_node(1, 2)}\n" in text
    only_solved = render(record, (1, 3), {layout.reco_node(1, 3, file) for file in (400, 401)})
    assert f"JOB {layout.mille_node(1, 3)} mille\n" in only_solved
    assert "PARENT" not in only_solved


def test_without_htcondor_nothing_is_changed(command: Command, campaigns: Path) -> None:
    """Without a schedd an extension is refused, and nothing is left."""
    left = command("extend", "failed", "-i", "2", status=2)
    assert "faser-align pool start" in left.err
    assert "extend was refused, nothing was done" in left.err
    assert layout.dag_files(str(campaigns / "failed")) == [layout.DAG]
    assert changes.read(str(campaigns / "failed")) == []


def test_what_a_killed_extend_left_is_discarded(tmp_path: Path) -> None:
    """An extension's DAG that no DAGMan has used is removed with its change; other changes, and a DAG that ran, stay."""
    record = make_campaign(tmp_path / "c", files=1)
    folder = record["folder"]
    hook("pre", folder, layout.reco_node(1, 1, 400), 0, 2)
    write_output(record, 1, 1, 400)
    hook("final", folder, "final", 4, 0)
    dags = [Path(folder, layout.dag_name(number)) for number in (1, 2)]
    for dag in dags:
        dag.write_text("")
    limit = {"id": "a", "key": "convergence.patience", "before": 2, "after": 1}
    criterion = {"id": "c", "key": "stages.1.convergence.patience", "before": 1, "after": 3}
    changes.write(folder, [limit, criterion, {"id": "b", "key": "stages.1.iterations", "before": 4, "after": 9}])
    assert read_record(folder)["stages"][0]["iterations"] == 9
    lifecycle.discard_leftover(folder, "removed")
    assert layout.dag_files(folder) == [layout.DAG]
    assert [change["id"] for change in json.loads(Path(folder, layout.CHANGES).read_text())] == ["a", "c"]
    dags[1].write_text("")
    Path(f"{dags[1]}{layout.ENDING_DAGMAN_OUT}").touch()
    lifecycle.discard_leftover(folder, "removed")
    assert layout.newest_dag(folder) == str(dags[1])


def test_an_extension_that_adds_nothing_is_refused(
    workdir: Path, plain_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign that diverged after 3 of 10 iterations has 7 left: fewer are refused with the number, 7 are not."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    record = make_campaign(workdir / "early", files=1, config={"campaign": {"iterations": 10}})
    worse = [
        run_iteration(record, i, chi2_per_ndf=chi2, effect_um=9.0, significance=5.0)
        for i, chi2 in ((1, 1.0), (2, 1.2), (3, 1.3))
    ]
    assert worse == [0, 0, exit_codes.FATAL]
    hook("final", record["folder"], "final", 2, 1)
    refused = plain_command("extend", record["folder"], "-i", "1", "--dry-run", status=2)
    assert (
        f"-i 1 would add no iteration: {record['name']} is diverged after iteration 3, and the limit of stage 1 is 10"
        in refused.err
    )
    assert f"extend {record['name']} -i 7`" in refused.err
    allowed = plain_command("extend", record["folder"], "-i", "7", "--dry-run")
    assert "it continues with iteration 4 of at most 10" in allowed.out
