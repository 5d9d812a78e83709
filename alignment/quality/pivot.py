"""Doubts about layers that turn about x or y: the reconstruction differentiates and applies that about two points. Pure.

Calypso differentiates a layer's rx and ry about the z of each hit (CKF2Alignment.cxx), and its constants turn the layer
about its own z (TrackerAlignDBTool.cxx), 2 to 6 mm away. The corrections are then wrong in size, and may drift. The
derivatives grow with the tilt of a layer, so that a cut on them takes the hits of tilted layers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faser_align.alignment.parameters.constants import Constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import step_fixed
from faser_align.alignment.quality.notes import RAISE_IT

TURNS = ("layer.rx", "layer.ry")
_ARM_MM = 60.0  # of a hit about the beam, typical for the outer half of a layer


def turns_layers(free: Iterable[int]) -> bool:
    """Whether rx or ry of a layer is among the labels."""
    return any(PARAMETERS[label].kind in TURNS for label in free)


def pivot_doubt(pivot: str, stages: Sequence[Mapping[str, Any]], stations: int) -> str:
    """A sentence if a step frees rx or ry of layers with Calypso's pivot, else an empty text.

    Args:
        pivot: ``mille.pivot``.
        stages: those of the campaign's record, each with its ``steps``: what is free follows from ``fix`` and from the
            expert's own parameters.
        stations: 4, or 3 without the IFT, of stages that do not say it themselves.
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
    """A sentence if the cut by derivative takes a good part of the hits of tilted layers, else an empty text.

    Args:
        pivot, derivative_max: of ``[mille]`` (mm/rad).
        constants: from which the alignment starts (rad).
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
