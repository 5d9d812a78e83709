"""Sum the normal equations of an iteration, and find the directions that a step freezes."""

import os
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from faser_align.alignment.mille.conversion import convert
from faser_align.alignment.parameters.constants import Constants, read_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import Frozen, SolverOptions, step_fixed, write_steering
from faser_align.alignment.quality.pivot import turns_layers
from faser_align.alignment.quality.survey import freeze
from faser_align.alignment.solver.normal_equations import Normal, normal_equations
from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError
from faser_align.jobs.program import Iteration, reading_constants


def equations(
    iteration: Iteration, used: list[int], steering: Path, residual_max_mm: float, constants: Constants, *, frame: bool
) -> Normal | None:
    """Return the normal equations of all parameters; None on failure, which is printed.

    If a step of the stage frees layer rotations with Calypso's derivatives, the tracks are converted once more, file by
    file, with derivatives about each layer's own z. Calypso's derivatives would confuse determined and undetermined
    directions.

    Args:
        iteration: the iteration.
        used: raw files.
        steering: steering file of a step, without frozen directions.
        residual_max_mm: residual cut.
        constants: those with which the iteration reconstructed.
        frame: whether the step has the constraints of the frame.
    """
    try:
        if not about_layers(iteration):
            return normal_equations(steering)
        total: Normal | None = None
        for file in used:
            part = _about_layers(iteration, file, residual_max_mm, constants, frame=frame)
            total = part if total is None else total + part
        return total
    except CampaignError as error:
        sys.stderr.write(f"the weak modes are not known: {error}\n")
        return None


def about_layers(iteration: Iteration) -> bool:
    """Return whether a step of the stage frees layer rotations whose derivatives are about the hits' z."""
    if iteration.config["mille"]["pivot"] == "layer":
        return False
    steps = iteration.record["stages"][iteration.stage - 1]["steps"]
    return any(turns_layers(PARAMETERS.keys() - step_fixed(step, iteration.stations)) for step in steps)


def frozen_directions(
    iteration: Iteration, steering: Path, normal: Normal, fixed: Collection[int], constants: Constants, above: float
) -> tuple[Frozen, ...]:
    """Return the directions that a step freezes where the constants were at the start of the campaign.

    Args:
        iteration: the iteration.
        steering: steering file of the step, without frozen directions.
        normal: normal equations of all parameters.
        fixed: labels that the step fixes.
        constants: those with which the iteration reconstructed.
        above: freeze directions with larger errors by the tracks (standard deviations of the survey).
    """
    free = PARAMETERS.keys() - fixed
    if about_layers(iteration):
        free &= set(normal_equations(steering).labels)  # those with enough entries over all files
    return freeze(normal, free, constants, first_constants(iteration), iteration.config["survey"], above)


def first_constants(iteration: Iteration) -> Constants:
    """Return the constants at the start of the campaign."""
    with reading_constants():
        return read_constants(layout.constants_file(iteration.folder, 1, 1))


def _about_layers(
    iteration: Iteration, file: int, residual_max_mm: float, constants: Constants, *, frame: bool
) -> Normal:
    cuts = iteration.cuts(residual_max_mm, pivot="layer", same_hits=True)
    with tempfile.TemporaryDirectory() as scratch:  # HTCondor's scratch folder, which it clears even after a crash
        binary = os.path.join(scratch, "tracks.bin")
        convert([iteration.kfalignment_file(file)], binary, cuts, constants=constants)
        # The steps count entries over all files; here every parameter with data takes part.
        options = SolverOptions(hugecut=iteration.config["solver"]["hugecut"], entries=1, frame=frame)
        return normal_equations(write_steering(scratch, [binary], frozenset(), {}, options, [iteration.weight(file)]))
