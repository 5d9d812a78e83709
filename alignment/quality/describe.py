"""Describe each metric of ``metrics.json``: unit, meaning, formula and readers.

``alignment.quality.metrics`` and the jobs write the metrics. Tables of ``docs/alignment.md`` and headings of charts are
generated from here.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from faser_align.alignment.mille.counts import Counts

# Sources of metrics, by the word in the table's column.
SOURCES = {
    "record": "`campaign.json` and the list of lost files",
    "counts": "[counts of the conversions](#from-tracks-to-mille-records), added up over the files that are used",
    "solution": "what the solver found and said, step by step",
    "equations": "the normal equations of all parameters, free or not",
    "constants": "the constants that were handed on, and the correction",
    "tracks": "the momenta beside the Mille binaries, of tracks that are known again by their hits",
    "job": "the job that writes the file",
    "log": "HTCondor's log of the jobs",
}
# Readers of metrics besides the convergence criteria.
READERS = {
    "metrics": "the tables of `faser-align metrics`; its `--json` and `--csv` have all",
    "report": "`faser-align report`",
    "status": "`faser-align status`, and messages",
    "plot": "`convergence.png`",
    "notes": "the sentences of `notes`",
}


class Metric(NamedTuple):
    """A name in ``metrics.json``.

    Attributes:
        name: dotted path from the top level. Capitals stand for any key, ``[]`` for each element of a list.
        unit: empty for dimensionless numbers and for values that are not numbers.
        words: what it is.
        formula: how it is computed; empty if it is copied.
        source: what it is computed from, one of ``SOURCES``.
        readers: convergence criteria, as `why` names them, and some of ``READERS``.
    """

    name: str
    unit: str
    words: str
    formula: str
    source: str
    readers: str = ""


ITERATION = (
    Metric("format", "", "version of the format: 1", "", "job"),
    Metric("stage", "", "stage, from 1; 0: the validation", "", "record", "plot"),
    Metric("iteration", "", "iteration, from 1 inside its stage", "", "record", "plot"),
)
DATA = (
    Metric("files.expected", "", "raw files of the campaign", "", "record", "metrics report status"),
    Metric(
        "files.used",
        "",
        "raw files that are used",
        "`expected` less those in `lost`",
        "record",
        "metrics report status",
    ),
    Metric("files.lost", "", "numbers of the raw files that are left out", "", "record", "same_files chi2_rise"),
    Metric("tracks.read", "", "tracks in the files", "`tracks_read`", "counts", "metrics report"),
    Metric(
        "tracks.used",
        "",
        "tracks written",
        "`tracks_written`",
        "counts",
        "tracks_left tracks_per_parameter metrics report status",
    ),
    Metric("tracks.cut.chi2", "", "tracks cut by chi2", "`tracks_cut_chi2`", "counts", "report"),
    Metric("tracks.cut.pz", "", "tracks outside the momentum window", "`tracks_cut_pz`", "counts", "report"),
    Metric("tracks.cut.hits", "", "tracks with too few hits", "`tracks_cut_hits`", "counts", "report"),
    Metric("hits.read", "", "hits of the tracks that passed", "`hits_read`", "counts", "notes"),
    Metric("hits.kept", "", "hits written", "`measurements`", "counts", "metrics report"),
    Metric("hits.cut.residual", "", "hits cut by residual", "`hits_cut_residual`", "counts", "metrics report"),
    Metric("hits.cut.derivative", "", "hits cut by derivative", "`hits_cut_derivative`", "counts", "notes report"),
    Metric(
        "hits.modules.MODULE",
        "",
        "of each module: hits kept, hits cut by residual",
        "`modules`",
        "counts",
        "module_cut detector_cut report",
    ),
    Metric("residual_max_mm", "mm", "the cut on residuals that was used", "", "record", "final_cuts metrics"),
    Metric("residual_max_final", "", "whether later iterations cut alike", "", "record", "final_cuts"),
    Metric(
        "converted_again",
        "",
        "whether that cut is ten times the configured one, because the solver rejected more than a third of the tracks (end code 26)",
        "",
        "job",
        "final_cuts notes",
    ),
)
FIT = (
    Metric(
        "chi2_per_ndf",
        "",
        "chi2/ndf of the reconstruction, before hits are cut",
        "`chi2 / ndf`",
        "counts",
        "numbers not_diverging progress chi2_rise metrics report status plot",
    ),
    Metric(
        "residuals.LAYER.median_um",
        "um",
        "median of a layer's residuals, before hits are cut",
        "of `residual_bins`",
        "counts",
        "report",
    ),
    Metric(
        "residuals.LAYER.width_um",
        "um",
        "half the distance of their 16 % and 84 % quantiles",
        "of `residual_bins`",
        "counts",
        "report",
    ),
    Metric(
        "momentum.median_q_over_p_plus",
        "1/GeV",
        "median q/p of positive tracks",
        "`1 / median p`, of `momentum_bins`",
        "counts",
    ),
    Metric(
        "momentum.median_q_over_p_minus",
        "1/GeV",
        "median q/p of negative tracks",
        "`-1 / median p`, of `momentum_bins`",
        "counts",
    ),
    Metric("momentum.edge_low", "", "tracks at the lower edge of the momentum window", "`edge_low`", "counts"),
    Metric("momentum.edge_high", "", "tracks at its upper edge", "`edge_high`", "counts"),
    Metric(
        "momentum.SINCE.common",
        "",
        "tracks inside the window then and now; `since_before`: the iteration before, `since_first`: the stage's first",
        "",
        "tracks",
        "metrics report",
    ),
    Metric(
        "momentum.SINCE.median_q_over_p_plus",
        "1/GeV",
        "median q/p of those that are positive, then and now",
        "",
        "tracks",
        "notes",
    ),
    Metric(
        "momentum.SINCE.median_q_over_p_minus",
        "1/GeV",
        "median q/p of those that are negative, then and now",
        "",
        "tracks",
        "notes",
    ),
    Metric(
        "momentum.SINCE.momentum_change_plus",
        "",
        "relative change of the median momentum of positive tracks; null if its sign changed",
        "`then / now - 1` of the medians",
        "tracks",
        "notes metrics report",
    ),
    Metric(
        "momentum.SINCE.momentum_change_minus",
        "",
        "the same of negative tracks",
        "`then / now - 1` of the medians",
        "tracks",
        "notes metrics report",
    ),
    Metric(
        "momentum.SINCE.lost_low",
        "",
        "tracks that left the window at its lower edge",
        "",
        "tracks",
        "notes metrics report",
    ),
    Metric(
        "momentum.SINCE.lost_high", "", "tracks that left it at its upper edge", "", "tracks", "notes metrics report"
    ),
    Metric("momentum.SINCE.gained_low", "", "tracks that came in at its lower edge", "", "tracks"),
    Metric("momentum.SINCE.gained_high", "", "tracks that came in at its upper edge", "", "tracks"),
)
JUDGED = (
    Metric(
        "significance",
        "",
        "expected decrease of chi2 per free parameter: 1 is a correction as large as its statistical error, 0.01 a tenth of it",
        "the largest of `steps[].significance`",
        "solution",
        "significance metrics report status plot",
    ),
    Metric(
        "effect_um",
        "um",
        "by how much the correction still moves residuals, rms",
        "`23.1 um * sqrt(sum of steps[].expected_decrease / hits.kept)`; 23.1 um is the strip pitch of 80 um over sqrt(12)",
        "solution",
        "effect progress metrics report status plot",
    ),
    Metric(
        "determined.sigma",
        "",
        "the correction along directions that the data determine, in standard deviations, rms",
        "`sqrt(sum of steps[].parts.significant.expected_decrease / sum of their directions)`",
        "equations",
        "remaining",
    ),
    Metric(
        "determined.effect_um",
        "um",
        "the same as an effect on residuals",
        "`23.1 um * sqrt(sum of steps[].parts.significant.expected_decrease / hits.kept)`",
        "equations",
        "remaining",
    ),
    Metric(
        "relative",
        "",
        "size of the correction against that of the constants, mm and rad alike: faser-alignment-script's rule",
        "`norm(correction) / norm(constants)`",
        "constants",
        "relative metrics",
    ),
    Metric("nan", "", "whether a correction is not a number", "", "constants", "numbers not_diverging"),
)
CORRECTIONS = (
    Metric(
        "corrections.DOF.rms",
        "um, urad",
        "correction of a degree of freedom, rms over the modules or layers with a free label",
        "`sqrt(mean of squares)`",
        "constants",
        "metrics report plot",
    ),
    Metric(
        "corrections.DOF.largest",
        "um, urad",
        "the largest of them, with its sign",
        "",
        "constants",
        "absolute metrics report status",
    ),
    Metric(
        "corrections.DOF.where",
        "",
        "module (three digits) or layer (two) of the largest",
        "",
        "constants",
        "metrics report status",
    ),
    Metric(
        "corrections.DOF.unit", "", "of these: `um` or `urad`", "", "constants", "absolute metrics report status plot"
    ),
    Metric("free_modules", "", "modules with a free label, own or of their layer", "", "solution", "module_cut"),
    Metric(
        "errors.KIND",
        "um, urad",
        "statistical error of each kind of parameter, rms",
        "`sqrt(mean of squares)`",
        "solution",
    ),
    Metric(
        "held_fixed.GROUP.parameters",
        "",
        "of a group that no step freed, near the end of a stage: directions that the data determine beyond those of the free ones, with errors up to 100 times the median; a group without any is left out; `all`: of all groups together",
        "",
        "equations",
        "report",
    ),
    Metric(
        "held_fixed.GROUP.expected_decrease",
        "",
        "by how much chi2 would fall if it were free, too",
        "`b^T C^-1 b` with it, less that without",
        "equations",
        "report",
    ),
    Metric(
        "held_fixed.GROUP.significance",
        "",
        "the same per parameter: about 1 by chance alone",
        "`expected_decrease / parameters`",
        "equations",
        "report",
    ),
)
SOLVER = (
    Metric("solver.backend", "", "`builtin` or `pede`", "", "record", "metrics report"),
    Metric(
        "solver.end_code",
        "",
        "of `millepede.end`, of the step that ended worst",
        "",
        "solution",
        "metrics report status",
    ),
    Metric("solver.end_text", "", "what it means", "", "solution", "report status"),
    Metric(
        "solver.chi2_per_ndf",
        "",
        "chi2/ndf of the accepted records after hit cuts. Shown, not judged: it rises while hits come back",
        "`chi2 / (degrees of freedom of the records - free parameters)`",
        "solution",
        "metrics",
    ),
    Metric("solver.records", "", "records read", "", "solution"),
    Metric(
        "solver.rejects.rank_deficit",
        "",
        "records left out in the last pass for a rank deficit or NaN",
        "",
        "solution",
        "metrics report",
    ),
    Metric(
        "solver.rejects.no_freedom",
        "",
        "... without degrees of freedom",
        "",
        "solution",
        "metrics report",
    ),
    Metric(
        "solver.rejects.huge_chi2",
        "",
        "... with a chi2 above `hugecut` times the 3-sigma limit",
        "",
        "solution",
        "metrics report",
    ),
    Metric(
        "solver.rejects.large_chi2",
        "",
        "... with a chi2 above `chisqcut` times the 3-sigma limit",
        "",
        "solution",
        "metrics report",
    ),
    Metric("solver.memory_mb", "MB", "largest memory of the solver; null where it does not say", "", "solution"),
)
STEPS = (
    Metric("steps[].name", "", "of the step", "", "record", "metrics report"),
    Metric("steps[].variable", "", "parameters in the fit", "", "solution"),
    Metric(
        "steps[].free_parameters",
        "",
        "these less the constraints",
        "`variable - constraints`",
        "solution",
        "tracks_per_parameter",
    ),
    Metric("steps[].measurements", "", "equations in the records", "", "solution"),
    Metric(
        "steps[].expected_decrease",
        "",
        "expected decrease of chi2 by the *first* solution; later ones of the same run only polish it and are near zero",
        "`b^T C^-1 b` with the gradient b and the matrix C",
        "solution",
    ),
    Metric(
        "steps[].significance", "", "the same per free parameter", "`expected_decrease / free_parameters`", "solution"
    ),
    Metric("steps[].end_code", "", "of `millepede.end`", "", "solution"),
    Metric("steps[].end_text", "", "what it means", "", "solution"),
    Metric(
        "steps[].function_values",
        "",
        "chi2 after each pass of the iteration table, the first one before any correction",
        "",
        "solution",
    ),
    Metric("steps[].constraints", "", "equations that hold parameters together", "", "solution"),
    Metric("steps[].constraint_rank", "", "how many of them are independent", "", "solution"),
    Metric("steps[].rank_defect", "", "directions in which the data do not determine the parameters", "", "solution"),
    Metric(
        "steps[].undetermined[].PARAMETER",
        "",
        "weights of the parameters, in words, that make up each of them",
        "",
        "solution",
    ),
    Metric(
        "steps[].entries_fixed",
        "",
        "labels that the step frees and that stay fixed for having fewer than `solver.entries` measurements",
        "",
        "solution",
        "entries",
    ),
    Metric("steps[].entries_fixed_names", "", "the same in words", "", "solution", "entries"),
    Metric(
        "steps[].parts.significant.directions",
        "",
        "directions that the data determine: their error is at most 10 times the median one",
        "",
        "equations",
    ),
    Metric(
        "steps[].parts.significant.rms_um",
        "um",
        "the correction along them over all free parameters, rotations measured at the sensor's rms distance",
        "`sqrt(sum of squares / parameters)`",
        "equations",
        "metrics report",
    ),
    Metric(
        "steps[].parts.significant.expected_decrease",
        "",
        "what that does to chi2",
        "`sum of (move / error)^2`",
        "equations",
    ),
    Metric(
        "steps[].parts.weak.directions", "", "directions that are weak: all others", "", "equations", "metrics report"
    ),
    Metric(
        "steps[].parts.weak.rms_um",
        "um",
        "the correction along them",
        "`sqrt(sum of squares / parameters)`",
        "equations",
        "metrics report",
    ),
    Metric(
        "steps[].parts.weak.expected_decrease", "", "what that does to chi2", "`sum of (move / error)^2`", "equations"
    ),
    Metric(
        "steps[].parts.undetermined",
        "",
        "how many of the weak ones are not determined at all: their error is more than 1000 times the median one",
        "",
        "equations",
    ),
    Metric(
        "steps[].parts.modes[].name",
        "",
        "the weak directions that were moved furthest, at most five, in words",
        "",
        "equations",
        "notes metrics report status",
    ),
    Metric(
        "steps[].parts.modes[].error_um",
        "um",
        "error of such a direction; null if it is undetermined",
        "`1 / sqrt(eigenvalue of C)`",
        "equations",
        "metrics status",
    ),
    Metric(
        "steps[].parts.modes[].moved_um",
        "um",
        "by how much it was moved",
        "",
        "equations",
        "notes metrics report status",
    ),
)
ABOUT = (
    Metric("constants.start_sha256", "", "checksum of the constants that it started from", "", "constants", "report"),
    Metric(
        "constants.result_sha256",
        "",
        "checksum of those that it found; null if it found none",
        "",
        "constants",
        "report",
    ),
    Metric(
        "constants.changed_by_hand",
        "",
        "whether the former are others than the iteration before found, or than were submitted",
        "",
        "constants",
        "notes report status",
    ),
    Metric("notes", "", "what should be known beside the verdict, in sentences", "", "job", "metrics report status"),
    Metric("wall_s", "s", "wall time of the job", "", "job"),
    Metric("cpu_s", "s", "CPU time of the job and of what it started", "", "job", "status"),
    Metric("max_memory_mb", "MB", "its largest memory", "", "job"),
    Metric(
        "reconstruction.cpu_s",
        "s",
        "CPU time of the iteration's reconstruction jobs, repeated ones included; missing without the log",
        "",
        "log",
        "status",
    ),
    Metric("reconstruction.jobs", "", "how many these were", "", "log"),
    Metric(
        "versions.PROGRAM",
        "",
        "version of each program that solved: faser-align, Python, numpy, uproot, pede",
        "",
        "job",
        "report",
    ),
    Metric("no_plot", "", "why there is no `convergence.png`; empty if there is one", "", "job", "status"),
    Metric(
        "imported",
        "",
        "name of the folder of faser-alignment-script that the iteration was; only after `import`",
        "",
        "record",
    ),
)
VALIDATION = (
    Metric("files.unused", "", "raw files that no iteration had used", "", "record"),
    Metric(
        "groups.FILES.HALF.tracks",
        "",
        "tracks written; FILES: `all`, and `unused` if there are any; HALF: `before`, with the first constants, and `after`, with the last",
        "`tracks_written`",
        "counts",
        "report status",
    ),
    Metric(
        "groups.FILES.HALF.chi2_per_ndf",
        "",
        "chi2/ndf of the reconstruction, before hits are cut",
        "`chi2 / ndf`",
        "counts",
        "chi2_FILES report status",
    ),
    Metric(
        "groups.FILES.HALF.residuals.LAYER.median_um",
        "um",
        "median of a layer's residuals",
        "of `residual_bins`",
        "counts",
    ),
    Metric(
        "groups.FILES.HALF.residuals.LAYER.width_um",
        "um",
        "half the distance of their 16 % and 84 % quantiles",
        "of `residual_bins`",
        "counts",
    ),
    Metric(
        "groups.FILES.HALF.modules.MODULE.hits",
        "",
        "hits of a module within 0.5 mm",
        "`module_residuals`",
        "counts",
        "modules_FILES",
    ),
    Metric("groups.FILES.HALF.modules.MODULE.mean_um", "um", "mean of their residuals", "`module_residuals`", "counts"),
    Metric(
        "groups.FILES.HALF.modules.MODULE.rms_um",
        "um",
        "their residuals about the mean, rms",
        "`module_residuals`",
        "counts",
        "modules_FILES",
    ),
    Metric(
        "groups.FILES.momentum.NUMBER",
        "",
        "as `momentum.SINCE.NUMBER`, from the first constants to the last",
        "",
        "tracks",
    ),
    Metric("constants.before_sha256", "", "checksum of the first constants", "", "constants"),
    Metric("constants.after_sha256", "", "checksum of the last constants", "", "constants"),
    Metric(
        "constants.changed_by_hand",
        "",
        "which halves had others than were submitted or found",
        "",
        "constants",
        "status",
    ),
)
OF_VALIDATION = ("format", "stage", "iteration", "files.expected", "files.used", "files.lost", "wall_s", "notes")

TABLES = {
    "The data": DATA,
    "The fit of the tracks": FIT,
    "What judges": JUDGED,
    "Corrections, errors, what was fixed": CORRECTIONS,
    "The solver": SOLVER,
    "The steps": STEPS,
    "The iteration itself": (*ITERATION, *ABOUT),
}
METRICS = {metric.name: metric for metrics in TABLES.values() for metric in metrics}


def words(name: str) -> str:
    """Return a metric's description for a heading, without the meaning of its values."""
    return METRICS[name].words.partition(":")[0]


