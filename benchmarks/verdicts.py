"""How far the verdict *converged* can be trusted: simulated campaigns whose truth is known.

``python benchmarks/verdicts.py [--campaigns N]`` draws campaigns (3 and 4 stations, the usual steps, 500 to 50,000
tracks, start misalignments of 10 to 300 um, both pivots, outliers, files that get lost, cuts with and without a wide
first one), runs them with the jobs' own programs and judges them as the hooks do. A campaign is *false converged* if its
constants are further than 0.5 um effect, or 0.3 standard deviations rms, from those that the same tracks, without their
outliers, reach in 15 more iterations without a residual cut; only directions that the data determine count.
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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one campaign a core

import numpy as np

from faser_align.alignment.constants import (
    ZERO,
    Constants,
    add_constants,
    correction_from_parameters,
    parse_constants,
    read_constants,
    write_constants,
)
from faser_align.alignment.fixrules import fix_rules
from faser_align.alignment.labels import KEYS, PARAMETERS
from faser_align.alignment.mille import Cuts, convert
from faser_align.alignment.normal import Normal, normal_equations
from faser_align.alignment.steering import SolverOptions, write_steering
from faser_align.alignment.weakmodes import WEAK
from faser_align.config import layout
from faser_align.config.record import make_record, write_record
from faser_align.config.schema import Config
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.verdict import Rules, judge
from faser_align.jobs.program import open_iteration
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve
from faser_align.jobs.steps import run_steps

TRUTH = Path(__file__).resolve().parent.parent / "examples" / "align_2025.txt"
ITERATIONS, MORE = 12, 15
EFFECT_UM, SIGMA = 0.5, 0.3
RESOLUTION_UM = 23.1
STILL = 1e-6  # significance from which a fixed point is reached
STEPS: dict[str, tuple[int, list[dict[str, Any]]]] = {
    "IFT modules": (4, [{"name": "IFT fix layer", "fix": ["layer", "3ST"]}]),
    "IFT layers": (4, [{"name": "IFT fix side", "fix": ["side", "3ST"]}]),
    "3ST two-step": (
        3,
        [
            {"name": "all but 21 and 41", "fix": ["IFT", 21, 41]},
            {"name": "21 and 41", "fix": ["IFT", 20, 22, 30, 31, 32, 40, 42]},
        ],
    ),
    "3ST three fixed": (3, [{"name": "all but 21, 31 and 41", "fix": ["IFT", 21, 31, 41]}]),
}


@dataclass(frozen=True)
class Case:
    """One campaign: what is aligned, with how much data, from how far."""

    seed: int
    steps: str
    tracks: int
    start_um: float
    pivot: str
    cuts: tuple[float, ...]
    outliers: float
    lost_in: int  # iteration in which a file is lost; 0 for never

    @property
    def files(self) -> int:
        """Raw files: so many that one may be lost, or few, which is quicker."""
        return 6 if self.lost_in else 2


@dataclass
class Outcome:
    """What became of a campaign; distances are None where there is no result to judge."""

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
        """Whether it converged beside its fixed point."""
        if self.verdict != "converged" or self.effect_um is None or self.sigma is None:
            return False
        return self.effect_um > EFFECT_UM or self.sigma > SIGMA


def draw(seed: int) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng([2026, seed])
    steps = str(rng.choice(list(STEPS), p=[0.35, 0.15, 0.3, 0.2]))
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


def misplace(truth: Constants, case: Case) -> Constants:
    """Constants beside the truth in what the case's steps free.

    ``start_um`` is the rms shift of modules across their strips where only these are free, else that of layers along
    y; the other degrees of freedom go with it as they do in FASER. Each layer's mean module shift and turn stay zero.
    """
    rng = np.random.default_rng([case.seed, 7])
    stations, steps = STEPS[case.steps]
    free = set.union(*(set(PARAMETERS) - fix_rules(step["fix"], stations) for step in steps))
    keys = {PARAMETERS[label].key for label in free}
    size, moved = case.start_um * 1e-3, dict(truth)
    within = 1.0 if case.steps == "IFT modules" else 0.25
    for layer in (key for key in KEYS if len(key) == 2):
        if layer in keys:
            moves = rng.standard_normal(5) * size * np.array([0.0 if case.steps == "3ST" else 1.0, 1.0, 1.0, 1.0, 2.0])
            x, y, rx, ry, rz = moves * np.array([0.0 if case.steps != "IFT layers" else 1.0, 1.0, 0.002, 0.002, 0.002])
            moved[layer] = _sum(truth.get(layer, ZERO), (x, y, 0.0, rx, ry, rz))
        modules = [key for key in KEYS if len(key) == 3 and key[:2] == layer and key in keys]
        shifts = rng.standard_normal((8, 3)) * size * within * np.array([1.0, 5.0, 0.016])
        if case.steps != "IFT layers" and len(modules) == 8:
            shifts[:, [0, 2]] -= shifts[:, [0, 2]].mean(axis=0)
            for key, (u, v, rz) in zip(modules, shifts, strict=True):
                moved[key] = _sum(truth.get(key, ZERO), (u, v, 0.0, 0.0, 0.0, rz))
    return moved


def _sum(a: Sequence[float], b: Sequence[float]) -> Any:
    return tuple(float(x + y) for x, y in zip(a, b, strict=True))


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
    truth = parse_constants(TRUTH.read_text(encoding="utf-8"), str(TRUTH))
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
        _forget(campaign, iteration - 1)
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


def make(case: Case, folder: Path, start: Constants, **mille: Any) -> dict[str, Any]:
    """A campaign's folder and record, as submit makes them; keywords change ``[mille]``."""
    stations, steps = STEPS[case.steps]
    loose = {"derivative_max": 1e6} if case.pivot == "layer" else {}
    tables = {
        "campaign": {"stations": stations},
        "simulation": {
            "truth": str(folder.parent / "truth.txt"),
            "tracks": max(1, case.tracks // case.files),
            "seed": case.seed,
            "outliers": case.outliers,
        },
        "mille": {"residual_max": list(case.cuts), "pivot": case.pivot} | loose | mille,
        "stages": [{"name": case.steps, "iterations": ITERATIONS, "steps": steps}],
    }
    record = make_record(
        Config.model_validate(tables),
        name=folder.name,
        year=2026,
        run="011705",
        files=list(range(case.files)),
        folder=str(folder),
        constants="",
        sha256="",
        created_utc="",
    )
    first = layout.constants_file(str(folder), 1, 1)
    os.makedirs(os.path.dirname(first))
    write_constants(first, start)
    write_record(f"{folder}/{layout.RECORD}", record)
    return record


def solve_iteration(campaign: dict[str, Any], iteration: int, lost: Sequence[int]) -> None:
    """Reconstruct and solve as the nodes of an iteration do."""
    for file in campaign["files"]:
        if file not in lost:
            reconstruct(campaign["folder"], 1, iteration, file)
    if lost:
        path = Path(layout.lost_file(campaign["folder"], 1, iteration))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(lost)), encoding="utf-8")
    solve(campaign["folder"], 1, iteration)


