"""Warn about free layer rotations about x or y, whose derivatives and constants have different pivots. Pure.

Calypso's derivatives are about the z of the hit (``mille.derivatives``), which is 2 to 6 mm from that of the layer, or
more if the layer is tilted. The corrections then have the wrong size, and may drift. The derivatives grow with the
tilt, so that a cut on them rejects hits of tilted layers.
"""

from collections.abc import Iterable, Sequence

from faser_align.alignment.parameters.constants import Constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import step_fixed
from faser_align.alignment.quality.notes import RAISE_IT
from faser_align.config.stages import UsedStage

TURNS = ("layer.rx", "layer.ry")
_ARM_MM = 60.0  # typical distance of a hit from the beam in the outer half of a layer


def turns_layers(free: Iterable[int]) -> bool:
    """Return whether rx or ry of a layer is among the labels."""
    return any(PARAMETERS[label].kind in TURNS for label in free)


def pivot_doubt(pivot: str, stages: Sequence[UsedStage], stations: int) -> str:
    """Return a sentence if a step frees rx or ry of layers with Calypso's pivot, else an empty string.

    Args:
        pivot: ``mille.pivot``.
        stages: stages of the manifest, each with its ``steps``: what is free follows from ``fix`` and from the expert's
            own parameters.
        stations: 4, or 3 without the IFT, for stages without this key.
    """
    if pivot != "calypso":
        return ""
    for stage in stages:
        for step in stage["steps"]:
            if turns_layers(PARAMETERS.keys() - step_fixed(step, stage.get("stations", stations))):
                return (
                    f'step "{step["name"]}" frees rx or ry of layers with mille.pivot = "calypso", whose derivatives turn '
                    'them about another point than the constants do, so that they may drift; set pivot = "layer", or '
                    "fix layers"
                )
    return ""


def tilt_doubt(pivot: str, derivative_max: float, constants: Constants) -> str:
    """Return a sentence if the derivative cut rejects a large part of the hits of tilted layers, else an empty string.

    Args:
        pivot, derivative_max: from ``[mille]`` (mm/rad).
        constants: constants at the start of the alignment (mm, rad).
    """
    if pivot != "calypso":
        return ""
    tilts = {key: max(abs(six[3]), abs(six[4])) for key, six in constants.items() if len(key) == 2}
    cut = sorted(key for key, tilt in tilts.items() if tilt * _ARM_MM > derivative_max)
    if not cut:
        return ""
    return (
        f"mille.derivative_max = {derivative_max:g} cuts a good part of the hits of layers {', '.join(cut)}, which the "
        f"constants tilt by up to {1e3 * max(tilts[key] for key in cut):.0f} mrad; {RAISE_IT}"
    )