def counts_table() -> str:
    """Return the table of the conversion's counts."""
    rows = ["| number | by name | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(Counts):
        rows.append(f"| {field.metadata['words']} | `{field.name}` | {field.metadata['meaning']} |")
    return "\n".join(rows) + "\n"


def metrics_tables() -> str:
    """Return the tables of all metrics of an iteration and of a validation, with the meaning of their columns."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from ("| made from | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in SOURCES.items()), "")
    yield from ("| read by | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in READERS.items()))
    yield "| `code` | the criterion of that name, as `faser-align why` shows it |"
    for heading, metrics in TABLES.items():
        yield from ("", f"### {heading}", "", *_table(metrics))
    shared = ", ".join(f"`{name}`" for name in OF_VALIDATION)
    yield from ("", "### A validation", "", f"In `validation/after`, besides {shared}:", "", *_table(VALIDATION))


def _table(metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield "| name (unit) | what it is, formula | made from | read by |"
    yield "|---|---|---|---|"
    for metric in metrics:
        unit = f" ({metric.unit})" if metric.unit else ""
        description = f"{metric.words}<br>{metric.formula}" if metric.formula else metric.words
        readers = ", ".join(name if name in READERS else f"`{name}`" for name in metric.readers.split())
        yield f"| `{metric.name}`{unit} | {description} | {metric.source} | {readers} |"
