"""Test the scripts of several stages in one campaign and of the validation after them."""

import json
from pathlib import Path
from typing import Any

import pytest
import stored
from campaigns import hook, make_campaign, metrics, run_iteration, write_metrics, write_output

from faser_align.campaign import layout
from faser_align.cli.show import explain, history_view, incidents
from faser_align.cli.show.draw import Line
from faser_align.fsm import exit_codes
from faser_align.operations import snapshot
from faser_align.state import queries, verify
from faser_align.state.facts import facts
from faser_align.state.outbox import claim

TWO = {"campaign": {"iterations": 3}, "convergence": {"patience": 1}}
COARSE = {"name": "coarse", "steps": [{}]}
FINE = {"name": "fine", "steps": [{}]}
VALIDATED = {"used_files": True, "files": "500"}


def seen(record: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the campaign and of some nodes from the snapshot; the state database must be valid."""
    with queries.published(record["folder"]) as db:
        assert verify.findings(db) == []
        nodes = dict(db.execute("SELECT node, state FROM nodes"))
        return {**queries.campaign(db), "nodes": nodes, "validation": queries.validation(db)}


def pre(record: dict[str, Any], node: str, dag_id: str = "12.0") -> int:
    return hook("pre", record["folder"], node, 0, 2, dag_id=dag_id).returncode


def post(record: dict[str, Any], node: str, ret: int = 0, dag_id: str = "12.0") -> int:
    return hook("post", record["folder"], node, 0, 2, ret, f"77{len(node)}.0", 0, dag_id=dag_id).returncode


def final(record: dict[str, Any], status: int, dag_id: str = "12.0") -> int:
    return hook("final", record["folder"], layout.FINAL_NODE, status, 0, dag_id=dag_id).returncode


def validate(record: dict[str, Any], after: float, dag_id: str = "12.0", **changes: Any) -> int:
    """Run the scripts of a validation whose chi2/ndf changes from 1.2 to ``after``; return the last POST's status."""
    for half in (layout.BEFORE, layout.AFTER):
        for file in layout.files_of(record, layout.VALIDATION):
            node = layout.reco_node(layout.VALIDATION, half, file)
            assert pre(record, node, dag_id) == 0
            for folder in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
                Path(layout.iteration_folder(record["data"], 0, half), folder).mkdir(parents=True, exist_ok=True)
            write_output(record, layout.VALIDATION, half, file)
            assert post(record, node, dag_id=dag_id) == 0
    assert pre(record, layout.VALIDATE_NODE, dag_id) == 0
    group = {
        when: {"chi2_per_ndf": value, "tracks": 1, "modules": {}} for when, value in (("before", 1.2), ("after", after))
    }
    value = {"format": 1, "stage": 0, "iteration": 2, "groups": {"all": group}, **changes}
    Path(layout.metrics_file(record["folder"], 0, 2)).write_text(json.dumps(value))
    return post(record, layout.VALIDATE_NODE, dag_id=dag_id)


def test_a_stage_that_converges_hands_on(workdir: Path) -> None:
    """A stage that converges early skips its remaining nodes, the next stage begins, and the last one ends the DAG."""
    record = make_campaign(workdir / "c", files=2, config={**TWO, "stages": [COARSE, FINE]})
    assert run_iteration(record, 1) == 0
    assert run_iteration(record, 2, significance=0.001) == 0  # below the limits: the stage is over
    assert seen(record)["state"] == "solving"
    assert (
        run_iteration(record, 1, stage=2, significance=0.001, residual_max_final=True, chi2_per_ndf=1.003)
        == exit_codes.CONVERGED
    )
    assert seen(record)["state"] == "converged"


@pytest.mark.parametrize(
    ("at_limit", "status", "state"), [("continue", 0, "solving"), ("stop", exit_codes.FATAL, "exhausted")]
)
def test_a_stage_at_its_limit(workdir: Path, at_limit: str, status: int, state: str) -> None:
    """A stage that has not converged at its limit is followed by the next, or ends the campaign, as configured."""
    stages = [{**COARSE, "iterations": 1, "at_limit": at_limit}, FINE]
    record = make_campaign(workdir / "c", files=1, config={**TWO, "stages": stages})
    assert run_iteration(record, 1) == status
    assert final(record, 2) == 2 if at_limit == "stop" else True
    assert seen(record)["state"] == state


def test_a_stage_has_criteria_of_its_own(workdir: Path) -> None:
    """A stage converges by its own thresholds, another one by those of the campaign."""
    stages = [{**COARSE, "convergence": {"significance_max": 100.0}}, FINE]
    record = make_campaign(workdir / "c", files=1, config={**TWO, "stages": stages})
    run_iteration(record, 1, residual_max_final=True)
    run_iteration(record, 1, stage=2, residual_max_final=True)
    verdicts = [row["verdict"] for row in stored.seen(record["folder"], queries.iterations)]
    assert verdicts == ["converged", "go_on"]


@pytest.mark.parametrize(
    ("after", "status", "dag_status", "state"),
    [(1.0, exit_codes.CONVERGED, 3, "converged"), (1.5, exit_codes.FATAL, 2, "rejected")],
)
def test_a_validation_confirms_or_rejects(
    workdir: Path, after: float, status: int, dag_status: int, state: str
) -> None:
    """A validation confirms a converged campaign or ends it as rejected, with the numbers, also from unused files."""
    record = make_campaign(workdir / "c", files=1, config={**TWO, "validation": VALIDATED})
    assert record["validation"] == {"files": [400, 500], "unused": [500]}
    assert run_iteration(record, 1, significance=0.001, residual_max_final=True) == 0
    assert seen(record)["state"] == "validating"
    assert snapshot.take(record["folder"])["reason"] == "the last constants are being validated: no node has begun"
    assert pre(record, layout.reco_node(1, 2, 400)) == exit_codes.SKIP
    said = 0 if state == "converged" else status
    assert validate(record, after) == said
    final(record, 0 if state == "converged" else dag_status)
    now = seen(record)
    assert now["state"] == state
    assert (now["stage"], now["iteration"]) == (1, 1)
    assert f"went from 1.200 to {after:.3f}" in now["validation"]["reason"]
    taken = snapshot.take(record["folder"])
    explained = [block.text.partition(", ")[2] for block in explain.latest(taken) if isinstance(block, Line)]
    assert explained[0] == ("iteration 1: converged" if state == "converged" else "validation: refuted")
    assert "iteration 1: converged" in explained
    reason = taken["reason"]
    assert reason.endswith(now["validation"]["reason"])
    assert ("; validation: " in reason) == (state == "converged")


def test_constants_of_a_validation_that_were_changed_by_hand_are_told(workdir: Path) -> None:
    """History, status and the final message say that the validation had other constants than it was given."""
    notify = {"targets": ["me"], "events": ["end"], "file": str(workdir / "targets.toml")}
    record = make_campaign(workdir / "c", files=1, config={**TWO, "validation": VALIDATED, "notify": notify})
    assert run_iteration(record, 1, significance=0.001, residual_max_final=True) == 0
    sentence = "the last constants, as the validation has them, were changed by hand"
    validate(record, 1.0, notes=[sentence], constants={"changed_by_hand": ["after"]})
    assert Line(sentence, "yellow", symbol="!") in incidents.blocks(snapshot.take(record["folder"]))
    claimed = claim(record["folder"], final=True)
    assert claimed is not None
    with queries.published(record["folder"]) as db:
        assert verify.findings(db) == []
        told = [row for row in queries.history(db, nodes=False) if row["event"] == "confirmed"]
        assert facts(db, claimed)["notes"] == [sentence]
    assert sentence in history_view.facts(told[0])


def test_a_failed_validation_is_resumed(workdir: Path) -> None:
    """A campaign whose validation failed is failed; resumed, it validates the rest and converges."""
    record = make_campaign(workdir / "c", files=1, config={**TWO, "validation": VALIDATED})
    run_iteration(record, 1, significance=0.001, residual_max_final=True)
    assert pre(record, "before_00400") == 0
    assert post(record, "before_00400", ret=exit_codes.CONFIG) == exit_codes.FATAL
    assert final(record, 2) == 2
    assert seen(record)["state"] == "failed"
    assert validate(record, 1.0, dag_id="13.0") == 0
    assert final(record, 0, dag_id="13.0") == 0
    assert seen(record)["state"] == "converged"


def test_a_list_of_stages_is_gone_through_again(workdir: Path) -> None:
    """``repeat`` puts the stages into the manifest that many times, with numbered names."""
    config = {"campaign": {"iterations": 2, "repeat": 2}, "stages": [COARSE, FINE]}
    record = make_campaign(workdir / "c", files=1, config=config)
    names = [stage["name"] for stage in record["stages"]]
    assert names == ["coarse (1 of 2)", "fine (1 of 2)", "coarse (2 of 2)", "fine (2 of 2)"]
    run_iteration(record, 1)
    write_metrics(record, metrics(2))
    assert seen(record)["stages"] == 4
