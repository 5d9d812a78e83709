"""Read the records of all binaries as often as needed.

Decoded blocks stay in memory up to a limit. For further blocks, up to a second limit, the positions of the equations
stay in memory, so that reading them again takes a third of the time. The rest is decoded again in each pass.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, IntArray
from faser_align.alignment.mille.blocks import Block, LeftoverError, MilleError, iterate_blocks
from faser_align.alignment.solver.equations import Equations, Layout, decode, decode_again, size_bytes
from faser_align.alignment.solver.label_sets import LabelSets
from faser_align.alignment.solver.steering import Binary

BLOCK_BYTES = 4 << 20  # about two thousand FASER tracks
_ALL = slice(None)
CACHE_BYTES, LAYOUT_BYTES = 96 << 20, 96 << 20  # a solution of any number of tracks needs less than 400 MB


class Source:
    """Records as equations, chunk by chunk.

    Args:
        records_max: maximum number of records; 0 for all.
        read_error_is_end: a truncated binary ends where it is truncated, instead of ending the run.

    Attributes:
        sets: the sets of labels of all equations; complete after ``count``, like the other attributes.
        set_counts, set_sigmas: number of equations of each set, and the sum of their errors.
        records, equations: how many there are.
        truncated: numbers of the truncated binaries.
        leftovers: number of bytes, one to three, after the last record of each such binary; pede ignores them.
        sizes: words of a record's two arrays, with the number of such records.
        not_stored: measurements that the writer omitted from a record, with the number of such records.
        records_in: records of each binary.
        locals_max, equations_max: largest number of local parameters and of equations in a record.
        doubles: whether there are double records.
    """

    def __init__(self, binaries: Sequence[Binary], *, records_max: int = 0, read_error_is_end: bool = False) -> None:
        self._binaries = binaries
        self._records_max = records_max or 2**62
        self._read_error_is_end = read_error_is_end
        # of each block of each binary the equations or, if there is no room for them, its layout
        self._kept: list[list[list[Equations] | Layout | None]] = []
        self._room, self._layout_room = CACHE_BYTES, LAYOUT_BYTES
        self.sets = LabelSets()
        self.set_counts: IntArray = np.zeros(0, np.int64)
        self.set_sigmas = np.zeros(0)
        self.records = self.equations = self.locals_max = self.equations_max = 0
        self.truncated: set[int] = set()
        self.leftovers: dict[int, int] = {}
        self.sizes: Counter[int] = Counter()
        self.not_stored: Counter[int] = Counter()
        self.records_in: list[int] = []
        self.doubles = False

    def count(self, by_record: bool) -> dict[int, int]:
        """Return the entries of each label, equations or records; this reads everything for the first time."""
        by_label: Counter[int] = Counter()
        for number in range(len(self._binaries)):
            before = self.records
            for chunk in self._first_reading(number):
                self.equations += len(chunk.values)
                self.locals_max = max(self.locals_max, int(np.max(np.abs(chunk.n_locals))))
                self.equations_max = max(self.equations_max, int(np.max(np.diff(chunk.offsets))))
                counts = np.bincount(chunk.sets, minlength=len(self.sets))
                sigmas = np.asarray(np.bincount(chunk.sets, chunk.sigmas, len(self.sets)), np.float64)
                counts[: len(self.set_counts)] += self.set_counts
                sigmas[: len(self.set_sigmas)] += self.set_sigmas
                self.set_counts, self.set_sigmas = counts, sigmas
                if by_record:
                    by_label.update(_labels_of_records(chunk, self.sets.labels))
            self.records_in.append(self.records - before)
        return dict(by_label) if by_record else self.entries()

    def entries(self, sets: BoolArray | slice = _ALL) -> dict[int, int]:
        """Return the equations of each label in the given sets."""
        by_label: Counter[int] = Counter()
        for row in self.sets.labels:
            for label, count in zip(row[sets].tolist(), self.set_counts[sets].tolist(), strict=True):
                by_label[label] += count
        del by_label[0]
        return dict(by_label)

    def __iter__(self) -> Iterator[Equations]:
        for number in range(len(self._binaries)):
            yield from self.of_binary(number)

    def of_binary(self, number: int) -> Iterator[Equations]:
        """Yield the equations of one binary."""
        binary, kept = self._binaries[number], self._kept[number]
        decoded = [chunks for chunks in kept if isinstance(chunks, list)]
        if len(decoded) == len(kept):
            yield from chain.from_iterable(decoded)
            return
        for block, known in zip(self._blocks(number, self.records_in[number]), kept, strict=False):
            if isinstance(known, list):
                yield from known
            elif known is not None and np.array_equal(known.lengths, block.lengths):
                yield decode_again(block, known, binary.weight, number)
            else:
                yield from (chunk for chunk, _ in decode(block, self.sets, binary.path, binary.weight, number))

    def _first_reading(self, number: int) -> Iterator[Equations]:
        """Read a binary, and keep as many of its first blocks as there is room for."""
        binary = self._binaries[number]
        kept: list[list[Equations] | Layout | None] = []
        self._kept.append(kept)
        for block in self._blocks(number, self._records_max - self.records):
            self.records += len(block.starts)
            self.sizes.update(_counts(np.abs(block.lengths)))
            self.doubles |= bool((block.lengths < 0).any())
            self.not_stored.update(_not_stored(block))
            chunks: list[Equations] = []
            layout: Layout | None = None
            for chunk, of_block in decode(block, self.sets, binary.path, binary.weight, number):
                layout = of_block
                self._room -= size_bytes(chunk)
                if self._room >= 0:
                    chunks.append(chunk)
                yield chunk
            if self._room >= 0:
                kept.append(chunks)
            elif layout is not None and self._layout_room > 0:
                kept.append(layout)
                self._layout_room -= size_bytes(layout)
            else:
                kept.append(None)

    def _blocks(self, number: int, records_max: int) -> Iterator[Block]:
        binary = self._binaries[number]
        try:
            for block in iterate_blocks(binary.path, BLOCK_BYTES, fortran=binary.fortran):
                left = records_max - block.first
                if left <= 0:
                    return
                yield block._replace(starts=block.starts[:left], lengths=block.lengths[:left])
        except LeftoverError as error:
            self.leftovers[number] = error.number
        except MilleError as error:
            if not self._read_error_is_end or error.code != 18:
                error.binary = number + 1
                raise
            self.truncated.add(number)


def _not_stored(block: Block) -> dict[int, int]:
    """Count the writer's nonzero error counts, which are the index of each record's first word."""
    lengths = block.lengths
    counts = block.words[block.starts + 1 + np.abs(lengths) // 2 * np.where(lengths < 0, 2, 1)]
    return _counts(counts[counts != 0])


def _counts(numbers: npt.NDArray[np.integer]) -> dict[int, int]:
    """Return how often each number occurs."""
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _labels_of_records(chunk: Equations, labels: IntArray) -> list[int]:
    """Return the labels that occur in each record, concatenated."""
    owner = np.repeat(np.arange(len(chunk.n_locals)), np.diff(chunk.offsets))
    pairs = np.unique(np.stack([np.tile(owner, len(labels)), labels[:, chunk.sets].ravel()]), axis=1)
    return [label for label in pairs[1].tolist() if label]
