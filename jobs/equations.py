"""Sum the normal equations of raw files and of an iteration, and find the directions that a step freezes."""

import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from faser_align.alignment.mille.conversion import convert
from faser_align.alignment.parameters.constants import Constants, read_constants
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.steering_text import Frozen, SolverOptions, labels_freed, solver_options, write_steering
from faser_align.alignment.quality.pivot import turns_layers
from faser_align.alignment.quality.survey import freeze
from faser_align.alignment.solver.normal_equations import Normal, in_um, normal_equations
from faser_align.alignment.solver.steering import parse_steering
from faser_align.alignment.solver.sums.file import sums_file, write_sums
from faser_align.alignment.solver.sums.making import make_sums
from faser_align.alignment.solver.sums.total import Total
from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError, UserError
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
        steering: steering file of a step, without frozen directions.
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
            return in_um(total.turned.labels.tolist(), total.turned.matrix, total.turned.gradient, step)
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
    return turns_layers(labels_freed([iteration.record["stages"][iteration.stage - 1]], iteration.stations))


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
        steering, constants, total: as for ``equations``.
        normal: normal equations of all parameters.
        fixed: labels that the step fixes.
        above: freeze directions with larger errors by the tracks (standard deviations of the survey).
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
    """Convert a raw file's tracks with derivatives about each layer's own z; return the path of the binary in ``scratch``.

    ``constants`` are those with which the iteration reconstructed.
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


def write_file_sums(iteration: Iteration, file: int) -> None:
    """Write the sums of a raw file's Mille binary for the cuts of the stage's steps; a validation needs none.

    Errors are only printed, because the Millepede job can read the binary instead.
    """
    if iteration.stage == layout.VALIDATION:
        return
    binary = iteration.mille_file(file)
    try:
        # HTCondor's scratch folder, which it clears even after a crash
        with tempfile.TemporaryDirectory() as scratch:
            huge_cut, has_chi2_cut = _cuts(iteration, binary, scratch)
            turned = None
            if about_layers(iteration):
                constants = read_constants(iteration.constants_file())
                turned = convert_about_layers(iteration, file, iteration.residual_max_mm, constants, scratch)
            sums = make_sums(binary, huge_cut, has_chi2_cut=has_chi2_cut, turned=turned)
            write_sums(sums_file(binary), sums)
    except Exception as error:  # noqa: BLE001 -- the binary exists whatever happens here
        sys.stderr.write(f"the Millepede job will read the binary, because its sums are not stored: {error}\n")


def read_total(steering: Path) -> tuple[Total | None, str]:
    """Return the sums of a steering file's binaries, with their weights; None with the reason if there are none."""
    try:
        return Total(parse_steering(steering).binaries), ""
    except UserError as error:
        return None, str(error)


def _cuts(iteration: Iteration, binary: str, scratch: str) -> tuple[float, bool]:
    """Return ``hugecut`` of the first step, and whether any step has ``chisqcut``."""
    read = []
    for step in iteration.record["stages"][iteration.stage - 1]["steps"]:
        options = solver_options(iteration.config["solver"], step)
        read.append(parse_steering(write_steering(scratch, [binary], frozenset(), {}, options)))
    return read[0].huge_cut, any(steering.chi2_cut != (0.0, 0.0) for steering in read)
