"""Compute the metrics of an iteration for ``metrics.json`` from counts, solutions and constants. Pure.

``alignment.quality.describe`` must describe each name with its formula.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from faser_align.alignment.mille.counts import RESIDUAL_EDGES_MM, Counts
from faser_align.alignment.parameters.constants import DOFS, ZERO, Six, add_constants, subtract_constants
from faser_align.alignment.parameters.labels import LAYER_KINDS, PARAMETERS, describe
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.quality.constant_errors import errors_of, merged
from faser_align.alignment.quality.error_scale import error_scale
from faser_align.alignment.quality.magnets import magnets
from faser_align.alignment.quality.metrics_file import finite
from faser_align.alignment.quality.notes import NEAR_END_UM
from faser_align.alignment.quality.survey import distance_to_truth, weak_modes
from faser_align.alignment.quality.weak_modes import held_fixed, repetition, split
from faser_align.alignment.solver.normal_equations import Normal
from faser_align.config.stored_types import Survey
from faser_align.fsm import metrics

FORMAT = 1
RESOLUTION_UM = 23.1  # strip pitch of 80 um divided by sqrt(12)
OUTLIER_MM = 0.2  # residual above which a hit does not belong to its track; strips have 0.08 mm


@dataclass(frozen=True)
class Step:
    """One Millepede step of an iteration.

    Attributes:
        name: name of the step.
        fixed: labels that it fixes.
        solution: its result.
        start: start values (mm, rad); zero where missing.
        frozen: names of the directions in which it could not move.
    """

    name: str
    fixed: frozenset[int]
    solution: Solution
    start: Mapping[int, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()

    @property
    def free(self) -> frozenset[int]:
        """Labels that could move: fixed neither by the rules nor by the entries cut."""
        return frozenset(PARAMETERS) - self.fixed - frozenset(self.solution.entries_fixed)

    @property
    def moved(self) -> dict[int, float]:
        """By how much each free label moved (mm, rad)."""
        values = self.solution.values
        return {label: values[label] - self.start.get(label, 0.0) for label in self.free if label in values}


@dataclass(frozen=True)
class Data:
    """Data of an iteration.

    Attributes:
        files_expected: raw files of the campaign.
        files_lost: dropped files.
        counts: sum over the files that are used.
        residual_max_mm: residual cut that was used; ``residual_max_final`` if later iterations do not change it.
        converted_again: whether it is ten times the configured cut, because the solver rejected too many records.
        momentum: change of the momenta since the previous iteration (``since_before``) and since the stage's first
            (``since_first``), each from ``momenta.compare``; empty if unknown.
        agreement, duplicates: comparison of the files, from ``between_files``; empty if unknown.
        uncompressed: number of ROOT files without compression, and so without checksums.
    """

    files_expected: int
    files_lost: Sequence[int]
    counts: Counts
    residual_max_mm: float
    residual_max_final: bool
    converted_again: bool = False
    momentum: metrics.Momentum = field(default_factory=metrics.Momentum)
    agreement: metrics.Agreement = field(default_factory=metrics.Agreement)
    duplicates: metrics.Duplicates = field(default_factory=metrics.Duplicates)
    uncompressed: int = 0


def iteration_metrics(
    *,
    stage: int,
    iteration: int,
    data: Data,
    steps: Sequence[Step],
    constants: Mapping[str, Six],
    correction: Mapping[str, Six],
    backend: str,
    normal: Normal | None = None,
    last: bool = True,
    freed_earlier: Collection[int] = (),
    survey: Survey | None = None,
    first: Mapping[str, Six] | None = None,
    before: Mapping[str, Six] | None = None,
    truth: Mapping[str, Six] | None = None,
) -> metrics.Metrics:
    """Return the metrics of an iteration; unknown numbers and those that are not finite are None.

    Args:
        stage, iteration: from 1.
        data: files, counts and cuts.
        steps: at least one, in order.
        constants: constants with which the iteration reconstructed (mm, rad).
        correction: correction that is added to them (mm, rad).
        backend: the solver, ``builtin`` or ``pede``.
        normal: normal equations of all parameters, for weak modes and fixed parameters.
        last: whether the stage may end here; fixed parameters are evaluated only then, or near the end.
        freed_earlier: labels that other stages free, in the campaign's last stage.
        survey, first: accuracies of the constants, and constants at the start of the campaign, for the drift along weak
            modes; None if unknown.
        before: constants with which the stage's previous iteration reconstructed; None if there is none.
        truth: constants of the simulated detector; None for real data.
    """
    counts = data.counts
    plus, minus = counts.median_q_over_p()
    free = [label for label in PARAMETERS if any(label in step.free for step in steps)]
    shift = residual_shift_um((step.solution for step in steps), counts.measurements)
    near_end = last or (shift is not None and shift < NEAR_END_UM)
    error_factor = error_scale(counts, data.residual_max_mm, steps[-1].solution.chi2_per_ndf)
    factor = error_factor.get("factor", 1.0)
    with_errors = replace(normal, matrix=normal.matrix / factor**2) if normal else None
    step_metrics = [_step(step, counts, normal, factor) for step in steps]
    values = steps[-1].solution.values
    found_errors = [errors_of(with_errors, step.free) for step in steps] if with_errors else []
    errors = [of_parameters for of_parameters, _ in found_errors] or [{} for _ in steps]
    nan = not all(math.isfinite(value) for six in correction.values() for value in six)
    surveyed: metrics.WeakModes = {}
    if normal and survey and first is not None and not nan and normal.positions(free):
        surveyed = weak_modes(normal, free, add_constants(constants, correction), first, survey)
    found = _determined([step["parts"] for step in step_metrics], counts.measurements)
    if normal and before is not None and found and not nan:
        found["repetition"] = repetition(normal, free, values, subtract_constants(constants, before))
    return {
        "format": FORMAT,
        "stage": stage,
        "iteration": iteration,
        "files": {
            "expected": data.files_expected,
            "used": data.files_expected - len(data.files_lost),
            "lost": list(data.files_lost),
            "agreement": data.agreement,
            "duplicates": data.duplicates,
            "uncompressed": data.uncompressed,
        },
        "tracks": {
            "read": counts.tracks_read,
            "used": counts.tracks_written,
            "cut": {"chi2": counts.tracks_cut_chi2, "pz": counts.tracks_cut_pz, "hits": counts.tracks_cut_hits},
        },
        "hits": {
            "read": counts.hits_read,
            "kept": counts.measurements,
            "cut": {"residual": counts.hits_cut_residual, "derivative": counts.hits_cut_derivative},
            "modules": counts.module_counts(),
            "outliers": _outliers(counts),
            "of_cut_tracks": counts.of_cut_tracks(),
        },
        "residual_max_mm": data.residual_max_mm,
        "residual_max_final": data.residual_max_final and not data.converted_again,
        "converted_again": data.converted_again,
        "chi2_per_ndf": finite(counts.chi2_per_ndf()),
        "residuals": counts.layer_residuals_um(),
        "sides": {key: _rounded(side) for key, side in counts.side_residuals_um().items()},
        "momentum": {
            "median_q_over_p_plus": plus,
            "median_q_over_p_minus": minus,
            "edge_low": counts.edge_low,
            "edge_high": counts.edge_high,
            **data.momentum,
        },
        "magnets": finite(magnets(counts)),
        "solver": _solver(backend, steps),
        "steps": step_metrics,
        "determined": found,
        "delta_chi2_per_parameter": _worst(delta_chi2_per_parameter(step.solution) for step in steps),
        "residual_shift_um": finite(shift),
        # Deprecated names, which the metrics of every version have: decisions and the state database read them.
        "significance": _worst(delta_chi2_per_parameter(step.solution) for step in steps),
        "effect_um": finite(shift),
        "corrections": corrections(correction, free),
        "free_modules": sorted({PARAMETERS[label].key for label in free if PARAMETERS[label].module >= 0}),
        "relative": finite(relative_size(correction, constants)),
        "nan": nan,
        "error_scale": error_factor,
        "errors": _errors(errors),
        "module_pulls": _module_pulls(steps, errors),
        "held_fixed": finite(held_fixed(normal, free, values)) if normal and near_end else {},
        "constant_errors": finite(merged(of_constants for _, of_constants in found_errors)),
        "freed_earlier": finite(held_fixed(normal, free, values, freed_earlier)) if normal and freed_earlier else {},
        "weak_modes": surveyed,
        "truth": finite(distance_to_truth(with_errors, free, add_constants(constants, correction), truth))
        if with_errors and truth is not None and not nan
        else {},
    }


def delta_chi2_per_parameter(solution: Solution) -> float | None:
    """Return the expected decrease of chi2 per fit parameter; None without a solution."""
    if solution.expected_decrease is None or solution.free_parameters < 1:
        return None
    return solution.expected_decrease / solution.free_parameters


def residual_shift_um(solutions: Iterable[Solution], measurements: int) -> float | None:
    """Return the expected rms shift of residuals (um) by all ``solutions``; None without measurements.

    It is ``23.1 um * sqrt(sum of expected decreases / measurements)``, where 23.1 um is the error of a strip
    (80 um / sqrt(12)).
    """
    decreases = [solution.expected_decrease for solution in solutions]
    if measurements < 1 or None in decreases:
        return None
    return RESOLUTION_UM * math.sqrt(max(sum(d for d in decreases if d is not None), 0.0) / measurements)


def corrections(correction: Mapping[str, Six], free: Iterable[int]) -> dict[str, metrics.Correction]:
    """Return rms and largest correction of each degree of freedom with a free label, and the element of the largest.

    Both are over the modules or layers with such a label only; the largest keeps its sign.
    """
    keys: dict[str, set[str]] = {}
    for label in free:
        keys.setdefault(PARAMETERS[label].kind, set()).add(PARAMETERS[label].key)
    by_dof: dict[str, metrics.Correction] = {}
    for name in ("module.x", "module.y", "module.rz", *LAYER_KINDS):
        kind, dof = "module.x" if name == "module.y" else name, name.partition(".")[2]
        if kind not in keys:
            continue
        factor, unit = (1e6, "urad") if dof.startswith("r") else (1e3, "um")
        values = {key: correction.get(key, ZERO)[DOFS.index(dof)] * factor for key in sorted(keys[kind])}
        where = max(values, key=lambda key: abs(values[key]))
        rms = math.sqrt(sum(value**2 for value in values.values()) / len(values))
        by_dof[name] = {"rms": finite(rms), "largest": finite(values[where]), "where": where, "unit": unit}
    return by_dof


def relative_size(correction: Mapping[str, Six], constants: Mapping[str, Six]) -> float | None:
    """Return the norm of the correction divided by that of the constants (mm and rad together); None for zero constants."""
    size = _norm(constants)
    return _norm(correction) / size if size > 0 else None


def _norm(constants: Mapping[str, Six]) -> float:
    return math.sqrt(sum(value**2 for six in constants.values() for value in six))


def _step(step: Step, counts: Counts, normal: Normal | None, factor: float) -> metrics.Step:
    solution = step.solution
    parts: metrics.Parts = finite(split(normal, step.free, step.moved)) if normal else {}
    for mode in parts.get("modes", ()):
        mode["error_um"] = None if mode["error_um"] is None else mode["error_um"] * factor
    return {
        "name": step.name,
        "free_parameters": solution.free_parameters,
        "variable": solution.n_variable,
        "measurements": solution.measurements or counts.measurements,
        "expected_decrease": finite(solution.expected_decrease),
        "delta_chi2_per_parameter": finite(delta_chi2_per_parameter(solution)),
        "significance": finite(delta_chi2_per_parameter(solution)),
        "end_code": solution.end_code,
        "end_text": solution.end_text,
        "function_values": [finite(row.chi2) for row in solution.iterations],
        "constraints": solution.constraints,
        "constraint_rank": solution.constraint_rank,
        "rank_defect": solution.rank_defect,
        "entries_fixed": list(solution.entries_fixed),
        "entries_fixed_names": [describe(label) for label in solution.entries_fixed],
        "entries_fixed_in": [PARAMETERS[label].key for label in solution.entries_fixed if label in PARAMETERS],
        "undetermined": [
            {describe(label): finite(weight) for label, weight in direction.items()}
            for direction in solution.undetermined
        ],
        "frozen": list(step.frozen),
        "from_sums": solution.from_sums,
        "why_not_sums": solution.why_not_sums,
        "parts": parts,
    }


def _determined(parts: Sequence[metrics.Parts], measurements: int) -> metrics.Determined:
    """Return the correction along determined directions, in standard deviations (rms) and as residual shift (um)."""
    if not all(parts) or measurements < 1:
        return {}
    decrease = sum(part["significant"]["expected_decrease"] for part in parts)
    directions = sum(part["significant"]["directions"] for part in parts)
    return {
        "sigma": math.sqrt(decrease / max(directions, 1)),
        "residual_shift_um": RESOLUTION_UM * math.sqrt(decrease / measurements),
        "effect_um": RESOLUTION_UM * math.sqrt(decrease / measurements),
    }


def _solver(backend: str, steps: Sequence[Step]) -> metrics.Solver:
    """Return the solver's metrics; the step with the worst end code represents all."""
    worst = max((step.solution for step in steps), key=lambda solution: (solution.end_code < 0, solution.end_code))
    memories = [step.solution.memory_mb for step in steps if step.solution.memory_mb is not None]
    return {
        "backend": backend,
        "end_code": worst.end_code,
        "end_text": worst.end_text,
        "chi2_per_ndf": finite(worst.chi2_per_ndf),
        "records": worst.records,
        "rejects": dict(worst.rejects._asdict()),
        "memory_mb": max(memories) if memories else None,
    }


