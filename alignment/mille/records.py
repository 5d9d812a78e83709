"""Read Mille binaries in chunks of records, with pede's checks.

A record is ``int32 L``, then n values and n int32 indices: float32 values and L = 2n, or float64 values and L = -2n;
little-endian, without padding. Zeros among the indices define the structure: after word 0 the first zero marks a
measured value, the next one its error, and so on.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.pede.steering_words import nearest
from faser_align.fsm.errors import UserError

CHUNK_BYTES = 8 << 20
EMPTY = 20  # pede's code for a record without words, which is not truncated


class MilleError(UserError):
    """A damaged Mille binary; ``code`` is pede's end code, ``binary`` the binary's number from 1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.binary = 0  # unknown


class LeftoverError(MilleError):
    """``number`` bytes, one to three, follow the last record. pede's READC takes them for the end of the file."""

    def __init__(self, path: str | os.PathLike[str], number: int) -> None:
        super().__init__(f"{path} is truncated or no Mille binary: {number} bytes follow its last record", 18)
        self.number = number


class Records(NamedTuple):
    """Consecutive records: words ``offsets[i] ... offsets[i+1]`` are record i, including word 0.

    Attributes:
        values: shape (words,): measured values and errors (mm) and derivatives.
        indices: shape (words,): zero, local parameter or label.
        offsets: shape (records + 1,).
    """

    values: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]


def read_records(path: str | os.PathLike[str]) -> Records:
    """Read a whole Mille binary; raise errors as ``iterate_records``."""
    chunks = list(iterate_records(path))
    sizes = [np.diff(chunk.offsets) for chunk in chunks]
    return Records(
        np.concatenate([np.zeros(0), *(chunk.values for chunk in chunks)]),
        np.concatenate([np.zeros(0, np.int32), *(chunk.indices for chunk in chunks)]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *sizes]))]),
    )


def iterate_records(path: str | os.PathLike[str], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Records]:
    """Read a Mille binary in chunks of about ``chunk_bytes`` (at least one record).

    Raises MilleError with pede's code: 18 if the file is truncated or not a Mille binary, 20 if a record is empty, its
    structure is broken or a value is not a number, and 15 if the file cannot be opened. LeftoverError (18) comes after
    the last record.
    """
    try:
        data = np.fromfile(path, np.uint8) if os.path.getsize(path) == 0 else np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise MilleError(f"cannot open the Mille binary {path}: {error.strerror}", 15) from error
    words = data[: len(data) // 4 * 4].view("<i4")
    first = 0  # number of the chunk's first record, for messages
    for starts, lengths, broken in _chunks(words, chunk_bytes):
        if len(starts):
            records = _gather(words, starts, lengths)
            _check(records, path, first)
            yield records
            first += len(starts)
        if broken == EMPTY:
            raise MilleError(f"{path}: record {first + 1} is empty", EMPTY)
        if broken:
            raise MilleError(f"{path} is truncated or no Mille binary: record {first + 1} is incomplete", broken)
    if len(data) % 4:
        raise LeftoverError(path, len(data) % 4)


def _chunks(
    words: npt.NDArray[np.int32], chunk_bytes: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]]:
    """Yield starts and lengths L of each chunk's records, and the code of the error after them, 0 for none."""
    position, end, limit = 0, len(words), chunk_bytes // 4
    starts: list[int] = []
    lengths: list[int] = []
    begin = 0
    while position < end:
        length = words.item(position)
        size = abs(length) // 2 * (2 if length > 0 else 3)
        if not size or position + size >= end:
            yield np.array(starts, np.int64), np.array(lengths, np.int64), 18 if size else EMPTY
            return
        starts.append(position)
        lengths.append(length)
        position += 1 + size
        if position - begin >= limit:
            yield np.array(starts, np.int64), np.array(lengths, np.int64), 0
            starts, lengths, begin = [], [], position
    yield np.array(starts, np.int64), np.array(lengths, np.int64), 0


def _gather(words: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Records:
    n = np.abs(lengths) // 2
    offsets = np.concatenate([[0], np.cumsum(n)])
    inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], n)
    double = lengths < 0
    origin = int(starts[0])
    chunk = words[origin : int(starts[-1] + 1 + np.where(double[-1], 3, 2) * n[-1])]
    first = np.repeat(starts - origin + 1, n)
    indices = chunk[first + np.repeat(np.where(double, 2 * n, n), n) + inside]
    if not double.any():
        values = chunk.view("<f4")[first + inside].astype(np.float64)
    else:
        values = np.empty(int(offsets[-1]))
        wide = np.repeat(double, n)
        values[~wide] = chunk.view("<f4")[(first + inside)[~wide]]
        at = (first + 2 * inside)[wide]
        values[wide] = np.stack([chunk[at], chunk[at + 1]], axis=-1).view("<f8")[:, 0]
    return Records(values, indices, offsets)


def _check(records: Records, path: str | os.PathLike[str], first: int) -> None:
    nan = np.isnan(records.values)
    if nan.any():
        at = int(np.searchsorted(records.offsets, np.flatnonzero(nan)[0], side="right"))
        raise MilleError(f"{path}: record {first + at} holds a value that is not a number", 20)
    for record in suspects(records).tolist():
        if measurement_markers(records, record) is None:
            raise MilleError(f"{path}: record {first + record + 1} has a broken structure", 20)


def suspects(records: Records) -> npt.NDArray[np.int64]:
    """Return the few records that may be broken or contain special data, to be checked one by one.

    These have an odd number of markers, or two consecutive markers with a negative value.
    """
    marker = records.indices == 0
    marker[records.offsets[:-1]] = False
    sums = np.concatenate([[0], np.cumsum(marker)])
    odd = np.flatnonzero(np.diff(sums[records.offsets]) % 2)
    special = np.flatnonzero(marker[:-1] & marker[1:] & (records.values[1:] < 0))
    owners = np.searchsorted(records.offsets, special, side="right") - 1
    return np.union1d(odd, owners)


def measurement_markers(records: Records, record: int) -> tuple[list[int], list[int], list[int]] | None:
    """Return the words of one record with measured values, their errors, and the ends of their labels.

    Follows pede's ISJAJB including special data: a measured value without local derivatives and with a negative error
    -n announces n words to be skipped. Returns None if the structure is broken.
    """
    start, last = int(records.offsets[record]), int(records.offsets[record + 1]) - 1
    indices, values = records.indices, records.values
    measured: list[int] = []
    errors: list[int] = []
    ends: list[int] = []
    at = start
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
