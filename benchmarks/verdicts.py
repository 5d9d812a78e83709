"""How far the verdict *converged* can be trusted: simulated campaigns whose truth is known.

``python benchmarks/verdicts.py [--campaigns N]`` draws campaigns (3 and 4 stations, the usual steps, 500 to 50,000
tracks, start misalignments of 10 to 300 um, both pivots, outliers, files that get lost, cuts with and without a wide
first one), runs them with the jobs' own programs and judges them as the hooks do. A campaign is *false converged* if its
constants are further than 0.5 um effect, or 0.3 standard deviations rms, from those that the same tracks, without their
outliers, reach in 15 more iterations without a residual cut; only directions that the data determine count.

A part of that distance is no matter of convergence. The last cut of 0.05 mm takes 0.2 % of good hits, which alone moves the
estimate by 0.15 standard deviations; an outlier draws its track along, so that good hits of it are cut, too: with 0.2 %
outliers 1.2 % of all hits are missing and the distance is 0.18 to 0.23, with 0.5 % it is 2.8 % and 0.28, and the
condition on cut hits keeps such campaigns from converging. Converged constants cannot show this.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from known_truth import (
    ITERATIONS,
    Case,
    fixed_point,
    forget,
    free_labels,
    make,
    misplace,
    parameters,
    solve_iteration,
    true_constants,
)

from faser_align.alignment.parameters.constants import Constants, read_constants, write_constants
from faser_align.alignment.quality.weak_modes import WEAK
from faser_align.campaign import layout
from faser_align.fsm.criteria import Rules
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.verdict import judge

import numpy as np  # isort: skip -- after known_truth, which says how many threads it may use

EFFECT_UM, SIGMA = 0.5, 0.3
RESOLUTION_UM = 23.1
DRAWN = {"IFT modules": 0.35, "IFT layers": 0.15, "3ST two-step": 0.3, "3ST three fixed": 0.2}


@dataclass
class Outcome:
    """The result of a campaign; distances are None without a result to judge."""

    case: Case
    verdict: str = "failed"
    iterations: int = 0
    effect_um: float | None = None
    sigma: float | None = None
    pull: float | None = None
    weak_um: float | None = None
    lost_hits: float = 0.0
    us: float = 0.0  # per track and iteration
    reason: str = ""
    numbers: list[list[float | None]] = field(default_factory=list)

    @property
    def false(self) -> bool:
        """Whether it converged away from its fixed point."""
        if self.verdict != "converged" or self.effect_um is None or self.sigma is None:
            return False
        return self.effect_um > EFFECT_UM or self.sigma > SIGMA


def draw(seed: int) -> Case:
    """Return the case of a seed."""
    rng = np.random.default_rng([2026, seed])
    steps = str(rng.choice(list(DRAWN), p=list(DRAWN.values())))
    return Case(
        seed=seed,
        steps=steps,
        tracks=round(500 * 100 ** rng.random()),
        start_um=float(10 * 30 ** rng.random()),
        pivot=str(rng.choice(["calypso", "layer"])),
        cuts=(0.05,) if rng.random() < 0.25 else (0.5, 0.05),
        outliers=float(rng.choice([0.0, 0.002, 0.005], p=[0.6, 0.2, 0.2])),
        lost_in=int(rng.choice([0, 2, 3, 4], p=[0.8, 0.06, 0.07, 0.07])),
    )


def run(case: Case, root: str) -> Outcome:
    """Run a campaign and measure where it ended; its files are removed."""
    folder = Path(tempfile.mkdtemp(prefix=f"verdicts-{case.seed}-", dir=root))
    outcome = Outcome(case)
    try:
        _run(case, folder, outcome)
    except CampaignError as error:
        outcome.reason = str(error)
    finally:
        shutil.rmtree(folder)
    return outcome


def _run(case: Case, folder: Path, outcome: Outcome) -> None:
    truth = true_constants()
    write_constants(folder / "truth.txt", truth)
    campaign = make(case, folder / "campaign", misplace(truth, case))
    rules, history = Rules.from_config(campaign["config"]["convergence"]), []
    lost: list[int] = []
    started = time.perf_counter()
    for iteration in range(1, ITERATIONS + 1):
        lost = [0] if case.lost_in and iteration >= case.lost_in else []
        solve_iteration(campaign, iteration, lost)
        path = layout.metrics_file(campaign["folder"], 1, iteration)
        history.append(json.loads(Path(path).read_text(encoding="utf-8")))
        forget(campaign, iteration - 1)
        said = judge(rules, history, limit=ITERATIONS)
        if said.name != "go_on":
            break
    outcome.verdict, outcome.reason, outcome.iterations = said.name, said.reason, len(history)
    outcome.us = 1e6 * (time.perf_counter() - started) / (case.tracks * len(history))
    outcome.numbers = [
        [
            m["significance"],
            m["effect_um"],
            m["determined"].get("sigma"),
            m["determined"].get("effect_um"),
            m["chi2_per_ndf"],
            m["solver"]["chi2_per_ndf"],
        ]
        for m in history
    ]
    kept, cut = history[-1]["hits"]["kept"], history[-1]["hits"]["cut"]["residual"]
    outcome.lost_hits = cut / max(kept + cut, 1)
    if said.name in ("converged", "limit", "stalled"):
        _measure(campaign, case, folder, truth, lost, len(history), outcome)


def _measure(
    campaign: dict[str, Any],
    case: Case,
    folder: Path,
    truth: Constants,
    lost: Sequence[int],
    iterations: int,
    outcome: Outcome,
) -> None:
    """Measure the constants' distances from their fixed point, and from the truth in units of their errors."""
    found = read_constants(layout.result_file(campaign["folder"], 1, iterations))
    settled, normal, measurements = fixed_point(case, folder, found, lost)
    values, directions = normal.directions(free_labels(case))
    strong = values > np.median(values) / WEAK**2
    apart = directions.T @ normal.in_um(parameters(found, settled))
    chi2 = float(values[strong] @ apart[strong] ** 2)
    outcome.effect_um = RESOLUTION_UM * math.sqrt(chi2 / measurements)
    outcome.sigma = math.sqrt(chi2 / int(strong.sum()))
    outcome.weak_um = float(np.sqrt(np.mean(apart[~strong] ** 2))) if not strong.all() else 0.0
    beside = directions.T @ normal.in_um(parameters(found, truth))
    outcome.pull = math.sqrt(float(values[strong] @ beside[strong] ** 2) / int(strong.sum()))


