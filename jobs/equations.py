"""Sum the normal equations of an iteration, and find the directions that a step freezes."""

import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from faser_align.alignment.mille.conversion import convert
from faser_align.alignment.parameters.constants import Constants, read_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import Frozen, SolverOptions, step_fixed, write_steering
from faser_align.alignment.quality.pivot import turns_layers
from faser_align.alignment.quality.survey import freeze
from faser_align.alignment.solver.normal_equations import Normal, in_um, normal_equations
from faser_align.alignment.solver.steering import parse_steering
from faser_align.alignment.solver.sums.total import Total
from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError
from faser_align.jobs.program import Iteration, reading_constants


def equations(
    iteration: Iteration,
    used: list[int],
    steering: Path,
    residual_max_mm: float,
    constants: Constants,
    *,
    frame: bool,
    total: Total | None = None,
) -> Normal | None:
    """Return the normal equations of all parameters; None on failure, which is printed.

    If a step of the stage frees layer rotations with Calypso's derivatives, the equations have derivatives about each
    layer's own z. Calypso's derivatives would confuse determined and undetermined directions. If the files have no sums
    with these, their tracks are converted once more, file by file.

    Args:
        iteration: the iteration.
        used: raw files.
        steering: steering file of a step, without frozen directions.
        residual_max_mm: residual cut.
        constants: those with which the iteration reconstructed.
        frame: whether the step has the constraints of the frame.
        total: the sums of the files, if known.
    """
    try:
        if not about_layers(iteration):
            return normal_equations(steering, total)
        if total is not None and total.turned is not None:
            with tempfile.TemporaryDirectory() as scratch:
                step = parse_steering(_write_steering(iteration, scratch, [total.binaries[0].path], (), frame=frame))
            return in_um(total.turned.labels.tolist(), total.turned.matrix(), total.turned.gradient, step)
        summed: Normal | None = None
        for file in used:
            part = _about_layers(iteration, file, residual_max_mm, constants, frame=frame)
            summed = part if summed is None else summed + part
        return summed
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
    iteration: Iteration,
    steering: Path,
    normal: Normal,
    fixed: Collection[int],
    constants: Constants,
    above: float,
    total: Total | None = None,
) -> tuple[Frozen, ...]:
    """Return the directions that a step freezes where the constants were at the start of the campaign.

    Args:
        iteration: the iteration.
        steering: steering file of the step, without frozen directions.
        normal: normal equations of all parameters.
        fixed: labels that the step fixes.
        constants: those with which the iteration reconstructed.
        above: freeze directions with larger errors by the tracks (standard deviations of the survey).
        total: the sums of the files, if known.
    """
    free = PARAMETERS.keys() - fixed
    if about_layers(iteration):
        free &= set(normal_equations(steering, total).labels)  # those with enough entries over all files
    return freeze(normal, free, constants, first_constants(iteration), iteration.config["survey"], above)


def first_constants(iteration: Iteration) -> Constants:
    """Return the constants at the start of the campaign."""
    with reading_constants():
        return read_constants(layout.constants_file(iteration.folder, 1, 1))


def _about_layers(
    iteration: Iteration, file: int, residual_max_mm: float, constants: Constants, *, frame: bool
) -> Normal:
    with tempfile.TemporaryDirectory() as scratch:  # HTCondor's scratch folder, which it clears even after a crash
        binary = convert_about_layers(iteration, file, residual_max_mm, constants, scratch)
        return normal_equations(_write_steering(iteration, scratch, [binary], [iteration.weight(file)], frame=frame))


def convert_about_layers(
    iteration: Iteration, file: int, residual_max_mm: float, constants: Constants, scratch: str
) -> str:
    """Convert a raw file's tracks with derivatives about each layer's own z; return the path of the binary.

    Args:
        iteration: the iteration.
        file: raw file.
        residual_max_mm: residual cut.
        constants: those with which the iteration reconstructed.
        scratch: folder of the binary.
    """
    binary = os.path.join(scratch, "tracks.bin")
    cuts = iteration.cuts(residual_max_mm, pivot="layer", same_hits=True)
    convert([iteration.kfalignment_file(file)], binary, cuts, constants=constants)
    return binary


def _write_steering(
    iteration: Iteration, scratch: str, binaries: Sequence[str | Path], weights: Sequence[float], *, frame: bool
) -> Path:
    """Write a steering file with every parameter free.

    The steps count entries over all files; here every parameter with data takes part.
    """
    options = SolverOptions(hugecut=iteration.config["solver"]["hugecut"], entries=1, frame=frame)
    return write_steering(scratch, binaries, frozenset(), {}, options, weights)