def _forget(campaign: dict[str, Any], iteration: int) -> None:
    """Make room: of an iteration that is over only small files are needed."""
    if iteration > 0:
        for path in Path(layout.iteration_folder(campaign["folder"], 1, iteration), layout.KFALIGNMENT).iterdir():
            if path.suffix in (".root", ".bin"):
                path.unlink()


def _measure(
    campaign: dict[str, Any],
    case: Case,
    folder: Path,
    truth: Constants,
    lost: Sequence[int],
    iterations: int,
    outcome: Outcome,
) -> None:
    """Distances of the campaign's constants from their fixed point, and from the truth in units of their errors."""
    found = read_constants(layout.result_file(campaign["folder"], 1, iterations))
    settled, normal, measurements = fixed_point(case, folder, found, lost)
    stations, steps = STEPS[case.steps]
    free = set.union(*(set(PARAMETERS) - fix_rules(step["fix"], stations) for step in steps))
    values, directions = normal.directions(free)
    strong = values > np.median(values) / WEAK**2
    apart = directions.T @ normal.in_um(parameters(found, settled))
    chi2 = float(values[strong] @ apart[strong] ** 2)
    outcome.effect_um = RESOLUTION_UM * math.sqrt(chi2 / measurements)
    outcome.sigma = math.sqrt(chi2 / int(strong.sum()))
    outcome.weak_um = float(np.sqrt(np.mean(apart[~strong] ** 2))) if not strong.all() else 0.0
    beside = directions.T @ normal.in_um(parameters(found, truth))
    outcome.pull = math.sqrt(float(values[strong] @ beside[strong] ** 2) / int(strong.sum()))


