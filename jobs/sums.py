"""Write the sums of a raw file's normal equations after its conversion, and add those of an iteration's files."""

import sys
import tempfile
from pathlib import Path

from faser_align.alignment.parameters.constants import read_constants
from faser_align.alignment.pede.steering_text import solver_options, write_steering
from faser_align.alignment.solver.steering import parse_steering
from faser_align.alignment.solver.sums.file import sums_file, write_sums
from faser_align.alignment.solver.sums.making import make_sums
from faser_align.alignment.solver.sums.total import Total
from faser_align.campaign import layout
from faser_align.fsm.errors import UserError
from faser_align.jobs.equations import about_layers, convert_about_layers
from faser_align.jobs.program import Iteration


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