def _errors(by_step: Sequence[Mapping[int, float | None]]) -> dict[str, float | None]:
    """Return the rms error of each kind of parameter (um, urad), without those that the data do not determine."""
    squares: dict[str, list[float]] = {}
    for errors in by_step:
        for label, error in errors.items():
            parameter = PARAMETERS[label]
            if error is not None:
                factor = 1e3 if parameter.translation else 1e6
                squares.setdefault(parameter.kind, []).append((error * factor) ** 2)
    return {kind: finite(math.sqrt(sum(values) / len(values))) for kind, values in sorted(squares.items())}


def _module_pulls(steps: Sequence[Step], by_step: Sequence[Mapping[int, float | None]]) -> dict[str, float]:
    """Return by module the largest correction of its parameters in units of its error."""
    pulls: dict[str, float] = {}
    for step, errors in zip(steps, by_step, strict=True):
        moved = step.moved
        for label, error in errors.items():
            parameter = PARAMETERS[label]
            if parameter.module < 0 or not error or not math.isfinite(moved.get(label, math.nan)):
                continue
            pulls[parameter.key] = max(pulls.get(parameter.key, 0.0), abs(moved[label]) / error)
    return pulls


def _rounded(side: metrics.Module) -> metrics.Module:
    """Return the residuals of a side to 1 nm, which halves their share of ``metrics.json``."""
    return {"hits": side["hits"], "mean_um": round(side["mean_um"], 3), "rms_um": round(side["rms_um"], 3)}


def _outliers(counts: Counts) -> float | None:
    """Return the fraction of hits farther than ``OUTLIER_MM`` from their tracks in the median layer; None without hits.

    A layer or module that is not where its constants say does not change the median.
    """
    far = np.concatenate([[True], np.abs(RESIDUAL_EDGES_MM[:-1] + RESIDUAL_EDGES_MM[1:]) / 2 > OUTLIER_MM, [True]])
    hits = counts.residual_bins.sum(axis=1)
    shares = counts.residual_bins[:, far].sum(axis=1)[hits > 0] / hits[hits > 0]
    return float(np.median(shares)) if len(shares) else None


def _worst(values: Iterable[float | None]) -> float | None:
    """Return the largest value; None if one is unknown, so that it does not count as small."""
    known = [finite(value) for value in values]
    return None if None in known or not known else max(value for value in known if value is not None)