def fixed_point(case: Case, folder: Path, start: Constants, lost: Sequence[int]) -> tuple[Constants, Normal, int]:
    """Where the same tracks lead in MORE iterations without residual cut and outliers, and their normal equations."""
    campaign = make(replace(case, outliers=0.0), folder / "settled", start, residual_max=[1000.0])
    used = [file for file in campaign["files"] if file not in lost]
    constants = start
    for number in range(1, MORE + 1):
        for file in used:
            reconstruct(campaign["folder"], 1, number, file)
        iteration = open_iteration(campaign["folder"], 1, number)
        os.makedirs(iteration.solution_folder(), exist_ok=True)
        solved = run_steps(iteration, used)
        constants = add_constants(constants, correction_from_parameters(solved.steps[-1].solution.values))
        following = layout.constants_file(campaign["folder"], 1, number + 1)
        os.makedirs(os.path.dirname(following), exist_ok=True)
        write_constants(following, constants)
        still = all(
            (step.solution.expected_decrease or 0.0) < STILL * max(step.solution.free_parameters, 1)
            for step in solved.steps
        )
        if still or number == MORE:
            return constants, _normal(campaign, number, used, folder), solved.counts.measurements
        _forget(campaign, number)
    raise AssertionError("the loop returns")


def _normal(campaign: dict[str, Any], number: int, used: Sequence[int], folder: Path) -> Normal:
    """Normal equations with derivatives about the layers' own z, whatever pivot the campaign has.

    Calypso's derivatives take some directions for determined that are not: a layer that turns about x or y shifts its
    modules, which stand before and behind it.
    """
    iteration = open_iteration(campaign["folder"], 1, number)
    binaries = []
    for file in used:
        binaries.append(folder / f"normal{file}.bin")
        convert(
            [iteration.kfalignment_file(file)],
            binaries[-1],
            Cuts(residual_max=1000.0, derivative_max=1e6, pivot="layer"),
        )
    return normal_equations(write_steering(folder, binaries, frozenset(), {}, SolverOptions()))


def parameters(first: Constants, second: Constants) -> dict[int, float]:
    """Difference of constants as the solver's parameters (mm, rad), the inverse of what a correction is made of."""
    found = {}
    for label, parameter in PARAMETERS.items():
        x, y, _, rx, ry, rz = np.subtract(first.get(parameter.key, ZERO), second.get(parameter.key, ZERO))
        if parameter.kind == "module.x":
            sign = (1 if parameter.module in (0, 2, 5, 7) else -1) * (1 if parameter.side else -1)
            found[label] = float(x + sign * 0.02 * y)
        else:
            found[label] = float({"x": x, "y": y, "rx": rx, "ry": ry, "rz": rz}[parameter.kind.split(".")[1]])
    return found


def upper_limit(false: int, converged: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper limit of a share: the largest that still has a chance of so few."""
    if converged == 0:
        return 1.0
    low, high = false / converged, 1.0
    for _ in range(60):
        share = 0.5 * (low + high)
        few = sum(math.comb(converged, k) * share**k * (1 - share) ** (converged - k) for k in range(false + 1))
        low, high = (share, high) if few > 1 - confidence else (low, share)
    return high


def show(outcomes: Sequence[Outcome]) -> None:
    """Write the table of campaigns and what follows from it."""
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
    """Run the campaigns that the command line asks for."""
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
