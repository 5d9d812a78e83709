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
    "record": "`campaign.json` and the list of dropped files",
    "counts": "[counts of the conversions](#from-tracks-to-mille-records), summed over the used files",
    "solution": "results and log of the solver, step by step",
    "equations": "the normal equations of all parameters, free or fixed",
    "constants": "the constants that the next iteration starts from, and the correction",
    "tracks": "the momenta stored with the Mille binaries, of tracks matched by their hits",
    "job": "the job that writes the file",
    "log": "HTCondor's log of the jobs",
}
# Readers of metrics besides the convergence criteria.
READERS = {
    "metrics": "the tables of `faser-align metrics`; its `--json` and `--csv` contain all metrics",
    "report": "`faser-align report`",
    "status": "`faser-align status`, and messages",
    "plot": "`convergence.png`",
    "notes": "the sentences in `notes`",
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
    Metric("stage", "", "stage, from 1; 0: the validation pass", "", "record", "plot"),
    Metric("iteration", "", "iteration within its stage, from 1", "", "record", "plot"),
)
DATA = (
    Metric("files.expected", "", "raw files of the campaign", "", "record", "metrics report status"),
    Metric(
        "files.used",
        "",
        "used raw files",
        "`expected` less those in `lost`",
        "record",
        "metrics report status",
    ),
    Metric("files.lost", "", "numbers of the dropped raw files", "", "record", "same_files chi2_rise"),
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
    Metric("residual_max_mm", "mm", "the residual cut of this iteration", "", "record", "final_cuts metrics"),
    Metric("residual_max_final", "", "whether later iterations use the same cut", "", "record", "final_cuts"),
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
        "chi2/ndf of the reconstruction, before hit cuts",
        "`chi2 / ndf`",
        "counts",
        "numbers not_diverging progress chi2_rise metrics report status plot",
    ),
    Metric(
        "residuals.LAYER.median_um",
        "um",
        "median of a layer's residuals, before hit cuts",
        "from `residual_bins`",
        "counts",
        "report",
    ),
    Metric(
        "residuals.LAYER.width_um",
        "um",
        "half the distance between their 16 % and 84 % quantiles",
        "from `residual_bins`",
        "counts",
        "report",
    ),
    Metric(
        "momentum.median_q_over_p_plus",
        "1/GeV",
        "median q/p of positive tracks",
        "`1 / median p`, from `momentum_bins`",
        "counts",
    ),
    Metric(
        "momentum.median_q_over_p_minus",
        "1/GeV",
        "median q/p of negative tracks",
        "`-1 / median p`, from `momentum_bins`",
        "counts",
    ),
    Metric("momentum.edge_low", "", "tracks at the lower edge of the momentum window", "`edge_low`", "counts"),
    Metric("momentum.edge_high", "", "tracks at its upper edge", "`edge_high`", "counts"),
    Metric(
        "momentum.SINCE.common",
        "",
        "tracks inside the window in both iterations; `since_before`: this one and the one before, `since_first`: this one and the stage's first",
        "",
        "tracks",
        "metrics report",
    ),
    Metric(
        "momentum.SINCE.median_q_over_p_plus",
        "1/GeV",
        "median q/p of the tracks that are positive in both",
        "",
        "tracks",
        "notes",
    ),
    Metric(
        "momentum.SINCE.median_q_over_p_minus",
        "1/GeV",
        "median q/p of the tracks that are negative in both",
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
        "the same for negative tracks",
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
        "momentum.SINCE.lost_high",
        "",
        "tracks that left the window at its upper edge",
        "",
        "tracks",
        "notes metrics report",
    ),
    Metric("momentum.SINCE.gained_low", "", "tracks that entered the window at its lower edge", "", "tracks"),
    Metric("momentum.SINCE.gained_high", "", "tracks that entered the window at its upper edge", "", "tracks"),
)
JUDGED = (
    Metric(
        "delta_chi2_per_parameter",
        "",
        "expected decrease of chi2 per free parameter: 1 is a correction of the size of its statistical error, 0.01 is a tenth of it",
        "the largest of `steps[].delta_chi2_per_parameter`",
        "solution",
    ),
    Metric(
        "significance",
        "",
        "deprecated name of `delta_chi2_per_parameter`, which metrics of every version have",
        "",
        "solution",
        "delta_chi2_per_parameter metrics report status plot",
    ),
    Metric(
        "residual_shift_um",
        "um",
        "expected rms shift of the residuals by the correction",
        "`23.1 um * sqrt(sum of steps[].expected_decrease / hits.kept)`; 23.1 um is the strip pitch of 80 um over sqrt(12)",
        "solution",
    ),
    Metric(
        "effect_um",
        "um",
        "deprecated name of `residual_shift_um`, which metrics of every version have",
        "",
        "solution",
        "residual_shift progress metrics report status plot",
    ),
    Metric(
        "determined.sigma",
        "",
        "rms of the correction along well-determined directions, in standard deviations",
        "`sqrt(sum of steps[].parts.significant.expected_decrease / sum of their directions)`",
        "equations",
        "remaining",
    ),
    Metric(
        "determined.residual_shift_um",
        "um",
        "the same as a shift of the residuals, rms",
        "`23.1 um * sqrt(sum of steps[].parts.significant.expected_decrease / hits.kept)`",
        "equations",
    ),
    Metric(
        "determined.effect_um",
        "um",
        "deprecated name of `determined.residual_shift_um`",
        "",
        "equations",
        "remaining",
    ),
    Metric(
        "relative",
        "",
        "norm of the correction relative to that of the constants, mm and rad treated alike: faser-alignment-script's rule",
        "`norm(correction) / norm(constants)`",
        "constants",
        "relative metrics",
    ),
    Metric("nan", "", "whether a correction is NaN", "", "constants", "numbers not_diverging"),
)
CORRECTIONS = (
    Metric(
        "corrections.DOF.rms",
        "um, urad",
        "rms correction of a degree of freedom over the modules or layers with a free label",
        "`sqrt(mean of squares)`",
        "constants",
        "metrics report plot",
    ),
    Metric(
        "corrections.DOF.largest",
        "um, urad",
        "the largest correction, with its sign",
        "",
        "constants",
        "absolute metrics report status",
    ),
    Metric(
        "corrections.DOF.where",
        "",
        "module (three digits) or layer (two digits) of the largest correction",
        "",
        "constants",
        "metrics report status",
    ),
    Metric(
        "corrections.DOF.unit",
        "",
        "unit of these: `um` or `urad`",
        "",
        "constants",
        "absolute metrics report status plot",
    ),
    Metric(
        "free_modules", "", "modules with a free label of their own or of their layer", "", "solution", "module_cut"
    ),
    Metric(
        "errors.KIND",
        "um, urad",
        "rms statistical error of each kind of parameter",
        "`sqrt(mean of squares)`",
        "solution",
    ),
    Metric(
        "held_fixed.GROUP.parameters",
        "",
        "near the end of a stage, of a group that no step freed: well-determined directions in addition to those of the free parameters, with errors up to 100 times the median; a group without any is omitted; `all`: all groups together",
        "",
        "equations",
        "report",
    ),
    Metric(
        "held_fixed.GROUP.expected_decrease",
        "",
        "expected decrease of chi2 from freeing the group (a score test)",
        "`b^T C^-1 b` with the group minus that without",
        "equations",
        "report",
    ),
    Metric(
        "held_fixed.GROUP.delta_chi2_per_parameter",
        "",
        "the same per parameter; about 1 for statistical fluctuations alone",
        "`expected_decrease / parameters`",
        "equations",
    ),
    Metric(
        "held_fixed.GROUP.significance",
        "",
        "deprecated name of `held_fixed.GROUP.delta_chi2_per_parameter`",
        "",
        "equations",
        "report",
    ),
)
SOLVER = (
    Metric("solver.backend", "", "`builtin` or `pede`", "", "record", "metrics report"),
    Metric(
        "solver.end_code",
        "",
        "end code in `millepede.end` of the step with the worst end",
        "",
        "solution",
        "metrics report status",
    ),
    Metric("solver.end_text", "", "meaning of the end code", "", "solution", "report status"),
    Metric(
        "solver.chi2_per_ndf",
        "",
        "chi2/ndf of the accepted records after hit cuts. Not a criterion: it rises while cut hits return",
        "`chi2 / (degrees of freedom of the records - free parameters)`",
        "solution",
        "metrics",
    ),
    Metric("solver.records", "", "records read", "", "solution"),
    Metric(
        "solver.rejects.rank_deficit",
        "",
        "records rejected in the last pass for a rank deficit or NaN",
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
    Metric(
        "solver.memory_mb", "MB", "peak memory of the solver; null if the solver does not report it", "", "solution"
    ),
)
STEPS = (
    Metric("steps[].name", "", "name of the step", "", "record", "metrics report"),
    Metric("steps[].variable", "", "parameters in the fit", "", "solution"),
    Metric(
        "steps[].free_parameters",
        "",
        "parameters in the fit minus the constraints",
        "`variable - constraints`",
        "solution",
        "tracks_per_parameter",
    ),
    Metric("steps[].measurements", "", "equations in the records", "", "solution"),
    Metric(
        "steps[].expected_decrease",
        "",
        "expected decrease of chi2 from the *first* solution; later solutions of the same run refine it and are near zero",
        "`b^T C^-1 b` with the gradient b and the matrix C",
        "solution",
    ),
    Metric(
        "steps[].delta_chi2_per_parameter",
        "",
        "the same per free parameter",
        "`expected_decrease / free_parameters`",
        "solution",
    ),
    Metric("steps[].significance", "", "deprecated name of `steps[].delta_chi2_per_parameter`", "", "solution"),
    Metric("steps[].end_code", "", "end code in `millepede.end`", "", "solution"),
    Metric("steps[].end_text", "", "meaning of the end code", "", "solution"),
    Metric(
        "steps[].function_values",
        "",
        "chi2 after each pass of the iteration table; the first value is before any correction",
        "",
        "solution",
    ),
    Metric("steps[].constraints", "", "number of constraint equations", "", "solution"),
    Metric("steps[].constraint_rank", "", "number of independent constraint equations", "", "solution"),
    Metric("steps[].rank_defect", "", "number of directions that the data do not determine", "", "solution"),
    Metric(
        "steps[].undetermined[].PARAMETER",
        "",
        "weights of the parameters, by name, in each of these directions",
        "",
        "solution",
    ),
    Metric(
        "steps[].entries_fixed",
        "",
        "labels that the step frees but that stay fixed because they have fewer than `solver.entries` measurements",
        "",
        "solution",
        "entries",
    ),
    Metric("steps[].entries_fixed_names", "", "the names of these parameters", "", "solution", "entries"),
    Metric(
        "steps[].parts.significant.directions",
        "",
        "well-determined directions: their error is at most 10 times the median error",
        "",
        "equations",
    ),
    Metric(
        "steps[].parts.significant.rms_um",
        "um",
        "rms correction along these directions over all free parameters; rotations count by their shift at the sensor's rms distance",
        "`sqrt(sum of squares / parameters)`",
        "equations",
        "metrics report",
    ),
    Metric(
        "steps[].parts.significant.expected_decrease",
        "",
        "expected decrease of chi2 from this part of the correction",
        "`sum of (move / error)^2`",
        "equations",
    ),
    Metric("steps[].parts.weak.directions", "", "weak modes: all other directions", "", "equations", "metrics report"),
    Metric(
        "steps[].parts.weak.rms_um",
        "um",
        "rms correction along the weak modes",
        "`sqrt(sum of squares / parameters)`",
        "equations",
        "metrics report",
    ),
    Metric(
        "steps[].parts.weak.expected_decrease",
        "",
        "expected decrease of chi2 from this part of the correction",
        "`sum of (move / error)^2`",
        "equations",
    ),
    Metric(
        "steps[].parts.undetermined",
        "",
        "number of weak modes that are undetermined: their error is more than 1000 times the median error",
        "",
        "equations",
    ),
    Metric(
        "steps[].parts.modes[].name",
        "",
        "the weak modes with the largest corrections, at most five, by name",
        "",
        "equations",
        "notes metrics report status",
    ),
    Metric(
        "steps[].parts.modes[].error_um",
        "um",
        "error along such a mode; null if it is undetermined",
        "`1 / sqrt(eigenvalue of C)`",
        "equations",
        "metrics status",
    ),
    Metric(
        "steps[].parts.modes[].moved_um",
        "um",
        "correction along such a mode",
        "",
        "equations",
        "notes metrics report status",
    ),
)
ABOUT = (
    Metric(
        "constants.start_sha256", "", "checksum of the initial constants of the iteration", "", "constants", "report"
    ),
    Metric(
        "constants.result_sha256",
        "",
        "checksum of the resulting constants; null without a result",
        "",
        "constants",
        "report",
    ),
    Metric(
        "constants.changed_by_hand",
        "",
        "whether the initial constants differ from the result of the iteration before, or from the submitted constants",
        "",
        "constants",
        "notes report status",
    ),
    Metric("notes", "", "remarks on the decision, in sentences", "", "job", "metrics report status"),
    Metric("wall_s", "s", "wall time of the job", "", "job"),
    Metric("cpu_s", "s", "CPU time of the job and its child processes", "", "job", "status"),
    Metric("max_memory_mb", "MB", "peak memory of the job", "", "job"),
    Metric(
        "reconstruction.cpu_s",
        "s",
        "CPU time of the iteration's reconstruction jobs, retries included; missing without the log",
        "",
        "log",
        "status",
    ),
    Metric("reconstruction.jobs", "", "number of these jobs", "", "log"),
    Metric(
        "versions.PROGRAM",
        "",
        "version of each program that the solution used: faser-align, Python, numpy, uproot, pede",
        "",
        "job",
        "report",
    ),
    Metric("no_plot", "", "reason for a missing `convergence.png`; empty if it exists", "", "job", "status"),
    Metric(
        "imported",
        "",
        "folder name of the iteration in faser-alignment-script; only after `import`",
        "",
        "record",
    ),
)
VALIDATION = (
    Metric("files.unused", "", "raw files that no iteration used", "", "record"),
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
        "chi2/ndf of the reconstruction, before hit cuts",
        "`chi2 / ndf`",
        "counts",
        "chi2_FILES report status",
    ),
    Metric(
        "groups.FILES.HALF.residuals.LAYER.median_um",
        "um",
        "median of a layer's residuals",
        "from `residual_bins`",
        "counts",
    ),
    Metric(
        "groups.FILES.HALF.residuals.LAYER.width_um",
        "um",
        "half the distance between their 16 % and 84 % quantiles",
        "from `residual_bins`",
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
        "rms of their residuals about the mean",
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
        "halves whose constants differ from the submitted or the resulting constants",
        "",
        "constants",
        "status",
    ),
)
OF_VALIDATION = ("format", "stage", "iteration", "files.expected", "files.used", "files.lost", "wall_s", "notes")

TABLES = {
    "The data": DATA,
    "The fit of the tracks": FIT,
    "Convergence": JUDGED,
    "Corrections, errors, fixed parameters": CORRECTIONS,
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
    yield from ("| source | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in SOURCES.items()), "")
    yield from ("| read by | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in READERS.items()))
    yield "| `code` | the criterion of that name, as `faser-align why` shows it |"
    for heading, metrics in TABLES.items():
        yield from ("", f"### {heading}", "", *_table(metrics))
    shared = ", ".join(f"`{name}`" for name in OF_VALIDATION)
    yield from (
        "",
        "### A validation pass",
        "",
        f"In `validation/after`, in addition to {shared}:",
        "",
        *_table(VALIDATION),
    )


def _table(metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield "| name (unit) | meaning, formula | source | read by |"
    yield "|---|---|---|---|"
    for metric in metrics:
        unit = f" ({metric.unit})" if metric.unit else ""
        description = f"{metric.words}<br>{metric.formula}" if metric.formula else metric.words
        readers = ", ".join(name if name in READERS else f"`{name}`" for name in metric.readers.split())
        yield f"| `{metric.name}`{unit} | {description} | {metric.source} | {readers} |"
