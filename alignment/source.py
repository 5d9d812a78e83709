"""The records of all binaries, as often as needed.

Decoded binaries are kept in memory as long as there is room below a limit; the others are read again in each pass.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faser_align.alignment.blocks import iterate_blocks
from faser_align.alignment.equations import Equations, decode
from faser_align.alignment.labelsets import LabelSets

IntArray = npt.NDArray[np.int64]

BLOCK_BYTES = 4 << 20  # about two thousand FASER tracks
CACHE_BYTES = 128 << 20  # half of the memory that a solution may take


class Source:
    """Records as equations, chunk by chunk.

    Attributes:
        sets: the sets of labels of all equations; complete after ``count``.
        records, equations: how many there are; known after ``count``.
        words: number of words of a record's two arrays, with the number of such records; for histograms.
        files: number of records of each binary.
        locals_max: local parameters of the record that has most.
    """

    def __init__(self, binaries: Sequence[tuple[Path, float]]) -> None:
        self._binaries = binaries
        self._kept: dict[int, list[Equations]] = {}  # by number of the binary
        self._room = CACHE_BYTES
        self.sets = LabelSets()
        self.records = self.equations = self.locals_max = 0
        self.words: Counter[int] = Counter()
        self.files: list[int] = []

    def count(self, by_record: bool) -> dict[int, int]:
        """Entries of each label: equations with it, or records; reads everything for the first time."""
        counts: IntArray = np.zeros(0, np.int64)
        by_label: Counter[int] = Counter()
        for number in range(len(self._binaries)):
            before = self.records
            for chunk in self._first_reading(number):
                self.equations += len(chunk.values)
                self.locals_max = max(self.locals_max, len(chunk.locals), int(np.max(chunk.n_locals)))
                new = np.bincount(chunk.sets, minlength=len(self.sets))
                new[: len(counts)] += counts
                counts = new
                if by_record:
                    by_label.update(_labels_of_records(chunk, self.sets.labels))
            self.files.append(self.records - before)
        if not by_record:
            for row in self.sets.labels:
                for label, count in zip(row.tolist(), counts.tolist(), strict=True):
                    by_label[label] += count
            del by_label[0]
        return dict(by_label)

    def __iter__(self) -> Iterator[Equations]:
        for number in range(len(self._binaries)):
            yield from self.of_binary(number)

    def of_binary(self, number: int) -> Iterator[Equations]:
        """Equations of one binary."""
        if number in self._kept:
            yield from self._kept[number]
            return
        path, weight = self._binaries[number]
        for block in iterate_blocks(path, BLOCK_BYTES):
            yield from decode(block, self.sets, path, weight)

    def _first_reading(self, number: int) -> Iterator[Equations]:
        """Read a binary, and keep it if there is room for all of it."""
        path, weight = self._binaries[number]
        kept: list[Equations] = []
        room = self._room
        for block in iterate_blocks(path, BLOCK_BYTES):
            self.records += len(block.starts)
            self.words.update(abs(length) for length in block.lengths)
            for chunk in decode(block, self.sets, path, weight):
                room -= chunk.nbytes
                if room >= 0:
                    kept.append(chunk)
                else:
                    kept.clear()
                yield chunk
        if room >= 0:
            self._room, self._kept[number] = room, kept


def _labels_of_records(chunk: Equations, labels: IntArray) -> list[int]:
    """Labels that occur in each record, one list for all."""
    owner = np.repeat(np.arange(len(chunk.n_locals)), np.diff(chunk.offsets))
    pairs = np.unique(np.stack([np.tile(owner, len(labels)), labels[:, chunk.sets].ravel()]), axis=1)
    return [label for label in pairs[1].tolist() if label]
