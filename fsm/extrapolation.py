"""How far the constants still are from where they are going, judged by the pace at which corrections shrink. Pure.

A small correction does not mean that little is left: if each is nine tenths of the one before, ten times as much
follows. With ``s`` the size of the last correction and ``r`` its ratio to the one before, what follows is at most

    s r / (1 - r)

in the end, if all go the same way. Sizes are those along directions that the data determine, since the others have no
end to go to.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

RATIO_MAX = 0.9  # corrections that do not shrink are taken to follow ten times: noise does not go one way for ever


class Remaining(NamedTuple):
    """What is still to come: in standard deviations (rms over the directions), and as an effect on residuals (um)."""

    sigma: float
    effect_um: float


def remaining(history: Sequence["Metrics"]) -> Remaining | None:
    """What follows the last iteration of a stage; None if its metrics do not have the determined part."""
    now = history[-1].get("determined") or {}
    if not _known(now):
        return None
    before = (history[-2].get("determined") or {}) if len(history) > 1 else {}
    ratio = RATIO_MAX
    if _known(before) and before["sigma"] > 0:
        ratio = min(now["sigma"] / before["sigma"], RATIO_MAX)
    more = ratio / (1.0 - ratio)
    return Remaining(now["sigma"] * more, now["effect_um"] * more)


def rise(history: Sequence["Metrics"]) -> float | None:
    """By how much the last chi2/ndf is above the stage's best with the same files; None if that is not known.

    The tracks are the same in all iterations, so that chance hardly moves it: constants that describe them worse than
    others did are going to the wrong place, however small their corrections become.
    """
    if not _known(history[-1].get("determined") or {}):
        return None
    lost = history[-1].get("files", {}).get("lost")
    alike = [one for one in history if one.get("files", {}).get("lost") == lost]
    known = [float(value) for one in alike if (value := one.get("chi2_per_ndf")) is not None]
    return known[-1] - min(known) if len(known) == len(alike) else None


def _known(part: Mapping[str, object]) -> bool:
    return part.get("sigma") is not None and part.get("effect_um") is not None
