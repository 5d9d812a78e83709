"""Check that a file of tracks is complete: a ROOT file up to its end, with the tree and entries.

``python -I -m faser_align.jobs.output FILE`` runs on an execute node before the file is copied to its place. It prints
the file's adler32, the checksum of EOS, to compare with the copy.
"""

import os
import sys
import zlib

from faser_align.alignment.mille.kfalignment import read_tracks
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError
from faser_align.system.libraries import without
from faser_align.system.root_file import problem


def check(path: str) -> str:
    """Return the fault of the file as a sentence, or an empty string."""
    try:
        reason = problem(path)
        if not reason:
            next(read_tracks(path, 1))
    except (CampaignError, OSError) as error:
        return str(error)
    return reason


def adler32(path: str) -> str:
    """Return the file's adler32 checksum as EOS writes it, eight hexadecimal digits."""
    value = 1
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


if __name__ == "__main__":
    with without("pyarrow"):  # awkward would load it
        wrong = check(sys.argv[1]) if len(sys.argv) == 2 else "expected FILE"
    if wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(exit_codes.NO_OUTPUT)
    sys.stdout.write(f"{adler32(sys.argv[1])}\n")
    sys.stdout.flush()
    # Reading stopped at the first track; the rest need not be read.
    os._exit(0)
