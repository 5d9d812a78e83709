"""Convert Mille records to equations, as columns of many records at once.

An equation is one measurement of a record: its value, its error, and its derivatives with respect to the record's own
(local) parameters and to the global ones. Columns contain the equations of all records, so that numpy processes
thousands of records at once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, Int32Array, IntArray
from faser_align.alignment.mille.blocks import Block, MilleError
from faser_align.alignment.mille.records import gather, measurement_markers, suspects
from faser_align.alignment.solver.label_sets import LabelSets

Floats = npt.NDArray[Any]  # float32 as in the file, or float64 for its double records

_WORDS_MAX = 1 << 22  # per array; larger blocks are halved
_TOGETHER = 2048  # records
_SHORT_MAX = 20  # maximum number of local parameters for which a record with fewer equations is still fitted


class Equations(NamedTuple):
    """Equations of the records that have any.

    Attributes:
        values, sigmas: shape (equations,).
        locals: shape (local parameters, equations): derivatives, zero where a word is absent.
        factors: shape (places, equations): derivatives with respect to the labels of the equation's set; zero beyond.
        sets: shape (equations,): number of the set of labels.
        offsets: shape (records + 1,): equations ``offsets[i] ... offsets[i+1]`` belong to record i.
        n_locals: shape (records,): number of local parameters, negative if there are fewer equations, so that they
            cannot be determined. A record with 0 is not fitted, but its labels count.
        weight: weight of each record (1 unless the steering sets another).
        records: shape (records,): number of each record in its binary, from 0. ``binary`` is the binary's number.
    """

    values: Floats
    sigmas: Floats
    locals: Floats
    factors: Floats
    sets: Int32Array
    offsets: IntArray
    n_locals: IntArray
    weight: float
    records: IntArray
    binary: int


class Layout(NamedTuple):
    """Positions of a block's equations, in a tenth of the memory of the equations.

    Attributes:
        locals, globals: shape (equations,): how many words follow the value and the error of each.
        sets, offsets, n_locals, records: as in ``Equations``.
        lengths: L of each record of the block.
    """

    locals: npt.NDArray[np.uint8]
    globals: npt.NDArray[np.uint8]
    sets: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.uint32]
    n_locals: npt.NDArray[np.int16]
    records: npt.NDArray[np.uint32]
    lengths: Int32Array


def size_bytes(columns: Equations | Layout) -> int:
    """Return the size of the arrays."""
    return sum(column.nbytes for column in columns if isinstance(column, np.ndarray))


def selected(chunk: Equations, keep: BoolArray) -> Equations:
    """Return some of a chunk's records; ``keep`` has shape (records,)."""
    counts = np.diff(chunk.offsets)
    at = np.flatnonzero(np.repeat(keep, counts))
    return chunk._replace(
        values=chunk.values[at],
        sigmas=chunk.sigmas[at],
        locals=chunk.locals[:, at],
        factors=chunk.factors[:, at],
        sets=chunk.sets[at],
        offsets=np.concatenate([[0], np.cumsum(counts[keep])]),
        n_locals=chunk.n_locals[keep],
        records=chunk.records[keep],
    )


def joined(chunks: Sequence[Equations]) -> Iterator[Equations]:
    """Yield the same records in chunks of about as many as a block has, each of one binary."""
    together: list[Equations] = []
    for chunk in chunks:
        if together and (together[0].binary != chunk.binary or sum(len(c.records) for c in together) >= _TOGETHER):
            yield _joined(together)
            together = []
        together.append(chunk)
    if together:
        yield _joined(together)


def _joined(chunks: Sequence[Equations]) -> Equations:
    counts = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    return chunks[0]._replace(
        values=np.concatenate([chunk.values for chunk in chunks]),
        sigmas=np.concatenate([chunk.sigmas for chunk in chunks]),
        locals=side_by_side([chunk.locals for chunk in chunks]),
        factors=side_by_side([chunk.factors for chunk in chunks]),
        sets=np.concatenate([chunk.sets for chunk in chunks]),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        n_locals=np.concatenate([chunk.n_locals for chunk in chunks]),
        records=np.concatenate([chunk.records for chunk in chunks]),
    )


def side_by_side(arrays: Sequence[Floats]) -> Floats:
    """Return arrays of different numbers of rows beside each other, padded with zeros."""
    shape = max(map(len, arrays)), sum(array.shape[1] for array in arrays)
    joined, begin = np.zeros(shape, np.result_type(*arrays)), 0
    for array in arrays:
        joined[: len(array), begin : begin + array.shape[1]] = array
        begin += array.shape[1]
    return joined


