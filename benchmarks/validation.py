"""Measure how often a validation rejects: constants with one module off, and undisturbed constants.

``python benchmarks/validation.py [--alignments N] [--seed N] [--unused N] [--shift UM...]`` simulates alignments with the
default joint step, or of the IFT's modules alone, from misaligned constants. It validates each result with unused files
(of 2,000 tracks; by default one, the least that a campaign of ten files holds back), which differ in each validation:
undisturbed, and with one random module moved across its strips. Rows of the table: kinds of alignment, with many tracks, with few, from the true constants, with outliers,
and few tracks for the IFT's modules.
The work is the jobs' own, in one process per alignment and without HTCondor.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one alignment per core; numpy reads it when it is imported

import numpy as np

from faser_align.alignment.parameters.constants import (
    ZERO,
    Constants,
    add_constants,
    parse_constants,
    read_constants,
    write_constants,
)
from faser_align.alignment.parameters.labels import KEYS
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.config.schema import Config
from faser_align.fsm.plural import in_percent
from faser_align.fsm.rules import Rules
from faser_align.fsm.validation import Limits, confirm
from faser_align.fsm.verdict import Verdict, judge
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve
from faser_align.jobs.validate import validate

PER_FILE = 2000  # tracks of a raw file
ITERATIONS = 8
TRUTH = Path(__file__).resolve().parent.parent / "examples" / "align_2025.txt"


class Kind(NamedTuple):
    """A kind of alignment: tracks, the rms shift of layers in the first constants, outliers, and what is fixed.

    ``fix`` is empty for the default step, which frees all layers and modules.
    """

    tracks: int
    start_um: float
    outliers: float = 0.0
    fix: tuple[str, ...] = ()

    @property
    def per_file(self) -> int:
        """Tracks of a raw file."""
        return min(PER_FILE, self.tracks)

    def __str__(self) -> str:
        noise = f", {in_percent(self.outliers)} outliers" if self.outliers else ""
        fixed = f", fix {' '.join(self.fix)}" if self.fix else ""
        return f"{self.tracks:,} tracks, from {self.start_um:g} um{noise}{fixed}"


IFT = ("layer", "3ST")  # its modules alone
KINDS = (
    *(Kind(20_000, 30.0), Kind(20_000, 0.0), Kind(8_000, 30.0), Kind(8_000, 0.0), Kind(20_000, 30.0, 0.01)),
    *(Kind(1_600, 0.0, 0.0, IFT), Kind(20_000, 0.0, 0.01)),
)


class Trial(NamedTuple):
    """One validation: the shift (um) of a module, the module, and the decision."""

    shift_um: float
    module: str
    verdict: Verdict


def misplace(truth: Constants, size_um: float, rng: np.random.Generator) -> Constants:
    """Return constants in which layers are off by ``size_um`` (rms), and other degrees of freedom as in FASER."""
    moved, size = dict(truth), size_um * 1e-3
    for layer in (key for key in KEYS if len(key) == 2):
        y, rx, ry, rz = rng.standard_normal(4) * size * np.array([1.0, 0.002, 0.002, 0.004])
        moved[layer] = _sum(truth.get(layer, ZERO), (0.0, y, 0.0, rx, ry, rz))
        for key in (key for key in KEYS if len(key) == 3 and key[:2] == layer):
            u, v, turn = rng.standard_normal(3) * size * np.array([0.25, 1.25, 0.004])
            moved[key] = _sum(truth.get(key, ZERO), (u, v, 0.0, 0.0, 0.0, turn))
    return moved


def _sum(first: Sequence[float], second: Sequence[float]) -> Any:
    return tuple(float(a + b) for a, b in zip(first, second, strict=True))


def align(kind: Kind, seed: int, folder: Path) -> dict[str, Any]:
    """Make and align a campaign until it has converged; return its manifest, with both constants of a validation."""
    tables: Any = {
        "campaign": {"iterations": ITERATIONS},
        "simulation": {"truth": str(TRUTH), "tracks": kind.per_file, "seed": seed, "outliers": kind.outliers},
        "mille": {"pivot": "layer"},
    }
    if kind.fix:
        tables["stages"] = [{"steps": [{"name": "step", "fix": list(kind.fix)}]}]
    record: Any = make_record(
        Config.model_validate(tables),
        name=folder.name,
        year=2026,
        run="011705",
        files=list(range(kind.tracks // kind.per_file)),
        folder=str(folder),
        constants="",
        sha256="",
        created_utc="",
    )
    first = misplace(_truth(), kind.start_um, np.random.default_rng([seed, 7]))
    _write(record, 1, 1, first)
    write_record(f"{folder}/{layout.RECORD}", record)
    history: list[Any] = []
    while not history or judge(Rules(), history, limit=ITERATIONS).name == "go_on":
        number = len(history) + 1
        for file in record["files"]:
            _reconstruct(record, 1, number, file, keep=True)
        solve(str(folder), 1, number)
        history.append(json.loads(Path(layout.metrics_file(str(folder), 1, number)).read_text(encoding="utf-8")))
        shutil.rmtree(os.path.join(layout.iteration_folder(str(folder), 1, number), layout.KFALIGNMENT))
    said = judge(Rules(), history, limit=ITERATIONS)
    print(f"{kind}, seed {seed}: {said.name} in {len(history)}: {said.reason}", flush=True)
    _write(record, layout.VALIDATION, layout.BEFORE, first)
    _write(record, layout.VALIDATION, layout.AFTER, read_constants(layout.result_file(str(folder), 1, len(history))))
    result: dict[str, Any] = record
    return result


def _truth() -> Constants:
    return parse_constants(TRUTH.read_text(encoding="utf-8"), str(TRUTH))


def _write(record: Any, stage: int, number: int, constants: Constants) -> None:
    path = layout.constants_file(record["folder"], stage, number)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_constants(path, constants)


def _reconstruct(record: Any, stage: int, number: int, file: int, *, keep: bool = False) -> None:
    """Reconstruct a raw file, and keep only the counts and momenta unless it will be solved."""
    reconstruct(record["folder"], stage, number, file)
    if not keep:
        os.unlink(layout.kfalignment_file(record["data"], stage, number, record["run"], file))
        os.unlink(layout.mille_file(record["data"], stage, number, record["run"], file))


def trials(
    kind: Kind, seed: int, unused: int, undisturbed: int, shifts: Sequence[float], disturbed: int, root: str
) -> list[Trial]:
    """Align once, and validate many times, each time with other ``unused`` files."""
    folder = Path(root) / re.sub(r"\W+", "_", f"{kind} {seed}")
    record: Any = align(kind, seed, folder)
    rng = np.random.default_rng([seed, 8])
    aligned = read_constants(layout.constants_file(str(folder), layout.VALIDATION, layout.AFTER))
    found = []
    wanted = [0.0] * undisturbed + [shift for shift in shifts for _ in range(disturbed)]
    for trial, shift in enumerate(wanted):
        free = [key for key in KEYS if len(key) == 3 and (key[0] == "0" or not kind.fix)]
        module = str(rng.choice(free)) if shift else ""
        constants = add_constants(aligned, {module: (shift * 1e-3, 0.0, 0.0, 0.0, 0.0, 0.0)}) if shift else aligned
        _write(record, layout.VALIDATION, layout.AFTER, constants)
        files = list(range(1000 + trial * unused, 1000 + (trial + 1) * unused))
        record["validation"] = {"files": files, "unused": files}
        write_record(f"{folder}/{layout.RECORD}", record)
        for half in (layout.BEFORE, layout.AFTER):
            for file in files:
                _reconstruct(record, layout.VALIDATION, half, file)
        os.makedirs(os.path.dirname(layout.metrics_file(str(folder), layout.VALIDATION, layout.AFTER)), exist_ok=True)
        validate(str(folder), layout.VALIDATION, layout.AFTER)
        path = Path(layout.metrics_file(str(folder), layout.VALIDATION, layout.AFTER))
        found.append(Trial(shift, module, confirm(Limits(), json.loads(path.read_text(encoding="utf-8")))))
    shutil.rmtree(folder)
    return found


def show(kind: Kind, found: Sequence[Trial]) -> None:
    """Print a line per shift, and the sentences of what is unexpected."""
    for shift in sorted({trial.shift_um for trial in found}):
        these = [trial for trial in found if trial.shift_um == shift]
        rejected = [trial for trial in these if trial.verdict.name == "refuted"]
        named = sum(f"module {trial.module} seems off" in trial.verdict.reason for trial in rejected)
        told = [
            float(size) for trial in rejected for size in re.findall(r"seems off by (\d+) um", trial.verdict.reason)
        ]
        sizes = f", module named {named}, off by {min(told):.0f}-{max(told):.0f} um" if shift and told else ""
        print(f"{kind!s:40} {shift:4g} um: rejected {len(rejected):3} of {len(these)}{sizes}")
        for trial in rejected if not shift else (trial for trial in these if trial not in rejected):
            means = [c for c in trial.verdict.criteria if c.name.startswith("means")]
            print(f"    {trial.module} {trial.verdict.reason if not shift else means[-1].text}")
    means = [c for trial in found for c in trial.verdict.criteria if c.name.startswith("means") and not trial.shift_um]
    if means:
        print(
            f"    undisturbed: largest mean / limit {max((c.value or 0.0) / (c.threshold or 1.0) for c in means):.2f}",
            flush=True,
        )


def main() -> int:
    """Run the alignments and their validations, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alignments", type=int, default=5, help="alignments of each kind")
    parser.add_argument("--unused", type=int, default=1, help="unused files of each validation")
    parser.add_argument("--undisturbed", type=int, default=20, help="undisturbed validations of each alignment")
    parser.add_argument("--disturbed", type=int, default=4, help="validations of each alignment and shift")
    parser.add_argument("--shift", type=float, nargs="*", default=[50.0], help="shifts of one module (um)")
    parser.add_argument("--kinds", type=int, nargs="*", default=range(len(KINDS)), help="numbers of the kinds, from 0")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    started = time.perf_counter()
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(prefix="validation-", dir=place) as root,
        ProcessPoolExecutor(options.processes) as pool,
    ):
        runs = {
            kind: [
                pool.submit(
                    trials, kind, seed, options.unused, options.undisturbed, options.shift, options.disturbed, root
                )
                for seed in range(options.seed, options.seed + options.alignments)
            ]
            for kind in (KINDS[number] for number in options.kinds)
        }
        for kind, futures in runs.items():
            show(kind, [trial for future in futures for trial in future.result()])
    print(f"seeds {options.seed}-{options.seed + options.alignments - 1}, {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
