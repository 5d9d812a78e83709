"""Read a whole Mille binary as arrays, with pede's checks of each record's structure.

Zeros among the indices define the structure: after word 0 the first zero marks a
measured value, the next one its error, and so on.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import FloatArray, Int32Array, IntArray
from faser_align.alignment.mille.blocks import Block, MilleError, iterate_blocks
from faser_align.alignment.pede.steering_words import nearest
from faser_align.system.atomic import Name

BLOCK_BYTES = 8 << 20


class Records(NamedTuple):
    """Consecutive records: words ``offsets[i] ... offsets[i+1]`` are record i, including word 0.

    Attributes:
        values: shape (words,): measured values and errors (mm) and derivatives.
        indices: shape (words,): zero, local parameter or label.
        offsets: shape (records + 1,).
    """

    values: FloatArray
    indices: Int32Array
    offsets: IntArray


def read_records(path: Name, block_bytes: int = BLOCK_BYTES) -> Records:
    """Read a whole Mille binary in blocks of about ``block_bytes``.

    Raises MilleError with pede's code, as ``iterate_blocks``, and 20 if a record's structure is broken or a value is not
    a number.
    """
    parts = [Records(np.zeros(0), np.zeros(0, np.int32), np.zeros(1, np.int64))]
    for block in iterate_blocks(path, block_bytes):
        parts.append(gather(block))
        _check(parts[-1], path, block.first)
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    return Records(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
    )


def gather(block: Block) -> Records:
    """Return the records of a block: n float32 or, where L is negative, float64 values, then n indices."""
    values, indices, sizes = [], [], []
    for start, length in zip(block.starts.tolist(), block.lengths.tolist(), strict=True):
        n = abs(length) // 2
        end = start + 1 + (2 * n if length < 0 else n)
        values.append(block.words[start + 1 : end].view("<f8" if length < 0 else "<f4").astype(np.float64))
        indices.append(block.words[end : end + n])
        sizes.append(n)
    return Records(np.concatenate(values), np.concatenate(indices), np.cumsum([0, *sizes]))


def _check(records: Records, path: Name, first: int) -> None:
    nan = np.isnan(records.values)
    if nan.any():
        at = int(np.searchsorted(records.offsets, np.flatnonzero(nan)[0], side="right"))
        raise MilleError(f"{path}: record {first + at} contains a value that is not a number", 20)
    zeros = np.setdiff1d(np.flatnonzero(records.indices == 0), records.offsets[:-1], assume_unique=True)
    for record in suspects(zeros, np.searchsorted(zeros, records.offsets), records.values).tolist():
        words = slice(*records.offsets[record : record + 2].tolist())
        if measurement_markers(records.indices[words], records.values[words]) is None:
            raise MilleError(f"{path}: record {first + record + 1} has a broken structure", 20)


def suspects(markers: IntArray, ends: IntArray, values: npt.NDArray[np.floating]) -> IntArray:
    """Return the few records that may be broken or contain special data, to be checked one by one.

    These have an odd number of markers, or two consecutive markers with a negative value.

    Args:
        markers: positions of the markers among the words.
        ends: number of markers before each record, and of all.
        values: of the words.
    """
    odd = np.flatnonzero(np.diff(ends) % 2)
    special = np.flatnonzero((np.diff(markers) == 1) & (values[markers[1:]] < 0))
    return np.union1d(odd, np.searchsorted(ends, special, side="right") - 1) if len(special) else odd


def measurement_markers(
    indices: Int32Array, values: npt.NDArray[np.floating]
) -> tuple[list[int], list[int], list[int]] | None:
    """Return the words of one record with measured values, their errors, and the ends of their labels.

    Follows pede's ISJAJB including special data: a measured value without local derivatives and with a negative error
    -n announces n words to be skipped. Returns None if the structure is broken.
    """
    last = len(indices) - 1
    measured: list[int] = []
    errors: list[int] = []
    ends: list[int] = []
    at = 0
    while at < last:
        markers = []
        for _ in range(2):
            at += 1
            while at <= last and indices[at] != 0:
                at += 1
            if at > last:
                return None
            markers.append(at)
        if markers[0] + 1 == markers[1] and values[markers[1]] < 0:
            at += nearest(-float(values[markers[1]]))
            if at > last:
                return None
            continue
        while at < last and indices[at + 1] != 0:
            at += 1
        measured.append(markers[0])
        errors.append(markers[1])
        ends.append(at + 1)
    return measured, errors, ends
