"""Read Mille binaries, plain or gzipped, in blocks of whole records.

A record is ``int32 L``, then n values and n int32 indices, ``L = 2n`` for float32 values and ``L = -2n`` for float64;
little-endian, without padding.
"""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import Int32Array, IntArray
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

_GZIP = b"\x1f\x8b"
EMPTY = 20  # pede's code for a record without words, which is not truncated


class MilleError(UserError):
    """A damaged Mille binary; ``code`` is pede's end code, ``binary`` the binary's number from 1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.binary = 0  # unknown


class LeftoverError(MilleError):
    """``number`` bytes, one to three, follow the last record. pede's READC takes them for the end of the file."""

    def __init__(self, path: Name, number: int) -> None:
        super().__init__(f"{path} is truncated or not a Mille binary: {number} bytes follow its last record", 18)
        self.number = number


class Block(NamedTuple):
    """Consecutive whole records.

    Attributes:
        words: content of the file; valid until the next block is read.
        starts: position of each record's L in ``words``, shape (records,).
        lengths: L of each record, shape (records,).
        first: number of the first record in its file, from 0.
    """

    words: Int32Array
    starts: IntArray
    lengths: IntArray
    first: int


Splitter = Callable[[Int32Array], tuple[list[int], list[int], int, int]]


def iterate_blocks(path: Name, block_bytes: int, *, fortran: bool = False) -> Iterator[Block]:
    """Read a Mille binary in blocks of about ``block_bytes`` (at least one record).

    With ``fortran``, records are between the two markers of unformatted Fortran files, their size in bytes.

    Raises MilleError with pede's code: 15 if the file cannot be opened, 18 if it is truncated or not a Mille binary, 20
    if a record is empty; LeftoverError (18) after the last record.
    """
    try:
        file = _open(path)
    except OSError as error:
        raise MilleError(f"cannot open the Mille binary {path}: {error.strerror}", 15) from error
    with file:
        yield from _blocks(file, path, block_bytes, _split_fortran if fortran else _split)


def _open(path: Name) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    if file.read(2) == _GZIP:
        file.close()
        return cast(BinaryIO, gzip.open(path, "rb"))
    file.seek(0)
    return cast(BinaryIO, file)


def _blocks(file: BinaryIO, path: Name, block_bytes: int, split: Splitter) -> Iterator[Block]:
    buffer = np.empty(max(block_bytes, 64), np.uint8)
    filled, first, ended = 0, 0, False
    while True:
        while filled < len(buffer) and not ended:
            got = _read(file, buffer[filled:], path)
            filled, ended = filled + got, not got
        if not filled:
            return
        words = buffer[: filled // 4 * 4].view("<i4")
        starts, lengths, stop, wrong = split(words)
        if starts:
            yield Block(words, np.array(starts, np.int64), np.array(lengths, np.int64), first)
            first += len(starts)
            rest = filled - 4 * stop
            buffer[:rest] = buffer[4 * stop : filled].copy()
            filled = rest
        if wrong == EMPTY:
            raise MilleError(f"{path}: record {first + 1} is empty", EMPTY)
        if ended and 0 < filled < 4 and not wrong:
            raise LeftoverError(path, filled)
        incomplete = bool(wrong or (ended and filled))
        larger = not starts and not incomplete  # than the buffer, which grows at most to the size of the file
        if larger and isinstance(file, io.FileIO):
            left = os.fstat(file.fileno()).st_size - file.tell()
            incomplete = filled + left < 8 * (abs(words.item(int(split is _split_fortran))) // 2)
        if incomplete:
            raise MilleError(f"{path} is truncated or not a Mille binary: record {first + 1} is incomplete", 18)
        if larger:
            buffer = np.concatenate([buffer, np.empty((len(buffer) + 3) // 4 * 4, np.uint8)])


def _read(file: BinaryIO, target: npt.NDArray[np.uint8], path: Name) -> int:
    try:
        return int(file.readinto(target.data))  # type: ignore[attr-defined]
    except (OSError, EOFError, zlib.error) as error:
        raise MilleError(f"cannot read the Mille binary {path} to its end: {error}", 18) from error


def _split(words: Int32Array) -> tuple[list[int], list[int], int, int]:
    """Return starts and lengths of the whole records, the start of the first other one, and its code, 0 if incomplete."""
    starts: list[int] = []
    lengths: list[int] = []
    position, end = 0, len(words)
    item = words.item
    while position < end:
        length = item(position)
        following = position + 1 + (length // 2 * 2 if length > 0 else -length // 2 * 3)
        if following == position + 1:
            return starts, lengths, position, EMPTY
        if following > end:
            break
        starts.append(position)
        lengths.append(length)
        position = following
    return starts, lengths, position, 0


def _split_fortran(words: Int32Array) -> tuple[list[int], list[int], int, int]:
    """Return the same for records between two markers."""
    starts: list[int] = []
    lengths: list[int] = []
    position, end = 0, len(words)
    while position + 1 < end:
        marker, length = words.item(position), words.item(position + 1)
        size = length if length > 0 else -length // 2 * 3
        if length == 0 or length % 2 or marker != 4 * (size + 1):
            return starts, lengths, position, 18
        if position + size + 3 > end:
            break
        if words.item(position + size + 2) != marker:
            return starts, lengths, position, 18
        starts.append(position + 1)
        lengths.append(length)
        position += size + 3
    return starts, lengths, position, 0
