"""Test that the page of files describes the keys of the files that the program writes."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, metrics, run_iteration, write_metrics, write_output
from commandline import faser_align
from described import found, undescribed

from faser_align.campaign import layout
from faser_align.pages.publish import publish
from faser_align.reference.files import FORMATS
from faser_align.state import control_requests, create, registry, spool

Record = dict[str, Any]


def differs(heading: str, values: Iterable[Any]) -> tuple[set[str], set[str]]:
    """Return keys of JSON values without a description under a heading of the page, and descriptions without a key."""
    names = [key.name for key in FORMATS[heading].keys]
    unknown: set[str] = set()
    seen: set[str] = set()
    for value in values:
        unknown |= set(undescribed(value, names))
        seen |= found(value, names)
    return unknown, set(names) - seen


@pytest.fixture
def record(workdir: Path) -> Record:
    """Return the manifest of a registered campaign with one iteration of one file."""
    made = make_campaign(workdir / "c", files=1)
    registry.add(made["name"], made["folder"])
    return made


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_events_are_described(record: Record) -> None:
    """Every key of every event in the event queue has a description, and every description its key."""
    folder = record["folder"]
    reco, mille = layout.reco_node(1, 1, 400), layout.mille_node(1, 1)
    os.rename(f"{folder}/{layout.STATE}", f"{folder}/elsewhere")  # so that every event stays queued
    hook("pre", folder, reco, 0, 2)
    write_output(record, 1, 1, 400)
    hook("hold", folder, reco, "40.0", 0)
    hook("post", folder, reco, 0, 2, 0, "40.0", 0)
    hook("pre", folder, mille, 0, 2)
    write_metrics(record, metrics(1, files=1))
    hook("post", folder, mille, 0, 2, 0, "41.0", 0)
    hook("final", folder, "final", 4, 0)
    create.record_submitted(folder, 12)
    # As `extend` and `notify retry` do, which need a pool and messages.
    control_requests.put(folder, "extended", {"stage": 1, "before": 4, "after": 5})
    control_requests.put(folder, "notify_retried", {"target": "me"})
    control_requests.put(folder, "stuck", {"reason": "its DAGMan is gone"}, key="gone 12.0")
    control_requests.put(folder, "solved", control_requests.solution(folder, 1) or {})
    faser_align("set", folder, "convergence.patience=3")
    faser_align("stop", folder, "--after", "iteration")
    events = [spool.read(folder, name) for name in spool.waiting(folder)]
    assert [event["phase"] for event in events[:6]] == ["pre", "hold", "post", "pre", "post", "final"]
    assert {event["event"] for event in events[6:]} == {
        "submitted",
        "extended",
        "changed",
        "stop_asked",
        "stuck",
        "notify_retried",
        "solved",
    }
    assert differs("Events in the fallback event queue", events) == (set(), set())
    assert differs(layout.CHANGES, read(f"{folder}/{layout.CHANGES}")) == (set(), set())
    assert differs(layout.STOP, [read(f"{folder}/{layout.STOP}")]) == (set(), set())


def test_what_lies_elsewhere_is_described(record: Record, workdir: Path) -> None:
    """The registry, an index entry of a published page, and the output of `export` are described."""
    run_iteration(record, 1)
    (entry,) = (read(str(path)) for path in registry.home().glob("*.json") if record["folder"] in path.read_text())
    assert differs("The registry", [entry]) == (set(), set())
    publish(record["folder"], str(workdir / "pages"), written_utc="2026-11-24T07:30:00Z")
    assert differs("Published pages", [read(str(workdir / "pages" / f"{record['name']}.json"))]) == (set(), set())
    left = faser_align("export", record["folder"])
    assert differs("What `export` writes", [json.loads(left.out)]) == (set(), set())
