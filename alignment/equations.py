"""From Mille records to equations: flat arrays of many records at once.

An equation is one measurement of a record: its value, its error, its derivatives by the record's own (local)
parameters and by the global ones. Words of all equations lie one after the other, so that numpy works on thousands
of records in one go.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.records import MilleError, Records, measurement_markers, suspects

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LOCALS_MAX = 64


class Equations(NamedTuple):
    """Equations of records that have local parameters.

    Attributes:
        values, sigmas: shape (equations,).
        locals: shape (local parameters, equations): derivatives, zero where a word is absent.
        offsets: shape (records + 1,): equations ``offsets[i] ... offsets[i+1]`` belong to record i.
        n_locals: shape (records,): local parameters of each record.
        weights: shape (records,): weight of each record (1 unless the steering gives its file another).
        at: shape (words,): the equation of each global derivative.
        labels, factors: shape (words,): label and value of each global derivative.
    """

    values: FloatArray
    sigmas: FloatArray
    locals: FloatArray
    offsets: IntArray
    n_locals: IntArray
    weights: FloatArray
    at: IntArray
    labels: IntArray
    factors: FloatArray

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(column.nbytes for column in self)


def decode(records: Records, weight: float = 1.0) -> Equations:
    """Equations of ``records``; a record without local parameters has none, and special data are skipped.

    Raises MilleError (20) if a record's structure is broken, (28) if it has more local parameters than the solver
    can take.
    """
    records = _without_special_data(records)
    words = np.arange(len(records.indices))
    record = np.repeat(np.arange(len(records.offsets) - 1), np.diff(records.offsets))
    marker = records.indices == 0
    marker[records.offsets[:-1]] = False
    marks = words[marker]
    measured, errors = marks[::2], marks[1::2]
    order = np.cumsum(marker) - 1  # the marker before or at each word
    inside = ~marker & (order >= 0)
    inside[inside] = record[marks[order[inside]]] == record[inside]  # words before a record's first marker mean nothing
    is_local = inside & (order % 2 == 0)
    is_global = inside & (order % 2 == 1)

    equation = order // 2
    owner = record[measured]
    n_records = len(records.offsets) - 1
    n_locals = np.zeros(n_records, np.int64)
    if n_records:
        n_locals = np.maximum.reduceat(np.where(is_local, records.indices, 0), records.offsets[:-1]).astype(np.int64)
    if _largest(n_locals) > LOCALS_MAX:
        raise MilleError(
            f"a record has {_largest(n_locals)} local parameters; the built-in solver takes {LOCALS_MAX}", 28
        )
    used = n_locals[owner] > 0
    renumber = np.cumsum(used) - 1
    local = is_local & (records.indices > 0)
    derivatives = np.zeros((_largest(n_locals), int(used.sum())))
    at_local = equation[local]
    derivatives[records.indices[local] - 1, renumber[at_local]] = records.values[local]
    is_global[is_global] = used[equation[is_global]]

    kept = n_locals > 0
    counts = np.bincount(owner[used], minlength=n_records)[kept]
    return Equations(
        records.values[measured[used]],
        records.values[errors[used]],
        derivatives,
        np.concatenate([[0], np.cumsum(counts)]),
        n_locals[kept],
        np.full(int(kept.sum()), weight),
        renumber[equation[is_global]],
        records.indices[is_global].astype(np.int64),
        records.values[is_global],
    )


def _largest(numbers: IntArray) -> int:
    return int(np.max(numbers)) if len(numbers) else 0


def _without_special_data(records: Records) -> Records:
    """The same records with only the words that pede uses, where one may hold special data."""
    special = suspects(records)
    if not len(special):
        return records
    keep = np.ones(len(records.indices), np.bool_)
    for record in special:
        start, stop = int(records.offsets[record]), int(records.offsets[record + 1])
        found = measurement_markers(records, int(record))
        if found is None:
            raise MilleError(f"record {record + 1} has a broken structure", 20)
        keep[start + 1 : stop] = False
        for measured, _, end in zip(*found, strict=True):
            keep[measured:end] = True
    owner = np.repeat(np.arange(len(records.offsets) - 1), np.diff(records.offsets))
    sizes = np.bincount(owner[keep], minlength=len(records.offsets) - 1)
    return Records(records.values[keep], records.indices[keep], np.concatenate([[0], np.cumsum(sizes)]))