def decode(
    block: Block, sets: LabelSets, path: object, weight: float = 1.0, binary: int = 0
) -> Iterator[tuple[Equations, Layout | None]]:
    """Yield the equations of a block, in one piece if it is not too large.

    Special data are skipped, whatever their indices are. The layout of the block is None if this has special data,
    double records or more than one piece.

    Args:
        sets: adds new sets of labels.
        path: path of the binary, for messages.
        weight: weight of its records.
        binary: number of the binary.

    Raises MilleError (20) if a record's structure is broken, a value is not a number or an index is negative.
    """
    indices, values, offsets = _columns(block)
    records = _with_nan(block, values, offsets)
    if len(records):
        raise MilleError(f"{path}: record {block.first + records[0] + 1} contains a value that is not a number", 20)
    zeros = np.flatnonzero(indices == 0)
    ends = np.searchsorted(zeros, offsets)
    doubtful = suspects(zeros, ends, values)
    as_written = _is_plain(block)
    if len(doubtful):
        words = len(indices)
        indices, values, offsets = _without_special_data(indices, values, offsets, doubtful, f"{path}", block.first)
        as_written = as_written and len(indices) == words
        zeros = np.flatnonzero(indices == 0)
        ends = np.searchsorted(zeros, offsets)
    if len(indices) and int(np.min(indices)) < 0:
        record = int(np.searchsorted(offsets, np.flatnonzero(indices < 0)[0], side="right"))
        raise MilleError(f"{path}: record {block.first + record} contains a negative index", 20)
    numbers = block.first + np.arange(len(block.starts))
    for chunk, layout in _assemble(indices, values, offsets, zeros, ends // 2, numbers, sets):
        if layout is not None:
            whole = as_written and 2 * len(chunk.values) == len(zeros)
            layout = layout._replace(lengths=block.lengths.astype(np.int32)) if whole else None
        yield chunk._replace(weight=weight, binary=binary), layout


def decode_again(block: Block, layout: Layout, weight: float = 1.0, binary: int = 0) -> Equations:
    """Return the equations of a block whose layout is known."""
    values = block.words.view("<f4")
    local_words, global_words = layout.locals.astype(np.int64), layout.globals.astype(np.int64)
    offsets = layout.offsets.astype(np.int64)
    counts, records = np.diff(offsets), layout.records.astype(np.int64)
    sizes = local_words + global_words + 2
    # words of the equations before, in the same record if its first ones are subtracted
    before = np.cumsum(sizes) - sizes
    measured = before + np.repeat(block.starts[records - block.first] + 2 - before[offsets[:-1]], counts)
    errors = measured + 1 + local_words
    return Equations(
        values[measured],
        values[errors],
        _padded(values, measured, local_words, int(np.max(local_words))),
        _padded(values, errors, global_words, int(np.max(global_words))),
        layout.sets.astype(np.int32),
        offsets,
        layout.n_locals.astype(np.int64),
        weight,
        records,
        binary,
    )


def _is_plain(block: Block) -> bool:
    """Return whether all records are single ones, one after the other."""
    return bool((block.lengths > 0).all() and (np.diff(block.starts) == block.lengths[:-1] + 1).all())


def _columns(block: Block) -> tuple[Int32Array, Floats, IntArray]:
    """Return indices and values of all words except each record's first one, which has no meaning."""
    words, sizes = block.words, np.abs(block.lengths) // 2 - 1
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    if _is_plain(block):
        words = words[block.starts[0] : block.starts[-1] + 2 * sizes[-1] + 3]
        # a record has its length, an unused value, the values, an unused index, and the indices
        parts = np.stack([np.full_like(sizes, 2), sizes, np.ones_like(sizes), sizes], axis=1).ravel()
        is_value, is_index = (np.tile(of, len(sizes)) for of in ([False, True, False, False], [False] * 3 + [True]))
        return words[np.repeat(is_index, parts)], words.view("<f4")[np.repeat(is_value, parts)], offsets
    records = gather(block)
    keep = np.ones(len(records.indices), np.bool_)
    keep[records.offsets[:-1]] = False
    return records.indices[keep], records.values[keep], offsets


def _with_nan(block: Block, values: Floats, offsets: IntArray) -> IntArray:
    """Return the records with a NaN, also in the first word, which pede checks too."""
    starts, wide = block.starts, block.lengths < 0
    first = np.isnan(block.words.view("<f4")[starts + 1])
    if wide.any():
        pairs = np.stack([block.words[starts[wide] + 1], block.words[starts[wide] + 2]], axis=-1)
        first[wide] = np.isnan(pairs.view("<f8")[:, 0])
    nan = np.flatnonzero(np.isnan(values))
    if not len(nan) and not first.any():
        return nan
    return np.union1d(np.flatnonzero(first), np.searchsorted(offsets, nan, side="right") - 1)


def _without_special_data(
    indices: Int32Array, values: Floats, offsets: IntArray, doubtful: IntArray, path: str, first: int
) -> tuple[Int32Array, Floats, IntArray]:
    """Return the records reduced to the words that pede uses."""
    keep = np.ones(len(indices), np.bool_)
    for record in doubtful.tolist():
        start, stop = int(offsets[record]), int(offsets[record + 1])
        # with the first word, which the columns lack
        markers = measurement_markers(np.append(np.int32(0), indices[start:stop]), np.append(0.0, values[start:stop]))
        if markers is None:
            raise MilleError(f"{path}: record {first + record + 1} has a broken structure", 20)
        keep[start:stop] = False
        for measured, _, end in zip(*markers, strict=True):
            keep[start + measured - 1 : start + end - 1] = True
    sizes = np.add.reduceat(np.append(keep, False), offsets)[:-1] if len(keep) else np.zeros(0, np.int64)
    sizes[np.diff(offsets) == 0] = 0
    return indices[keep], values[keep], np.concatenate([[0], np.cumsum(sizes)])


def _assemble(
    indices: Int32Array,
    values: Floats,
    offsets: IntArray,
    zeros: IntArray,
    firsts: IntArray,
    numbers: IntArray,
    sets: LabelSets,
) -> Iterator[tuple[Equations, Layout | None]]:
    """Yield columns of the records ``numbers``, and their layout if it is complete.

    ``firsts`` is the number of equations before each record.
    """
    measured, errors = zeros[0::2], zeros[1::2]
    counts = np.diff(firsts)
    if not len(measured):
        return
    stops = np.append(measured[1:], 0)
    stops[firsts[1:][counts > 0] - 1] = offsets[1:][counts > 0]
    local_words, global_words = errors - measured - 1, stops - errors - 1
    n_max, places = int(np.max(local_words)), int(np.max(global_words))
    if len(counts) > 1 and max(n_max, places, 1) * len(measured) > _WORDS_MAX:
        middle = len(counts) // 2
        word, marker = int(offsets[middle]), int(firsts[middle])
        left = (indices[:word], values[:word], offsets[: middle + 1], zeros[: 2 * marker], firsts[: middle + 1])
        yield from _assemble(*left, numbers[:middle], sets)
        right = (indices[word:], values[word:], offsets[middle:] - word, zeros[2 * marker :] - word)
        yield from _assemble(*right, firsts[middle:] - marker, numbers[middle:], sets)
        return
    locals_of = _padded(indices, measured, local_words, n_max)
    last = np.max(locals_of, axis=0, initial=0)
    begins, numbers = firsts[:-1][counts > 0], numbers[counts > 0]
    counts = counts[counts > 0]
    n_locals = np.maximum.reduceat(last, begins)
    n_locals = np.where(n_locals > counts, -n_locals, n_locals)
    n_derivatives = int(np.max(np.where(np.abs(n_locals) <= _SHORT_MAX, np.abs(n_locals), n_locals), initial=0))
    labels = _padded(indices, errors, global_words, places)
    derivatives = _padded(values, measured, local_words, n_max)
    # whether the local parameters of each equation are the first ones, in order
    first = np.arange(1, n_max + 1)[:, None]
    in_order = n_derivatives == n_max and bool(((locals_of == first) | (locals_of == 0)).all())
    chunk = Equations(
        values[measured],
        values[errors],
        derivatives if in_order else _locals(locals_of, derivatives, n_derivatives),
        _padded(values, errors, global_words, places),
        sets.number(labels),
        np.concatenate([[0], np.cumsum(counts)]),
        n_locals,
        1.0,
        numbers,
        0,
    )
    layout = Layout(
        local_words.astype(np.uint8),
        global_words.astype(np.uint8),
        chunk.sets.astype(np.uint16),
        chunk.offsets.astype(np.uint32),
        chunk.n_locals.astype(np.int16),
        chunk.records.astype(np.uint32),
        np.zeros(0, np.int32),
    )
    fits = max(n_max, places) < 1 << 8 and len(sets) < 1 << 16
    yield chunk, layout if in_order and fits else None


def _padded(column: npt.NDArray[Any], before: IntArray, lengths: IntArray, places: int) -> npt.NDArray[Any]:
    """Return the words after ``before`` in rows of equal length, padded with zeros, shape (places, equations)."""
    padded = np.empty((places, len(before)), column.dtype)
    shortest = int(np.min(lengths))
    for place in range(places):
        np.take(column, before + (1 + place), out=padded[place], mode="clip")
        if place >= shortest:
            padded[place, lengths <= place] = 0
    return padded


def _locals(numbers: Int32Array, values: Floats, n_locals: int) -> Floats:
    """Return the derivatives by number of the local parameter, shape (n_locals, equations).

    Args:
        numbers: number of the parameter at each place of an equation, shape (places, equations), zero beyond its words.
        values: derivative at each place.
        n_locals: how many parameters there are.
    """
    derivatives = np.zeros((n_locals, numbers.shape[1]), values.dtype)
    for number, value in zip(numbers, values, strict=True):
        there = np.flatnonzero((number > 0) & (number <= n_locals))
        derivatives[number[there] - 1, there] = value[there]
    return derivatives
