"""Read ROOT baskets: a branch's entries, decompressed block by block into memory or a temporary file.

A basket has a key (TKey), the entries' bytes (big-endian) and, if entries differ in length, their offsets (TBasket). It
is compressed in blocks of at most 16 MB (RZip.cxx).
"""

import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import IntArray

Bytes = npt.NDArray[np.uint8]

SPILL_BYTES = 2 << 20  # larger baskets are decompressed to a temporary file
_COPY_BYTES = 4 << 20
_KEY = struct.Struct(">ihiIhh")  # size, version, size of the object, date, size of the key, cycle
_BASKET = struct.Struct(">Hiiii")  # version, buffer size, ..., entries, end of the data; one more byte follows
_BLOCK = struct.Struct("<2s7B")  # algorithm, version, compressed and original size in three bytes each


class Basket:
    """Bytes and offsets of a basket's entries, in memory or in a temporary file.

    Args:
        data: bytes of the entries, or a file with them followed by their offsets.
        offsets: offsets of the entries, one more than entries; None if they are in the file, or if all entries have one
            length.
        table: position of the offsets in the file.
        key: constant to subtract from the offsets.
    """

    def __init__(self, data: Bytes | BinaryIO, offsets: IntArray | None, table: int = 0, key: int = 0) -> None:
        self._data, self._offsets, self._table, self._key = data, offsets, table, key

    def close(self) -> None:
        """Close the temporary file, if there is one."""
        if not isinstance(self._data, np.ndarray):
            self._data.close()

    def read(self, start: int, stop: int) -> Bytes:
        """Return the bytes from ``start`` up to ``stop`` (exclusive); raise ValueError if there are fewer."""
        if isinstance(self._data, np.ndarray):
            piece = self._data[start:stop]
        else:
            piece = np.frombuffer(_pread(self._data, start, stop - start), np.uint8)
        if len(piece) != stop - start:
            raise ValueError("fewer bytes than entries")
        return piece

    def offsets(self, first: int, last: int) -> IntArray:
        """Return the offsets of the entries from ``first`` up to ``last`` (exclusive), one more than entries.

        Raises ValueError if the basket ends earlier.
        """
        if self._offsets is not None:
            return self._offsets[first:last]
        raw = self.read(self._table + 4 * first, self._table + 4 * last).view(">i4").astype(np.int64) - self._key
        if last == self.read(self._table - 4, self._table).view(">i4")[0]:  # the number of offsets
            raw[-1] = self._table - 4  # ROOT does not write the end of the last entry
        return raw


def read_basket(file: BinaryIO, seek: int, entries: int, *, jagged: bool) -> Basket:
    """Read the basket at byte ``seek`` of a ROOT file.

    Args:
        file: opened for reading.
        seek: position of the basket's key.
        entries: number of entries according to the tree.
        jagged: whether entries differ in length.

    Raises ValueError (also from zlib and struct) if there is no such basket or it is damaged.
    """
    head = _pread(file, seek, _KEY.size)
    size, _, content, _, key, _ = _KEY.unpack(head)
    if size <= key or key <= _KEY.size + _BASKET.size or content < 0:
        raise ValueError("a basket is missing")
    *_, stored, last = _BASKET.unpack(_pread(file, seek + key - _BASKET.size - 1, _BASKET.size))
    border = last - key
    if stored != entries or not 0 <= border <= content or (jagged and content < border + 4 * (entries + 1)):
        raise ValueError("a basket whose entries differ from those of the tree")
    blocks = _blocks(file, seek + key, size - key, content)
    if content > SPILL_BYTES:
        return Basket(spill(blocks, content), None, border + 4, key)
    whole = list(blocks)
    data = np.frombuffer(whole[0] if len(whole) == 1 else b"".join(whole), np.uint8)
    _check_size(len(data), content)
    if not jagged:
        return Basket(data[:border], None)
    offsets = data[border + 4 : border + 4 * (entries + 2)].view(">i4").astype(np.int64) - key
    return Basket(data[:border], np.append(offsets[:entries], border))


def spill(pieces: Iterable[bytes | Bytes], size: int) -> BinaryIO:
    """Return a temporary file with the bytes of all ``pieces``; the caller closes it.

    Raises ValueError if the total is not ``size`` bytes.
    """
    spilled = tempfile.TemporaryFile()  # noqa: SIM115 -- the caller closes it
    try:
        for piece in pieces:
            spilled.write(piece if isinstance(piece, bytes) else piece.data)
        spilled.flush()
        _check_size(spilled.tell(), size)
    except BaseException:
        spilled.close()
        raise
    return spilled


def _blocks(file: BinaryIO, at: int, stored: int, content: int) -> Iterator[bytes]:
    """Yield the content of a basket, block by block."""
    end = at + stored
    if stored == content:
        while at < end:
            piece = min(_COPY_BYTES, end - at)
            yield _pread(file, at, piece)
            at += piece
        return
    while at < end:
        head = _pread(file, at, _BLOCK.size)
        algorithm, _, *sizes = _BLOCK.unpack(head)
        packed, original = (a + (b << 8) + (c << 16) for a, b, c in (sizes[:3], sizes[3:]))
        block = _pread(file, at + _BLOCK.size, packed)
        yield zlib.decompress(block, bufsize=original) if algorithm == b"ZL" else _unpack(head + block, original)
        at += _BLOCK.size + packed


def _unpack(block: bytes, original: int) -> bytes:
    """Decompress a block of any other ROOT algorithm."""
    import uproot

    data = np.frombuffer(block, np.uint8)
    # errors of uproot name the file, which it does not read itself here
    chunk = uproot.source.chunk.Chunk.wrap(SimpleNamespace(file_path="a block"), data)
    cursor = uproot.source.cursor.Cursor(0)
    content = uproot.compression.decompress(chunk, cursor, {}, len(block), original)
    return bytes(np.asarray(content.raw_data, np.uint8))


def _pread(file: BinaryIO, at: int, size: int) -> bytes:
    content = os.pread(file.fileno(), size, at)
    if len(content) != size:
        raise ValueError("the file ends there")
    return content


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError("blocks whose size differs from the size of the basket")
