"""Test estimates of the end, slow nodes, and retried nodes."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, reconstruct

from faser_align.campaign import layout
from faser_align.operations import eta, snapshot
from faser_align.state import queries

BEGIN = queries.seconds("2026-11-24T08:00:00.000Z")
EACH_S = 1200.0


def row(iteration: int, effect: float | None = None, *, stage: int = 1, done: int = 7) -> dict[str, Any]:
    """Return an iteration of 7 nodes; with ``effect`` (um) it was solved after 20 minutes."""
    begun, ended = BEGIN + EACH_S * (iteration - 1), BEGIN + EACH_S * iteration
    solved = effect is not None
    return {
        "stage": stage,
        "iteration": iteration,
        "nodes": {"done": done, "running": 7 - done},
        "started_utc": utc(begun),
        "ended_utc": utc(ended) if solved else "",
        "wall_s": EACH_S if solved else None,
        "verdict": "go_on" if solved else "",
        "effect_um": effect,
        "significance": None if effect is None else effect**2,
    }


def utc(at_s: float) -> str:
    from faser_align.state import database

    return database.utc(at_s)


def record(*stages: int, **convergence: Any) -> dict[str, Any]:
    """Return a manifest with stages of these numbers of iterations."""
    rules = {"rules": ["effect"], "require": "any", "effect_um_max": 0.5, "significance_max": 0.01, "patience": 2}
    config = {"convergence": rules | convergence}
    return {"stages": [{"iterations": n, "convergence": {}} for n in stages], "config": config}


def test_the_end_is_estimated_from_the_times_so_far() -> None:
    """With three of ten iterations at 20 minutes each and 5 minutes of the fourth, at most 6 h 15 min are left."""
    rows = [row(1, 8.0), row(2, 4.0), row(3, 2.0), row(4)]
    found = eta.estimate(record(10), rows, BEGIN + 3 * EACH_S + 300)
    assert (found["iteration_s"], found["iterations"], found["left"]) == (1200.0, 3, 7)
    assert found["left_s"] == 900 + 6 * 1200
    # From 2 um, halved each time, the fifth is below 0.5 um; one more iteration confirms it.
    assert found["converges"] == 6
    assert found["converges_utc"] == utc(BEGIN + 3 * EACH_S + 300 + 900 + 2 * 1200)


@pytest.mark.parametrize(
    ("effects", "rules", "converges"),
    [
        ([8.0, 7.9], {}, None),  # no steady decrease
        ([8.0], {}, None),  # unknown so far
        ([0.4, 0.3], {}, 3),  # below: one more
        ([8.0, 4.0], {"rules": ["relative"]}, None),
        ([8.0, 4.0], {"rules": ["effect", "relative"], "require": "all"}, None),
        ([8.0, 4.0], {"rules": ["effect", "significance"], "require": "all"}, 9),  # 16 to 0.01 by factors of 4
        ([8.0, 4.0], {"rules": ["effect", "significance"]}, 6),
        ([8.0, None, 2.0], {}, None),
    ],
)
def test_the_pace_of_convergence(effects: list[float | None], rules: dict[str, Any], converges: int | None) -> None:
    """A converging iteration is predicted only if the judged quantities shrink steadily."""
    rows = [row(n, effect) | {"verdict": "go_on"} for n, effect in enumerate(effects, start=1)]
    rows[-1] |= {"ended_utc": utc(BEGIN), "wall_s": 1200.0}
    assert eta.estimate(record(20, **rules), rows, BEGIN)["converges"] == converges


def test_what_cannot_be_told_is_not_told() -> None:
    """There is no estimate before a tenth of the first iteration, or in one that takes three times as long."""
    assert eta.estimate(record(10), [], BEGIN) == {}
    assert eta.estimate(record(10), [row(1, done=0)], BEGIN + 60) == {}
    part = eta.estimate(record(10), [row(1, done=1)], BEGIN + 60)
    assert (part["iteration_s"], part["iterations"]) == (420.0, 0)
    assert eta.estimate(record(10), [row(1, 8.0), row(2)], BEGIN + 4.1 * EACH_S) == {}
    first_of_two = eta.estimate(record(3, 4), [row(1, 8.0), row(2, 2.0)], BEGIN + 2 * EACH_S)
    assert (first_of_two["left"], first_of_two["converges"]) == (5, None)


def test_a_validation_is_estimated_as_one_iteration() -> None:
    """During the validation no iteration is left, and the estimate is the rest of one iteration's time."""
    ended = {**row(2, 2.0), "ended_utc": utc(BEGIN + 2 * EACH_S)}
    found = eta.estimate(record(5), [row(1, 8.0), ended], BEGIN + 2 * EACH_S + 300, validating=True)
    assert (found["left"], found["left_s"], found["converges"]) == (0, EACH_S - 300, None)
    assert found["end_utc"] == utc(BEGIN + 3 * EACH_S)


def test_a_slow_node_is_named_with_what_is_usual(workdir: Path) -> None:
    """A node that runs three times the median, plus a minute, is slow; one in HTCondor's queue is not."""
    made = make_campaign(workdir / "c", files=6)
    folder = made["folder"]
    for file in made["files"][:4]:
        reconstruct(made, 1, file, f"{file}.0")
    slow, quick = (layout.reco_node(1, 1, file) for file in made["files"][4:])
    for node in (slow, quick):
        hook("pre", folder, node, 0, 2)
    with sqlite3.connect(f"{folder}/{layout.PUBLISHED}") as db:
        db.execute("UPDATE attempts SET opened_utc = ?, closed_utc = ?", (utc(BEGIN), utc(BEGIN + 100)))
        db.execute("UPDATE attempts SET opened_utc = ? WHERE node = ?", (utc(BEGIN + 201), quick))
        counts = queries.all_counts(db)
        found = eta.slow(db, counts, BEGIN + 301)
        assert eta.slow(db, counts, BEGIN + 299) == []
    db.close()
    assert found == [{"node": slow, "kind": "reco", "since_s": 301.0, "median_s": 100.0}]
    seen = snapshot.take(folder)
    assert slow in [item["node"] for item in seen["slow"]]
    assert slow not in [item["node"] for item in snapshot.with_queue(seen, {slow})["slow"]]


def test_nodes_that_were_tried_again(workdir: Path) -> None:
    """A node with two attempts is shown with the first one's failure."""
    made = make_campaign(workdir / "c", files=1)
    node = layout.reco_node(1, 1, 400)
    hook("pre", made["folder"], node, 0, 2)
    hook("post", made["folder"], node, 0, 2, 1, "31.0", 0)
    assert snapshot.take(made["folder"])["retried"] == []  # it failed, and is listed there
    hook("pre", made["folder"], node, 1, 2)
    assert snapshot.take(made["folder"])["retried"] == [
        {"node": node, "state": "running", "attempts": 2, "why": "the job ended with exit status 1"}
    ]
