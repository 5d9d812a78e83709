"""A doubt about layers that turn about x or y: the reconstruction differentiates and applies that about two points. Pure.

Calypso differentiates a layer's rx and ry about the z of each hit (CKF2Alignment.cxx), and its constants turn the layer
about its own z (TrackerAlignDBTool.cxx), 2 to 6 mm away. The corrections are then wrong in size, and may drift.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faser_align.alignment.labels import PARAMETERS
from faser_align.alignment.steeringtext import step_fixed

TURNS = ("layer.rx", "layer.ry")


def turns_layers(free: Iterable[int]) -> bool:
    """Whether rx or ry of a layer is among the labels."""
    return any(PARAMETERS[label].kind in TURNS for label in free)


def pivot_doubt(pivot: str, stages: Sequence[Mapping[str, Any]], stations: int) -> str:
    """A sentence if a step frees rx or ry of layers with Calypso's pivot, else an empty text.

    Args:
        pivot: ``mille.pivot``.
        stages: those of the campaign's record, each with its ``steps`` and their ``fix``.
        stations: 4, or 3 without the IFT.
    """
    if pivot != "calypso":
        return ""
    for stage in stages:
        for step in stage["steps"]:
            if turns_layers(PARAMETERS.keys() - step_fixed(step, stations)):
                return (
                    f'step "{step["name"]}" frees rx or ry of layers with mille.pivot = "calypso", whose derivatives turn '
                    'them about another point than the constants do, so that they may drift; set pivot = "layer", or '
                    "fix layers"
                )
    return ""
