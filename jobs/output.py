"""See that a file of tracks is whole: a ROOT file up to its end, with the tree of tracks and entries in it.

``python -I -m faser_align.jobs.output FILE``, on an execute node, before the file is copied to its place. It prints the
file's adler32, the checksum that EOS keeps, with which what arrived is compared.
"""

import os
import sys
import zlib

from faser_align.alignment.mille.kfalignment import read_tracks
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError
from faser_align.system.root_file import problem


def check(path: str) -> str:
    """What is wrong with the file, in a sentence; an empty text if nothing is."""
    try:
        found = problem(path)
        if found:
            return found
        next(read_tracks(path, 1))
    except (CampaignError, OSError) as error:
        return str(error)
    return ""


def adler32(path: str) -> str:
    """The file's checksum as EOS writes it, eight hexadecimal digits."""
    value = 1
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


if __name__ == "__main__":
    wrong = check(sys.argv[1]) if len(sys.argv) == 2 else "expected FILE"
    if wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(exit_codes.NO_OUTPUT)
    sys.stdout.write(f"{adler32(sys.argv[1])}\n")
    sys.stdout.flush()
    # Reading stopped at the first track; nothing is left to be done.
    os._exit(0)
