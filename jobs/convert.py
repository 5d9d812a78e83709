"""Convert a raw file's tracks to Mille records once the ROOT file is in place.

``python -I -m faser_align.jobs.convert CAMPAIGN STAGE ITERATION FILE``, at the end of a job wrapper.
"""

from pathlib import Path

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.jobs.program import Iteration, failing, main, open_raw, reading_constants


def convert(folder: str, stage: int, number: int, file: int) -> None:
    """Write the Mille binary of raw file ``file``, its counts, histograms and momenta; raise NodeError on failure."""
    iteration = open_raw(folder, stage, number, file)
    convert_tracks(iteration, file)


def convert_tracks(iteration: Iteration, file: int) -> None:
    """Write the Mille binary of a raw file's tracks, its counts, its histograms, its momenta and its sums.

    Raises NodeError: CONVERSION, or COPY if they cannot be written, which a retry may solve.
    """
    from faser_align.alignment.quality.momenta import write_momenta
    from faser_align.jobs.equations import write_file_sums

    with failing(exit_codes.CONVERSION, file_system=exit_codes.COPY):
        Path(iteration.sums_file(file)).unlink(missing_ok=True)
        write_momenta(iteration.kfalignment_file(file), iteration.momenta_file(file))
    write_mille(iteration, file, iteration.mille_file(file), iteration.residual_max_mm)
    write_file_sums(iteration, file)


def write_mille(iteration: Iteration, file: int, path: str, residual_max_mm: float) -> None:
    """Write the Mille binary ``path`` of a raw file's tracks, its counts and its histograms.

    Raises NodeError as ``convert_tracks`` does.
    """
    from faser_align.alignment.mille.conversion import convert_and_count

    with failing(exit_codes.CONFIG):
        cuts = iteration.cuts(residual_max_mm)
    with reading_constants():
        constants = iteration.constants()
    histograms = layout.histograms_file(path)
    with failing(exit_codes.CONVERSION, file_system=exit_codes.COPY):
        convert_and_count([iteration.kfalignment_file(file)], path, cuts, constants=constants, histograms=histograms)


if __name__ == "__main__":
    main(convert, "CAMPAIGN STAGE ITERATION FILE", exit_codes.CONVERSION)
