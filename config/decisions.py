"""Define the keys that decide about iterations, the validation and the quality of the result."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from faser_align.config.fields import Line, NotNegative, Positive, Share, Table, key
from faser_align.config.values import check_files
from faser_align.fsm import renamed

Rule = Literal["delta_chi2_per_parameter", "residual_shift", "absolute", "relative"]


class Convergence(Table):
    """When the alignment has converged, and when to stop without convergence."""

    @model_validator(mode="before")
    @classmethod
    def _accept_deprecated_names(cls, table: Any) -> Any:
        return renamed.convergence(table) if isinstance(table, dict) else table

    rules: Annotated[list[Rule], Field(min_length=1)] = key(
        ["delta_chi2_per_parameter", "residual_shift"],
        "Rules that compare an iteration's corrections with their thresholds. Deprecated names: `significance`, `effect`.",
    )
    require: Literal["any", "all"] = key("any", "Whether any one or all of the rules must hold.")
    delta_chi2_per_parameter_max: Positive = key(
        0.01,
        "Maximum expected decrease of chi2 per free parameter, in every step. Deprecated name: `significance_max`.",
    )
    residual_shift_um_max: Positive = key(
        0.5, "Maximum expected rms shift of the residuals by the correction (um). Deprecated name: `effect_um_max`."
    )
    absolute_um_max: Positive = key(1.0, "Maximum correction of a translation (um); rule `absolute`.")
    absolute_urad_max: Positive = key(10.0, "Maximum correction of a rotation (urad); rule `absolute`.")
    relative_max: Positive = key(0.001, "Maximum norm(correction) / norm(constants); rule `relative`.")
    patience: Annotated[int, Field(ge=1, le=99)] = key(
        2, "Number of consecutive iterations with corrections below threshold."
    )
    min_iterations: Annotated[int, Field(ge=1, le=99)] = key(
        1, "Minimum number of iterations before a stage may converge."
    )
    module_cut_max: Share = key(
        0.10,
        "Maximum fraction of a free module's hits that the residual cut may remove beyond that of the median module.",
    )
    detector_cut_max: Share = key(0.30, "Maximum fraction of all hits that the residual cut may remove.")
    remaining_sigma_max: Positive = key(0.2, "Maximum extrapolated remaining correction (standard deviations, rms).")
    chi2_rise_max: Positive = key(
        0.003,
        "Maximum rise of chi2/ndf above the stage's best with the same files, times chi2/ndf where that is above 1.",
    )
    held_fixed_max: Positive = key(
        5.0,
        "Last stage: maximum expected decrease of chi2 per parameter from freeing again what an earlier stage aligned "
        "and this one holds fixed.",
    )
    files_agree_sigma_max: Positive = key(
        3.0, "Maximum difference of mean residuals between files (standard deviations)."
    )
    duplicates_max: Share = key(0.10, "Maximum fraction of a file's tracks that are also in another file.")
    weak_drift_sigma_max: Positive = key(
        5.0,
        "Maximum drift of the constants along a weak mode since the start of the campaign (standard deviations of `[survey]`).",
    )
    diverged_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = key(
        1.05, "Diverged: chi2/ndf exceeds its best value by this factor in 2 consecutive iterations."
    )
    stalled_iterations: Annotated[int, Field(ge=2, le=99)] = key(
        4, "Stalled: number of consecutive iterations without progress."
    )
    stalled_residual_shift: Share = key(
        0.10,
        "Progress: the smallest expected residual shift falls by at least this fraction. Deprecated name: `stalled_effect`.",
    )
    stalled_chi2: NotNegative = key(0.001, "Progress: the best chi2/ndf falls by at least this amount.")
    starved_fraction: Share = key(
        0.80, "Starved: the used tracks of as many files fall below this fraction of the stage's maximum."
    )
    starved_per_parameter: NotNegative = key(20.0, "Starved: fewer tracks than this per free parameter.")
    momentum_max: Positive = key(
        0.01,
        "Reported, not a criterion: relative change of the median momentum since the stage's first iteration above this value.",
    )


class Validation(Table):
    """A validation before *converged*: reconstruct tracks with the first and with the last constants.

    With the last constants, the mean residual of each side of a free module must be zero within its error, and the tracks
    must not be described worse than with the first.
    """

    enabled: bool = key(
        True,
        "Run a validation after convergence on files that the alignment did not use, if there are any; if it fails, "
        "the campaign ends as `rejected`.",
    )
    hold_back: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = key(
        0.05,
        "Fraction of the raw files that are held back from the alignment for the validation, at least one file. Campaigns of "
        "fewer than ten files and campaigns with `files` hold back none.",
    )
    files: Annotated[Line, AfterValidator(check_files)] = key(
        "",
        "Other raw files of the same run for the validation, instead of files held back; not for a campaign of several runs.",
        "ranges such as 500-510,520",
    )
    used_files: bool = key(
        False,
        "Also reconstruct the files that the alignment used. The validation then takes as long as two iterations.",
    )
    chi2_rise_max: NotNegative = key(
        0.003,
        "Maximum rise of chi2/ndf, over all files and over the unused ones; at least 2 x parameters / hits of the alignment.",
    )
    module_rise_max: NotNegative = key(
        0.05,
        "Maximum relative rise of the rms of a module's residuals about zero; at least 2 x parameters / hits of the "
        "module in the alignment.",
    )
    module_hits_min: Annotated[int, Field(ge=2)] = key(
        1000, "Minimum number of hits for the rms of a module's residuals to be compared."
    )
    side_mean_um_max: NotNegative = key(
        5.0,
        "Maximum |mean residual| of a free module's side with the last constants, beyond its statistical error (um).",
    )
    false_rejection_max: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = key(
        0.002, "Probability that statistical errors alone reject a mean, for all sides together."
    )


def check_limits(limits: list[float]) -> list[float]:
    """Return the limits of a grade: two numbers, that of *good* first; raise ValueError for others."""
    if len(limits) != 2 or not 0 <= limits[0] <= limits[1] < math.inf:
        raise ValueError(f"{limits}: must be two numbers in ascending order: the limit of good, the limit of bad")
    return limits


GradeLimits = Annotated[list[float], AfterValidator(check_limits)]
TWO = "two numbers, at least 0, in ascending order"


class Quality(Table):
    """Limits of the grades in the quality block: *good* up to the first limit, *bad* above the second, *look* in between.

    Grades never change the decision. [Quality](quality.md) has each criterion and its source.
    """

    precision: GradeLimits = key(
        [0.1, 0.3],
        "Median error of the constants divided by a hit's resolution. "
        "If any error is above the second limit, the grade is at best *look*.",
        TWO,
    )
    residual_mean_um: GradeLimits = key([1.0, 5.0], "rms of the modules' mean residuals (um).", TWO)
    weak_drift_sigma: GradeLimits = key(
        [1.0, 5.0], "Largest drift along a weak mode (standard deviations of `[survey]`).", TWO
    )
    momentum: GradeLimits = key(
        [0.01, 0.03], "Relative change of the median momentum since the stage's first iteration.", TWO
    )
    dropped: GradeLimits = key(
        [0.1, 0.3],
        "Fraction of hits that are cut. The second limit also applies to the fraction of dropped files. "
        "If any file was dropped, the grade is at best *look*.",
        TWO,
    )
    truth_sigma: GradeLimits = key(
        [1.5, 3.0], "Distance to the truth of a simulated detector (statistical errors, rms).", TWO
    )
