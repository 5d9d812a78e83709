"""Measure the convergence criteria on simulated campaigns; the defaults are based on this.

``python benchmarks/convergence.py`` runs a dozen simulated campaigns of fixed length and judges their iterations with
different criteria afterwards. Each row has an expectation and the result.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from known_truth import Case, forget, make, misplace, solve_iteration, true_constants

from faser_align.alignment.parameters.constants import write_constants
from faser_align.campaign import layout
from faser_align.fsm.plural import in_percent
from faser_align.fsm.rules import Rules
from faser_align.fsm.verdict import judge

History = list[dict[str, Any]]
# A single criterion without conditions and patience.
BARE = Rules(
    patience=1,
    module_cut_max=1.0,
    detector_cut_max=1.0,
    remaining_sigma_max=1e9,
    chi2_rise_max=1e9,
    starved_per_parameter=0.0,
)


class Run(NamedTuple):
    """A campaign with a fixed number of iterations; ``drop`` omits another of its files in each."""

    case: Case
    iterations: int
    drop: bool = False


def case(
    steps: str, tracks: int, start_um: float, *, pivot: str = "layer", cuts: Sequence[float] = (0.5, 0.05)
) -> Case:
    """Return a case without outliers."""
    return Case(11, steps, tracks, start_um, pivot, tuple(cuts), 0.0, 0)


RUNS = {
    "healthy": Run(case("IFT modules", 10_000, 24), 6),
    "healthy, narrow": Run(case("IFT modules", 20_000, 24, cuts=[0.05]), 6),
    "500 tracks": Run(case("IFT modules", 500, 24), 6),
    "50,000 tracks": Run(case("IFT modules", 50_000, 24), 6),
    "far, narrow": Run(case("IFT modules", 10_000, 85, cuts=[0.05]), 12),
    "far, wide first": Run(case("IFT modules", 10_000, 85), 6),
    "layers 30 um": Run(case("3ST three fixed", 10_000, 30, cuts=[0.05]), 1),
    "layers 60 um": Run(case("3ST three fixed", 10_000, 60, cuts=[0.05]), 1),
    "layers 100 um": Run(case("3ST three fixed", 20_000, 100, cuts=[0.05]), 8),
    "two fixed, calypso": Run(case("3ST two fixed", 20_000, 30, pivot="calypso"), 8),
    "two fixed, layer": Run(case("3ST two fixed", 20_000, 30), 8),
    "few, calypso": Run(case("3ST two fixed", 5_000, 30, pivot="calypso"), 8),
    "two steps": Run(case("3ST two-step", 10_000, 60), 30),
    "one step": Run(case("3ST one step", 10_000, 60), 8),
    "files change": Run(Case(11, "IFT modules", 20_000, 24.0, "layer", (0.5, 0.05), 0.0, 2), 6, drop=True),
}


def run(one: Run, root: str) -> History:
    """Return the metrics of all iterations of a campaign."""
    folder = Path(tempfile.mkdtemp(dir=root))
    truth = true_constants()
    write_constants(folder / "truth.txt", truth)
    campaign = make(one.case, folder / "campaign", misplace(truth, one.case))
    history = []
    for number in range(1, one.iterations + 1):
        files = len(campaign["files"])
        solve_iteration(campaign, number, [number % files] if one.drop and number > 1 else [])
        forget(campaign, number - 1)
        history.append(json.loads(Path(layout.metrics_file(campaign["folder"], 1, number)).read_text(encoding="utf-8")))
    shutil.rmtree(folder)
    return history


def passes(history: History, rules: Rules) -> int | None:
    """Return the first iteration that converges by ``rules``; by a bare rule whatever parameters were fixed."""
    if rules.module_cut_max == BARE.module_cut_max:
        none: dict[str, Any] = {"entries_fixed": [], "entries_fixed_names": []}
        history = [{**one, "steps": [{**step, **none} for step in one["steps"]]} for one in history]
    for last in range(1, len(history) + 1):
        if judge(rules, history[:last], limit=99).name == "converged":
            return last
    return None


def column(history: History, *path: str) -> str:
    """Return a quantity of all iterations."""
    values: list[Any] = list(history)
    for key in path:
        values = [value[key] for value in values]
    return " ".join("-" if value is None else f"{value:.3g}" for value in values)


def _worst_cut(metrics: dict[str, Any]) -> float:
    return max(cut / (kept + cut) for kept, cut in metrics["hits"]["modules"].values())


def rows(found: dict[str, History]) -> list[tuple[str, str]]:
    """Return expectations, each with its result."""
    significance, effect = BARE._replace(rules=("delta_chi2_per_parameter",)), BARE._replace(rules=("residual_shift",))
    relative = BARE._replace(rules=("relative",))
    narrow, wide = found["far, narrow"], found["far, wide first"]
    beside = passes(narrow, significance._replace(patience=2))
    at_end = narrow[(beside or len(narrow)) - 1]
    stops = {
        name: passes(found[name], effect._replace(patience=2))
        for name in ("healthy, narrow", "two fixed, layer", "two fixed, calypso")
    }
    return [
        (
            "the solver's chi2/ndf rises while converging, and is not judged",
            f"solver {column(found['healthy, narrow'], 'solver', 'chi2_per_ndf')}; verdict converged at {passes(found['healthy, narrow'], Rules())}",
        ),
        (
            "it is blind for large misalignments (30, 60, 100 um, cut 0.05)",
            "solver "
            + " ".join(column(found[f"layers {um} um"][:1], "solver", "chi2_per_ndf") for um in (30, 60, 100))
            + "; before cuts "
            + " ".join(column(found[f"layers {um} um"][:1], "chi2_per_ndf") for um in (30, 60, 100)),
        ),
        (
            "significance alone converges beside the truth (85 um, cut 0.05)",
            f"at {beside}: chi2/ndf {at_end['chi2_per_ndf']:.3g}, worst module has {in_percent(_worst_cut(at_end), 1)} of its hits cut",
        ),
        ("the condition on cut hits catches it", f"verdict converged at {passes(narrow, Rules())}"),
        (
            "with cuts [0.5, 0.05] it does not happen",
            f"converged at {passes(wide, Rules())}: chi2/ndf {wide[-1]['chi2_per_ndf']:.4g}, worst module {in_percent(_worst_cut(wide[-1]), 1)}",
        ),
        (
            "two fixed layers: significance passes about the layers' z only",
            f"layer at {passes(found['two fixed, layer'], significance)}, calypso at {passes(found['two fixed, calypso'], significance)} ({column(found['two fixed, calypso'], 'significance')})",
        ),
        (
            "and relative with neither pivot of Calypso's",
            f"calypso at {passes(found['two fixed, calypso'], relative)} ({column(found['two fixed, calypso'], 'relative')})",
        ),
        (
            "two steps that alternate come nearer by a tenth in each iteration; one step with a frame does not alternate",
            ", ".join(
                f"{name} at {passes(found[name], Rules())} (effect {column(found[name], 'effect_um')})"
                for name in ("two steps", "one step")
            ),
        ),
        (
            "the drift of momenta takes tracks out of the window (5,000 tracks)",
            f"tracks {column(found['few, calypso'], 'tracks', 'used')}; "
            + (found["few, calypso"][-1]["notes"] or ["momenta stay"])[0],
        ),
        ("effect with patience 2 stops", ", ".join(f"{name}: {at}" for name, at in stops.items())),
        (
            "three layers fixed, 100 um, cut 0.05: slow at first, no stall",
            f"significance {column(found['layers 100 um'], 'significance')}; verdicts "
            + " ".join(judge(Rules(), found["layers 100 um"][:i], limit=99).name for i in range(1, 9)),
        ),
        (
            "significance does not depend on the number of tracks",
            ", ".join(
                f"{name}: at {passes(found[name], significance)}" for name in ("500 tracks", "healthy", "50,000 tracks")
            ),
        ),
        (
            "dropping a share f of the tracks, another each time, adds about 2 f",
            f"f = 0.17: significance {column(found['files change'], 'significance')}",
        ),
    ]


def main() -> int:
    """Run the campaigns and show the results."""
    started = time.perf_counter()
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(prefix="convergence-", dir=place) as root,
        ProcessPoolExecutor(os.cpu_count()) as pool,
    ):
        found = dict(zip(RUNS, pool.map(run, RUNS.values(), [root] * len(RUNS)), strict=True))
    for fact, measured in rows(found):
        print(f"{fact}\n    {measured}")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
