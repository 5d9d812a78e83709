"""Number the sets of labels of equations.

A detector element measures with the same labels again and again, so there are far fewer sets of labels than equations.
What depends only on the labels is computed once per set, and sums over labels are first computed per set.
"""

import numpy as np

from faser_align.alignment.arrays import BoolArray, Int32Array, IntArray

_FACTOR = np.int64(6364136223846793005)  # of a polynomial modulo 2^64, from Knuth's generator MMIX
_SLOTS = 1 << 14


class LabelSets:
    """Known sets of labels; ``number`` numbers them in the order of their first appearance.

    Attributes:
        labels: shape (places, sets): labels of each set in the order of the words, then zeros.
    """

    def __init__(self) -> None:
        self.labels: IntArray = np.zeros((0, 0), np.int64)
        self._numbers: dict[int, int] = {}  # by 64-bit hash; accidental collisions are negligible
        self._slot_hash = np.zeros(_SLOTS, np.int64)
        self._slot_number = np.full(_SLOTS, -1, np.int32)

    def __len__(self) -> int:
        return int(self.labels.shape[1])

    @property
    def has_label(self) -> BoolArray:
        """Whether each set has any label."""
        return self.labels[0] > 0 if len(self.labels) else np.zeros(len(self), np.bool_)

    def number(self, labels: Int32Array) -> Int32Array:
        """Return the numbers of equations' sets; ``labels`` has shape (places, equations), padded with zeros."""
        hashes = np.zeros(labels.shape[1], np.int64)
        with np.errstate(over="ignore"):
            for place in range(len(labels) - 1, -1, -1):
                hashes *= _FACTOR
                hashes += labels[place]
        slots = (hashes >> 32) & (_SLOTS - 1)
        numbers = self._slot_number[slots]
        others = np.flatnonzero((self._slot_hash[slots] != hashes) | (numbers < 0))
        if len(others):
            unique, at, which = np.unique(hashes[others], return_index=True, return_inverse=True)
            self._learn(unique, labels[:, others[at]])
            numbers[others] = np.array([self._numbers[value] for value in unique.tolist()], np.int32)[which]
        return np.asarray(numbers, np.int32)

    def by_label(self) -> dict[int, IntArray]:
        """Return for each label the numbers of its sets, ascending."""
        places, numbers = np.nonzero(self.labels)
        labels = self.labels[places, numbers]
        order = np.lexsort((numbers, labels))
        labels, numbers = labels[order], numbers[order]
        new = np.diff(labels, prepend=-1) != 0
        keep = new | (np.diff(numbers, prepend=-1) != 0)  # a set may have a label twice
        parts = np.split(numbers[keep], np.flatnonzero(new[keep])[1:])
        return dict(zip(labels[new].tolist(), parts, strict=False))

    def _learn(self, hashes: IntArray, labels: Int32Array) -> None:
        new = [at for at, value in enumerate(hashes.tolist()) if value not in self._numbers]
        if not new:
            return
        count = len(self)
        places = max(len(self.labels), len(labels))
        table = np.zeros((places, count + len(new)), np.int64)
        table[: len(self.labels), :count] = self.labels
        table[: len(labels), count:] = labels[:, new]
        self.labels = table
        for number, at in enumerate(new, start=count):
            value = int(hashes[at])
            self._numbers[value] = number
            slot = (value >> 32) & (_SLOTS - 1)
            if self._slot_number[slot] < 0:
                self._slot_hash[slot], self._slot_number[slot] = value, number
