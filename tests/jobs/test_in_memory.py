"""Compare campaigns in memory (``benchmarks/in_memory.py``) with the jobs, iteration by iteration."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from properties import SOAK

from faser_align.alignment.parameters.constants import read_constants, write_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of
from faser_align.fsm.rules import Rules
from faser_align.fsm.verdict import judge
from faser_align.simulation import geometry as geo
from faser_align.simulation.tracks import Response, simulate_file

# Numbers of the machine and of files that only the jobs have.
OF_THE_JOB = {
    *("constants", "versions", "reconstruction", "no_plot", "wall_s", "cpu_s", "max_memory_mb", "memory_mb"),
    "quality",  # follows from the others
    "truth",  # the file of the true constants
}
FROZEN = {"stages": [{"steps": [{"freeze_sigma": 10.0}]}]}
STEPS = [
    {"name": "a", "fix": ["IFT", 21, 41], "freeze_sigma": 10.0},
    {"name": "b", "fix": ["IFT", 20, 22, 30, 31, 32, 40, 42]},
]
TWO_STEPS = {"campaign": {"stations": 3}, "stages": [{"steps": STEPS}]}


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import modules of ``benchmarks/`` by name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of metrics with their paths."""
    if isinstance(value, dict):
        for key in value.keys() - OF_THE_JOB:
            yield from numbers(value[key], f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from numbers(one, f"{path}.{at}")
    else:
        yield path, value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "iterations"),
    [pytest.param(FROZEN, 1, id="one step")] + SOAK * [pytest.param(TWO_STEPS, 2, id="two steps")],
)
def test_a_campaign_in_memory_equals_the_jobs(
    tmp_path: Path, benchmarks: Any, own: dict[str, Any], iterations: int
) -> None:
    """Constants, metrics and decisions of a campaign in memory are those of the jobs, whatever the pivot."""
    known, memory = benchmarks("known_truth"), benchmarks("in_memory")
    truth = known.true_constants()
    write_constants(tmp_path / "truth.txt", truth)
    simulation = {"truth": str(tmp_path / "truth.txt"), "tracks": 400, "seed": 5, "outliers": 0.01}
    campaign = own.get("campaign", {}) | {"iterations": iterations}
    record = known.manifest(own | {"campaign": campaign, "simulation": simulation}, 2, tmp_path / "campaign")
    start = known.misplace_everything(truth, np.random.default_rng(3), 0.3)
    known.write(record, start)
    response = Response(outliers=0.01)
    hits = {
        file: memory.batches(simulate_file(geo.build(truth), 400, 5, 11705, file, response), 250) for file in (0, 1)
    }
    twin, constants = memory.Campaign(record, hits), start
    ours, theirs = [], []
    for number in range(1, iterations + 1):
        known.solve_iteration(record, number, [])
        metrics, constants = twin.iterate(1, number, constants)
        ours.append(metrics)
        theirs.append(json.loads(Path(layout.metrics_file(record["folder"], 1, number)).read_text()))
        written = read_constants(layout.result_file(record["folder"], 1, number))
        assert {key: pytest.approx(six, rel=1e-6, abs=1e-9) for key, six in written.items()} == constants
        rules = Rules.from_config(convergence_of(record, 1))
        assert judge(rules, ours, limit=iterations)[:2] == judge(rules, theirs, limit=iterations)[:2]
        found, expected = dict(numbers(ours[-1])), dict(numbers(theirs[-1]))
        assert found.keys() == expected.keys()
        different = [
            (path, found[path], expected[path])
            for path in found
            if found[path]
            != (
                pytest.approx(expected[path], rel=1e-5, abs=1e-7)
                if isinstance(expected[path], float)
                else expected[path]
            )
        ]
        assert not different
