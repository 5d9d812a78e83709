"""Extrapolate the remaining correction from the ratio of successive corrections. Pure.

A small correction does not mean a small remaining one: if each is nine tenths of the one before, nine times the last
follows. With ``s`` the size of the last correction and ``r`` its ratio to the one before, the remaining correction is
at most s r / (1 - r), if all have the same direction. Sizes are those along directions that the data determine, because
corrections along the others need not end. Corrections that no longer shrink and change direction are noise: tracks and
hits pass the cuts in one iteration and not in the next. Only the part that repeats counts. Its size is ``s sqrt(c)``
with the cosine ``c`` of the angle between the last two corrections, because parts that differ between them do not
contribute to their scalar product.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

RATIO_MAX = 0.9  # larger ratios count as this one, because noise does not persist in one direction


class Remaining(NamedTuple):
    """The remaining correction in standard deviations (rms over the directions), and as residual shift (um)."""

    sigma: float
    effect_um: float


def remaining(history: Sequence["Metrics"]) -> Remaining | None:
    """Return the extrapolated correction after the last iteration; None if its metrics lack the determined part."""
    now = history[-1].get("determined") or {}
    if not _known(now):
        return None
    scale = (history[-1].get("error_scale") or {}).get("factor") or 1.0
    before = (history[-2].get("determined") or {}) if len(history) > 1 else {}
    ratio = RATIO_MAX
    if _known(before) and before["sigma"] > 0:
        ratio = min(now["sigma"] / before["sigma"], RATIO_MAX)
    cosine = now.get("repetition")
    more = ratio / (1.0 - ratio) * (1.0 if cosine is None else math.sqrt(max(cosine, 0.0)))
    return Remaining(now["sigma"] * more / scale, now["effect_um"] * more)


def rise(history: Sequence["Metrics"]) -> float | None:
    """Return the rise of the last chi2/ndf above the stage's best with the same files; None if it is unknown.

    Chance hardly changes chi2/ndf, because the tracks are the same in all iterations. If it rises, the campaign moves
    away from better constants, however small its corrections become.
    """
    if not _known(history[-1].get("determined") or {}):
        return None
    lost = history[-1].get("files", {}).get("lost")
    same_files = [one for one in history if one.get("files", {}).get("lost") == lost]
    known = [float(value) for one in same_files if (value := one.get("chi2_per_ndf")) is not None]
    return known[-1] - min(known) if len(known) == len(same_files) else None


def wider(history: Sequence["Metrics"]) -> float | None:
    """Return the relative rise of the residuals' mean square width above the stage's smallest with the same files.

    None if it is unknown. Widths are half the distances between quantiles of the layers' residuals, which outliers hardly change.
    """
    lost = history[-1].get("files", {}).get("lost")
    same_files = [one for one in history if one.get("files", {}).get("lost") == lost]
    squares = [_mean_square_width(one, history[-1].get("residuals", {})) for one in same_files]
    known = [square for square in squares if square]
    return known[-1] / min(known) - 1 if known and len(known) == len(squares) else None


def _mean_square_width(metrics: "Metrics", layers: Collection[str]) -> float | None:
    widths = {key: layer.get("width_um") for key, layer in metrics.get("residuals", {}).items()}
    squares = [width**2 for key in layers if (width := widths.get(key)) is not None]
    return sum(squares) / len(squares) if squares and len(squares) == len(layers) else None


def _known(part: Mapping[str, object]) -> bool:
    return part.get("sigma") is not None and part.get("effect_um") is not None