def upper_limit(false: int, converged: int, confidence: float = 0.95) -> float:
    """Return Clopper and Pearson's one-sided upper limit of a fraction, for ``false`` out of ``converged``."""
    if converged == 0:
        return 1.0
    low, high = false / converged, 1.0
    for _ in range(60):
        share = 0.5 * (low + high)
        few = sum(math.comb(converged, k) * share**k * (1 - share) ** (converged - k) for k in range(false + 1))
        low, high = (share, high) if few > 1 - confidence else (low, share)
    return high


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the table of campaigns and its summary."""
    print(
        "seed steps            tracks start cuts     pivot   outl lost  verdict    it  effect  sigma   pull  weak  us"
    )
    for one in outcomes:
        case = one.case
        cuts = ",".join(f"{cut:g}" for cut in case.cuts)
        numbers = " ".join("     -" if v is None else f"{v:6.3f}" for v in (one.effect_um, one.sigma, one.pull))
        weak = "    -" if one.weak_um is None else f"{one.weak_um:5.0f}"
        print(
            f"{case.seed:4d} {case.steps:16s} {case.tracks:6d} {case.start_um:5.0f} {cuts:8s} {case.pivot:7s} "
            f"{case.outliers:4.1%} {case.lost_in or '-':>4} {one.verdict:10s} {one.iterations:3d}  {numbers} {weak} "
            f"{one.us:3.0f}{'  FALSE' if one.false else ''}{'  ' + one.reason if one.verdict == 'failed' else ''}"
        )
    counts = Counter(one.verdict for one in outcomes)
    converged = [one for one in outcomes if one.verdict == "converged"]
    false = sum(one.false for one in converged)
    print(", ".join(f"{count} {name}" for name, count in counts.most_common()))
    print(
        f"false converged: {false} of {len(converged)}, below {upper_limit(false, len(converged)):.1%} with 95 % confidence"
    )
    if converged:
        pulls = [one.pull for one in converged if one.pull is not None]
        print(
            f"iterations to converge: median {np.median([one.iterations for one in converged]):g}, "
            f"most {max(one.iterations for one in converged)}; pulls against the truth: median {np.median(pulls):.2f}, "
            f"rms {np.sqrt(np.mean(np.square(pulls))):.2f}, {min(pulls):.2f} to {max(pulls):.2f}"
        )


def main() -> int:
    """Run the requested campaigns."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--campaigns", type=int, default=12)
    options.add_argument("--first", type=int, default=1, help="seed of the first campaign")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    options.add_argument("--json", dest="output", help="file for everything that was measured")
    asked = options.parse_args()
    started = time.perf_counter()
    cases = [draw(seed) for seed in range(asked.first, asked.first + asked.campaigns)]
    with (
        tempfile.TemporaryDirectory(prefix="verdicts-", dir=asked.folder) as root,
        ProcessPoolExecutor(asked.processes) as pool,
    ):
        outcomes = list(pool.map(run, cases, [root] * len(cases)))
    show(outcomes)
    print(f"{time.perf_counter() - started:.0f} s on {asked.processes} processes")
    if asked.output:
        Path(asked.output).write_text(json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
