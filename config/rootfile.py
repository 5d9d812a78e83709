"""Whether a ROOT file is whole, as far as its first bytes tell. Standard library only, and none of it: hooks load this."""

import os

_HEADER_BYTES = 64


def problem(path: str) -> str:
    """What is wrong with the ROOT file ``path``, or an empty text; raises OSError if it cannot be read.

    A ROOT file begins with ``root``, a version, and the offset of its end, which must be its size
    (ROOT, TFile: header; 4 bytes for versions below 1000000, 8 above).
    """
    size = os.stat(path).st_size
    with open(path, "rb", buffering=0) as opened:
        head = opened.read(_HEADER_BYTES)
    if head[:4] != b"root" or len(head) < 20:
        return f"{path} is not a ROOT file"
    wide = int.from_bytes(head[4:8], "big") >= 1_000_000
    end = int.from_bytes(head[12:20] if wide else head[12:16], "big")
    return "" if end == size else f"{path} has {size} bytes and should have {end}"
