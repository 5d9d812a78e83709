"""Convert a raw file's tracks to Mille records once the ROOT file is in place.

``python -I -m faser_align.jobs.convert CAMPAIGN STAGE ITERATION FILE``, at the end of a job wrapper.
"""

from faser_align.fsm import exit_codes
from faser_align.jobs.program import main, open_raw
from faser_align.jobs.reconstruct import convert_tracks


def convert(folder: str, stage: int, number: int, file: int) -> None:
    """Write the Mille binary of raw file ``file``, its counts, histograms and momenta; raise NodeError on failure."""
    iteration = open_raw(folder, stage, number, file)
    convert_tracks(iteration, file)


if __name__ == "__main__":
    main(convert, "CAMPAIGN STAGE ITERATION FILE", exit_codes.CONVERSION)
