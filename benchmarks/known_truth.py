"""Set up simulated campaigns with a known truth, run them with the jobs' own functions, and measure their distance.

For ``convergence.py`` and ``verdicts.py``; without HTCondor.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one campaign per core; numpy reads it when it is imported

import numpy as np

from faser_align.alignment.parameters.constants import ZERO, Constants, parse_constants, write_constants
from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import KEYS, PARAMETERS
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.config.schema import Config
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve
from faser_align.simulation import geometry as geo
from faser_align.simulation import reconstruct as fit
from faser_align.simulation.geometry import Geometry
from faser_align.simulation.tracks import USUAL, USUAL_BEAM, Beam, Hits, Response, simulate_file

ITERATIONS, RUN = 12, "011705"
RESOLUTION_UM = 23.1
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_TRUTH = EXAMPLES / "align_2025.txt"
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
    "3ST two fixed": (3, [{"name": "all but 21 and 41", "fix": ["IFT", 21, 41]}]),
    "3ST three fixed": (3, [{"name": "all but 21, 31 and 41", "fix": ["IFT", 21, 31, 41]}]),
    "3ST one step": (3, [{"name": "all but the frame", "fix": ["frame", "rx", "ry"]}]),
}


@dataclass(frozen=True)
class Case:
    """One campaign: what is aligned, with how much data, and the initial misalignment."""

    seed: int
    steps: str
    tracks: int
    start_um: float
    pivot: str
    cuts: tuple[float, ...]
    outliers: float
    lost_in: int  # iteration in which a file is dropped; 0 for never

    @property
    def files(self) -> int:
        """Number of raw files: enough to drop one, or few, which is faster."""
        return 6 if self.lost_in else 2


def true_constants() -> Constants:
    """Return FASER's constants of 2025, which the simulated detector has."""
    return parse_constants(_TRUTH.read_text(encoding="utf-8"), str(_TRUTH))


def free_labels(case: Case) -> set[int]:
    """Return the labels that a step of the case frees."""
    stations, steps = STEPS[case.steps]
    return set().union(*(set(PARAMETERS) - fix_rules(step["fix"], stations) for step in steps))


def misplace(truth: Constants, case: Case) -> Constants:
    """Return constants that differ from the truth in what the case's steps free.

    ``start_um`` is the rms shift of modules across their strips if only these are free, else that of layers along y;
    the other degrees of freedom scale with it as in FASER. Each layer's mean module shift and rotation stay zero.
    """
    rng = np.random.default_rng([case.seed, 7])
    keys = {PARAMETERS[label].key for label in free_labels(case)}
    size, moved = case.start_um * 1e-3, dict(truth)
    within = 1.0 if case.steps == "IFT modules" else 0.25
    for layer in (key for key in KEYS if len(key) == 2):
        if layer in keys:
            x, y, rx, ry, rz = rng.standard_normal(5) * size * np.array([1.0, 1.0, 0.002, 0.002, 0.004])
            if case.steps != "IFT layers":
                x = 0.0  # the mean of the modules' shifts along their strips, which are free then
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


def make(case: Case, folder: Path, start: Constants, **mille: Any) -> dict[str, Any]:
    """Make a campaign's folder and manifest as submit does; keywords change ``[mille]``."""
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
    return write(manifest(tables, case.files, folder), start)


def manifest(tables: dict[str, Any], files: int, folder: Path) -> Any:
    """Return the manifest of a campaign with these tables of the configuration."""
    return make_record(
        Config.model_validate(tables),
        name=folder.name,
        year=2026,
        run=RUN,
        files=list(range(files)),
        folder=str(folder),
        constants="",
        sha256="",
        created_utc="",
    )


def write(record: Any, start: Constants) -> Any:
    """Make the folder of a campaign that begins with ``start``; return its manifest."""
    first = layout.constants_file(record["folder"], 1, 1)
    os.makedirs(os.path.dirname(first))
    write_constants(first, start)
    write_record(f"{record['folder']}/{layout.RECORD}", record)
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


def forget(campaign: dict[str, Any], iteration: int) -> None:
    """Remove the large files of an iteration that is over."""
    if iteration > 0:
        for path in Path(layout.iteration_folder(campaign["folder"], 1, iteration), layout.KFALIGNMENT).iterdir():
            if path.suffix in (".root", ".bin"):
                path.unlink()


def misplace_everything(truth: Constants, rng: np.random.Generator, size: float) -> Constants:
    """Return constants that differ from the truth in everything that may be aligned.

    With ``size`` 1 modules are off by 24, 20, 11, 7.5 um rms across their strips (IFT, stations 1 to 3), as the real
    constants changed, 100 um along them and 0.4 mrad; layers by 50 um in x, 60 um in y, 0.3 mrad about z and 0.2 mrad
    about x and y.
    """
    moved = dict(truth)
    for key in KEYS:
        if len(key) == 2:
            x, y, rx, ry, rz = size * rng.standard_normal(5) * np.array([0.05, 0.06, 0.0002, 0.0002, 0.0003])
            moved[key] = _sum(truth.get(key, ZERO), (x, y, 0.0, rx, ry, rz))
        else:
            across = (0.024, 0.020, 0.011, 0.0075)[int(key[0])]
            u, v, rz = size * rng.standard_normal(3) * np.array([across, 0.1, 0.0004])
            moved[key] = _sum(truth.get(key, ZERO), (u, v, 0.0, 0.0, 0.0, rz))
    return moved


class Reference:
    """Independent tracks with every hit exactly on its track in the true detector.

    The fit of these tracks with other constants gives the expected excess of chi2 over the truth: measurement errors
    have the mean zero and add the same to both. The excess does not depend on the coordinate frame, nor on directions
    that the data do not determine.

    Args:
        truths: the true detector, or several of which each has the same number of tracks.
        stations: 4, or 3 without the IFT.
        beam, response: of the campaign.
        dead: elements without hits.
        tracks: number of tracks.
    """

    def __init__(
        self,
        truths: Sequence[Geometry],
        stations: int,
        *,
        beam: Beam = USUAL_BEAM,
        response: Response = USUAL,
        dead: Sequence[int] = (),
        tracks: int = 4000,
    ) -> None:
        self._stations = stations
        response = Response(response.inefficiency)
        self._hits = [
            self._on_tracks(hits, truth, dead)
            for at, truth in enumerate(truths)
            for hits in simulate_file(truth, tracks // len(truths), 991, int(RUN), at, response, beam)
        ]

    def _on_tracks(self, hits: Hits, truth: Geometry, dead: Sequence[int]) -> Hits:
        fits = fit.reconstruct(without(hits, dead), truth, self._stations)
        strip: Any = (fits.measured - fits.residual + geo.HALF_WIDTH) / geo.PITCH - 0.5  # not a whole number
        return Hits(np.repeat(np.arange(len(fits.lengths)), fits.lengths), fits.element, strip)

    def distance_um(self, constants: Constants) -> float:
        """Return the excess of chi2 as the rms shift of residuals: ``23.1 um * sqrt(excess / hits)``."""
        believed = geo.build(constants)
        fits = [fit.reconstruct(hits, believed, self._stations) for hits in self._hits]
        excess, hits = sum(float(f.chi2.sum()) for f in fits), sum(len(f.residual) for f in fits)
        return float(RESOLUTION_UM * np.sqrt(excess / hits))


def without(hits: Hits, dead: Sequence[int]) -> Hits:
    """Return the hits that are not on the elements ``dead``."""
    kept = ~np.isin(hits.element, dead)
    return Hits(*(column[kept] for column in hits)) if len(dead) else hits
