"""Check whether a job's files are complete, from a few bytes. Almost no imports: scripts import this module."""

import os

_HEADER_BYTES = 64


def problem(path: str) -> str:
    """Return the fault of the ROOT file ``path``, or an empty string; raise OSError if it cannot be read.

    A ROOT file begins with ``root``, a version, and the offset of its end, which must be its size (ROOT, TFile: header;
    4 bytes for versions below 1000000, 8 above).
    """
    size = os.stat(path).st_size
    with open(path, "rb", buffering=0) as opened:
        head = opened.read(_HEADER_BYTES)
    if head[:4] != b"root" or len(head) < 20:
        return f"{path} is not a ROOT file"
    wide = int.from_bytes(head[4:8], "big") >= 1_000_000
    end = int.from_bytes(head[12:20] if wide else head[12:16], "big")
    return "" if end == size else f"{path} has {size} bytes and should have {end}"


def mille_problem(path: str) -> str:
    """Return the fault of the Mille binary ``path``, or an empty string; raise OSError if it cannot be read.

    Its size must equal the one in its counts, which are beside it; counts of an earlier version have no size.
    """
    size = os.stat(path).st_size
    try:
        with open(f"{path}.json", "rb") as counts:
            told = counts.read().partition(b'"bytes_written":')[2].replace(b"}", b",").partition(b",")[0]
    except FileNotFoundError:
        return ""
    expected = int(told) if told.isdigit() else 0
    return f"{path} has {size} bytes and should have {expected}" if expected not in (0, size) else ""
