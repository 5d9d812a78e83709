"""Convert the reconstruction's ``kfalignment`` ROOT files to Mille records.

The bytes are those of faser-alignment-script's converter. One track is one record: ``int32 2n``, n float32 values, n
int32 indices; word 0 is (0, errors). A hit adds ``(residual, 0)``, five ``(d residual/d track, 1..5)``, ``(sigma, 0)``
and seven ``(d residual/d parameter, label)``: x of the module's side, rz of the module, and x y rx ry rz of the layer.
Derivatives that are exactly zero as float32, and hits without an error, are omitted.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, Int32Array, IntArray
from faser_align.alignment.mille import kfalignment
from faser_align.alignment.mille.counts import MOMENTUM_EDGES_GEV, RESIDUAL_EDGES_MM, Counts, write_counts
from faser_align.alignment.mille.derivatives import constants_derivatives
from faser_align.alignment.mille.distributions import Distributions, write_distributions
from faser_align.alignment.mille.kfalignment import Tracks
from faser_align.alignment.parameters.constants import DOFS, Six
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, replacing

_BUFFER_WORDS = 5000  # as in Mille.cpp; a hit that does not fit is dropped and counted in word 0
_BLOCK_TRACKS = 500  # whose records are made at a time: arrays that stay in the processor's cache and in the heap
_LOCALS = len(kfalignment.LOCAL_BRANCHES)
_RESIDUAL, _ERROR = "fitParam_align_local_residual_x", "fitParam_align_local_measured_xe"
_WORDS = (_RESIDUAL, *kfalignment.LOCAL_BRANCHES, _ERROR, *kfalignment.GLOBAL_BRANCHES)  # of a hit
_WORDS_PER_HIT = len(_WORDS)
_BY_LAYER = "fitParam_align_global_derivation_y_"
_BY_LAYER_Y = f"{_BY_LAYER}y"
_P_MIN_GEV = 10.0  # smaller momenta count as this one, so that sums stay exact
_ROUNDING = 1e-9  # of positions in units of bins
_SMALLEST = 2.0**-150  # what is not above it is zero as float32
_INVALID = -9000.0  # the reconstruction writes -9999 for a missing derivative


@dataclass(frozen=True)
class Cuts:
    """Selection of tracks and hits.

    Attributes:
        chi2_max: largest chi2 of a track.
        pz_min, pz_max: momentum window (GeV).
        hits_min: smallest number of hits of a track.
        residual_max: largest absolute residual of a hit (mm).
        derivative_max: largest absolute derivative with respect to rx or ry of the layer (mm/rad). Not applied with the
            pivot ``layer``, whose derivatives are as large as the distance of modules from their layer's plane.
        pivot: point and axes of the layer's rx, ry and rz derivatives. ``calypso`` keeps the written ones, about the z
            of the hit (CKF2Alignment.cxx); ``layer`` makes them those of the constants, which rotate a layer about its
            own z (``derivatives``).
        same_hits: whether ``layer`` also omits the hits that ``calypso`` omits, so that both use the same hits.
    """

    chi2_max: float = 2000.0
    pz_min: float = 100.0
    pz_max: float = 5000.0
    hits_min: int = 15
    residual_max: float = 0.05
    derivative_max: float = 10.0
    pivot: Literal["calypso", "layer"] = "calypso"
    same_hits: bool = False

    def __post_init__(self) -> None:
        if self.pivot not in ("calypso", "layer"):
            raise UserError(f'pivot is "{self.pivot}"; allowed are "calypso" and "layer"')
        for name in ("chi2_max", "residual_max", "derivative_max"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name):g}; must be above zero")
        if self.hits_min < 0:
            raise UserError(f"hits_min is {self.hits_min}; must be at least 0")
        if not self.pz_min < self.pz_max:
            raise UserError(f"pz_min is {self.pz_min:g} and pz_max {self.pz_max:g} GeV; pz_min must be smaller")


def convert(
    inputs: Sequence[Name],
    output: Name,
    cuts: Cuts,
    *,
    constants: Mapping[str, Six] | None = None,
    any_element: bool = False,
    passed: Callable[[Tracks], None] | None = None,
) -> Counts:
    """Convert kfalignment files to one Mille binary, in bounded memory.

    The output appears under its name only when complete; a failure leaves no file.

    Args:
        inputs: ROOT files, in the order of their records.
        output: Mille binary to write.
        cuts: selection of tracks and hits.
        constants: constants of the reconstruction (mm, rad), for the pivot ``layer``; without them the layers and
            modules count as in their nominal positions.
        any_element: whether to accept hits on elements outside FASER's tracker, such as those of other detectors. Not
            possible with the pivot ``layer``, which needs the nominal z.
        passed: called with the tracks that pass the cuts on tracks, part by part, with all their hits.

    Returns:
        Counts of what was read, rejected and written.

    Raises:
        UserError: an input is missing, truncated, of another kind or given twice, lacks a branch, or contains no tracks
            or a value that is not finite; no track passes the cuts; or the output is an input or cannot be written.
    """
    _check_names(inputs, output)
    counts = Counts(files=len(inputs))
    placed = None if cuts.pivot == "calypso" else constants or {}
    reading = partial(kfalignment.read_tracks, any_element=any_element and placed is None, measured=placed is not None)
    try:
        with replacing(output) as file:
            for tracks in chain.from_iterable(map(reading, inputs)):
                used, kept, counted = apply_cuts(tracks, cuts)
                counts += Counts(**counted | _write(file, used, kept, placed))
                if passed is not None:
                    passed(used)
            counts = replace(counts, files_uncompressed=sum(not kfalignment.is_compressed(source) for source in inputs))
            if not counts.tracks_written:
                raise UserError(_nothing_left(inputs, counts))
    except OSError as error:
        raise _not_written(output, error) from error
    return counts


def convert_and_count(
    inputs: Sequence[Name],
    output: Name,
    cuts: Cuts,
    *,
    constants: Mapping[str, Six] | None = None,
    any_element: bool = False,
    histograms: Name | None = None,
) -> Counts:
    """Convert as ``convert`` does, and write the counts to ``<output>.json``: all files or none.

    Other arguments, result and errors are those of ``convert``; also raises UserError if the counts cannot be written.

    Args:
        histograms: file to write the histograms of the tracks that pass to; None writes none.
    """
    filled = Distributions.empty()

    def fill(tracks: Tracks) -> None:
        nonlocal filled
        filled += Distributions.of(tracks)

    passed = None if histograms is None else fill
    counts = convert(inputs, output, cuts, constants=constants, any_element=any_element, passed=passed)
    counts = replace(counts, bytes_written=os.path.getsize(output))
    written, writing = [output], histograms or f"{output}.json"
    try:
        if histograms is not None:
            write_distributions(histograms, filled)
            written.append(histograms)
        writing = f"{output}.json"
        write_counts(writing, counts)
    except OSError as error:
        for path in written:
            Path(path).unlink(missing_ok=True)
        raise _not_written(writing, error) from error
    return counts


def _not_written(path: Name, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror}; check the folder, its permissions and space")


def _check_names(inputs: Sequence[Name], output: Name) -> None:
    if not inputs:
        raise UserError("nothing to convert; give kfalignment files")
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise UserError(f"cannot write {output}: the folder {folder} does not exist; make it first")
    seen: dict[str, str] = {}
    for source in inputs:
        real = os.path.realpath(source)
        if real in seen:
            same = "" if seen[real] == str(source) else f" (the same file as {seen[real]})"
            raise UserError(f"{source} is given twice{same}, which would count its tracks twice; give each file once")
        seen[real] = str(source)
    for written in (str(output), f"{output}.json"):
        if os.path.realpath(written) in seen:
            raise UserError(f"the output {written} is also an input; give it another name with -o")


def _nothing_left(inputs: Sequence[Name], counts: Counts) -> str:
    names = str(inputs[0]) + (f" and {len(inputs) - 1} more" if len(inputs) > 1 else "")
    return (
        f"{names}: none of {counts.tracks_read} tracks is left: cut are {counts.tracks_cut_chi2} by chi2, "
        f"{counts.tracks_cut_pz} by pz, {counts.tracks_cut_hits} by hits, and {counts.hits_cut_residual} hits of the "
        f"others by residual, {counts.hits_cut_derivative} by derivative; widen the cuts, or reconstruct again"
    )


def apply_cuts(tracks: Tracks, cuts: Cuts) -> tuple[Tracks, BoolArray, dict[str, Any]]:
    """Return the tracks that pass, which of their hits pass, and the counts that are known before records are written."""
    chi2, pz = tracks.flat["fitParam_chi2"], tracks.flat["fitParam_pz"]
    failed_chi2 = chi2 > cuts.chi2_max
    failed_pz = (pz < cuts.pz_min) | (pz > cuts.pz_max)
    failed_hits = tracks.lengths < cuts.hits_min
    used = ~(failed_chi2 | failed_pz | failed_hits)
    counted: dict[str, Any] = {
        "tracks_read": len(tracks.lengths),
        "tracks_modelled": len(tracks.lengths) if tracks.modelled else 0,
        "tracks_cut_chi2": int(failed_chi2.sum()),
        "tracks_cut_pz": int((failed_pz & ~failed_chi2).sum()),
        "tracks_cut_hits": int((failed_hits & ~failed_chi2 & ~failed_pz).sum()),
        "modules_cut_chi2": _by_module(tracks.modules[np.repeat(failed_chi2, tracks.lengths)]).reshape(12, 8),
    }
    tracks = tracks.select(used)
    kept, hits = _cut_hits(tracks, cuts)
    return tracks, kept, counted | _count_tracks(tracks, cuts) | hits


def _count_tracks(tracks: Tracks, cuts: Cuts) -> dict[str, Any]:
    pz, charge = tracks.flat["fitParam_pz"], tracks.flat["fitParam_charge"]
    p = np.sqrt(tracks.flat["fitParam_px"] ** 2 + tracks.flat["fitParam_py"] ** 2 + pz**2)
    residuals = tracks.hits[_RESIDUAL]
    layer_bins = len(RESIDUAL_EDGES_MM) + 1
    bins = tracks.layers * layer_bins + _residual_bins(residuals)
    curvature = np.rint(1e6 * np.sign(charge) / np.maximum(p, _P_MIN_GEV))
    momentum_bins = len(MOMENTUM_EDGES_GEV) + 1
    charges = np.where(charge < 0, momentum_bins, 0) + np.searchsorted(MOMENTUM_EDGES_GEV, p, side="right")
    return {
        "hits_read": len(residuals),
        "hits_foreign": int((tracks.sides == kfalignment.FOREIGN_SIDE).sum()),
        "chi2": float(tracks.flat["fitParam_chi2"].sum()),
        "ndf": int(np.maximum(tracks.lengths - _LOCALS, 0).sum()),
        "edge_low": int((pz < 1.1 * cuts.pz_min).sum()),
        "edge_high": int((pz > 0.9 * cuts.pz_max).sum()),
        **_sums_of_residuals(tracks, np.repeat(curvature, tracks.lengths)),
        "residual_bins": np.bincount(bins, minlength=13 * layer_bins)[: 12 * layer_bins].reshape(12, layer_bins),
        "momentum_bins": np.bincount(charges, minlength=2 * momentum_bins).reshape(2, momentum_bins),
    }


def _residual_bins(residuals: FloatArray) -> IntArray:
    """Return the bins that ``searchsorted`` on ``RESIDUAL_EDGES_MM`` gives, from their constant width."""
    bins = len(RESIDUAL_EDGES_MM) - 1
    per_mm = bins / (RESIDUAL_EDGES_MM[-1] - RESIDUAL_EDGES_MM[0])
    exact = np.clip((residuals - RESIDUAL_EDGES_MM[0]) * per_mm + 1.0, 0.0, bins + 1.0)
    found: IntArray = exact.astype(np.int64)
    doubtful = np.flatnonzero(np.abs(exact - np.rint(exact)) < _ROUNDING)  # rounding may have crossed an edge
    found[doubtful] = np.searchsorted(RESIDUAL_EDGES_MM, residuals[doubtful], side="right")
    return found


def _sums_of_residuals(tracks: Tracks, curvature: FloatArray) -> dict[str, IntArray]:
    """Return sums over the hits within the range of the histograms: by module, by side, and by layer.

    ``quality.magnets`` computes the slope of residuals against q/p from those by layer. These residuals are along the
    global y. The last sum tells which way tracks of positive charge bend.

    Args:
        tracks: tracks that pass the cuts.
        curvature: q/p of each hit's track.
    """
    near = np.abs(tracks.hits[_RESIDUAL]) <= RESIDUAL_EDGES_MM[-1]
    chosen: Any = ... if near.all() else np.flatnonzero(near)
    residuals, by_y, by_qop = (
        tracks.hits[name][chosen] for name in (_RESIDUAL, _BY_LAYER_Y, kfalignment.LOCAL_BRANCHES[4])
    )
    sides, curvature = tracks.sides[chosen], curvature[chosen]
    # Sums of integers below 2^53 are exact in double precision.
    residuals_nm = np.rint(residuals * 1e6)
    sums = [np.bincount(sides, powers, minlength=193)[:192] for powers in (None, residuals_nm, residuals_nm**2)]
    by_side = np.stack(sums, axis=-1).astype(np.int64).reshape(12, 8, 2, 3)
    along = -np.sign(by_y)
    along_y, bends = along * residuals_nm, np.rint(along * by_qop)
    layers = sides >> 4
    by_layer = [
        np.bincount(layers, weights, minlength=13)[:12]
        for weights in (along_y, curvature, curvature**2, along_y * curvature, bends)
    ]
    hits, _, squares = np.moveaxis(by_side.sum(axis=(1, 2)), -1, 0)
    columns_of_layer = (hits, *by_layer[:4], squares, by_layer[4])
    return {
        "module_residuals": by_side.sum(axis=2),
        "side_residuals": by_side,
        "curvature_residuals": np.stack(columns_of_layer, axis=-1).astype(np.int64),
    }


def _cut_hits(tracks: Tracks, cuts: Cuts) -> tuple[BoolArray, dict[str, Any]]:
    failed_residual = np.abs(tracks.hits[_RESIDUAL]) > cuts.residual_max
    failed = np.zeros(len(failed_residual), np.bool_)
    if cuts.pivot == "calypso" or cuts.same_hits:
        for dof in ("rx", "ry"):
            failed |= np.abs(tracks.hits[_BY_LAYER + dof]) > cuts.derivative_max
    for branch in kfalignment.SENTINEL_BRANCHES:
        column = tracks.hits[branch]
        if len(column) and float(np.min(column)) < _INVALID:
            failed |= column < _INVALID
    kept = ~(failed_residual | failed)
    failed &= ~failed_residual
    modules = tracks.modules
    cut_residual, cut_derivative = (_by_module(modules[chosen]) for chosen in (failed_residual, failed))
    used = _by_module(modules) - cut_residual - cut_derivative
    return kept, {
        "hits_cut_residual": int(failed_residual.sum()),
        "hits_cut_derivative": int(failed.sum()),
        "modules": np.stack([used, cut_residual], axis=-1).reshape(12, 8, 2),
        "modules_cut_derivative": cut_derivative.reshape(12, 8),
    }


def _by_module(modules: IntArray) -> npt.NDArray[Any]:
    """Return the hits of FASER's 96 modules, without elements outside the tracker."""
    return np.bincount(modules, minlength=97)[:96]


def _write(file: BinaryIO, tracks: Tracks, kept: BoolArray, constants: Mapping[str, Six] | None) -> dict[str, Any]:
    """Write the records of the kept hits, block by block, and return the counts of these records."""
    written = {"tracks_written": 0, "measurements": 0}
    ends = np.cumsum(tracks.lengths)
    for start in range(0, len(ends), _BLOCK_TRACKS):
        block = slice(start, start + _BLOCK_TRACKS)
        of_block = slice(int(ends[start] - tracks.lengths[start]), int(ends[block][-1]))
        records, hits = _words(tracks.part(block, of_block), kept[of_block], constants)
        file.write(records)
        written["tracks_written"] += len(hits)
        written["measurements"] += int(hits.sum())
    return written


def _words(tracks: Tracks, kept: BoolArray, constants: Mapping[str, Six] | None) -> tuple[Int32Array, IntArray]:
    """Return the records of the kept hits, and the number of measurements in each."""
    kept = kept & (tracks.hits[_ERROR] > _SMALLEST)
    values = hit_words(tracks, kept, constants)
    labels = _labels_of_elements().take(tracks.ids[kept], axis=0)
    absent = values == 0
    absent[:, (0, _LOCALS + 1)] = False  # measured values and errors are always written
    hits = _in_tracks(kept, tracks.lengths)
    errors = np.zeros(len(hits), np.int64)
    if (hits * _WORDS_PER_HIT >= _BUFFER_WORDS - _WORDS_PER_HIT).any():
        fits = _fitting(_WORDS_PER_HIT - np.count_nonzero(absent, axis=1), hits)
        values, labels, absent = values[fits], labels[fits], absent[fits]
        fitting = _in_tracks(fits, hits)
        errors, hits = hits - fitting, fitting
    errors, hits = errors[hits > 0], hits[hits > 0]
    return _records(values, labels, np.flatnonzero(absent), hits, errors), hits


def _in_tracks(values: npt.NDArray[Any], lengths: IntArray) -> IntArray:
    """Return the sum over the hits of each track, whose numbers are ``lengths``."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    ends = np.cumsum(lengths)
    return np.asarray(sums[ends] - sums[ends - lengths])


def hit_words(tracks: Tracks, kept: BoolArray, constants: Mapping[str, Six] | None = None) -> npt.NDArray[np.float32]:
    """Return the words of each kept hit: residual, five local derivatives, error, seven global ones, shape (hits, 14).

    With ``constants``, the derivatives by rotations of layers are those of the constants.
    """
    chosen = np.flatnonzero(kept)
    words = np.empty((len(kept), _WORDS_PER_HIT), np.float32)
    for place, branch in enumerate(_WORDS):
        words[:, place] = tracks.hits[branch]
    words = words.take(chosen, axis=0)
    if constants is not None:
        written = {dof: tracks.hits[_BY_LAYER + dof][chosen] for dof in DOFS}
        measured = tracks.hits.get(kfalignment.MEASURED_BRANCH)  # older files lack it: the middle of the sensor
        at = np.zeros(len(chosen)) if measured is None else measured[chosen]
        for dof, column in constants_derivatives(written, tracks.ids[chosen], at, constants).items():
            words[:, _WORDS.index(_BY_LAYER + dof)] = column
    return words


def _fitting(words: IntArray, hits: IntArray) -> BoolArray:
    """Return which hits fit into Mille's buffer after earlier hits of their track."""
    before = np.cumsum(words) - words
    first = np.repeat(np.cumsum(hits) - hits, hits)
    return np.asarray(before - before[first] + _WORDS_PER_HIT < _BUFFER_WORDS)


def _records(
    values: npt.NDArray[np.float32], labels: Int32Array, absent: IntArray, hits: IntArray, errors: IntArray
) -> Int32Array:
    """Return one little-endian record for each track.

    Args:
        values, labels: words of all hits, in order, shape (hits, 14).
        absent: places in the flattened words of those that are omitted.
        hits: number of hits of each track, at least 1.
        errors: word 0 of each track.
    """
    if not len(hits):
        return np.zeros(0, np.int32)
    sizes = _WORDS_PER_HIT * hits  # with the words that are omitted
    ends = np.cumsum(2 * sizes + 3)
    starts, middles = ends - 2 * sizes - 3, ends - sizes - 1
    track = np.repeat(np.arange(len(hits)), hits)
    row = _WORDS_PER_HIT * np.arange(len(values)) - (np.cumsum(sizes) - sizes)[track]  # of each hit within its track
    hit, place = np.divmod(absent, _WORDS_PER_HIT)
    records = np.zeros(ends[-1], "<i4")  # word 0 of the values is zero
    written = np.ones(len(records), np.bool_)
    # One element for the 14 words from each word on, so that the words of a hit are copied at once.
    rows = np.ndarray((len(records) - _WORDS_PER_HIT + 1,), f"V{4 * _WORDS_PER_HIT}", records, strides=(4,))
    for first, words in (
        (starts + 2, values.astype("<f4", copy=False)),
        (middles + 1, labels.astype("<i4", copy=False)),
    ):
        at = first[track] + row
        rows[at] = words.view(rows.dtype)[:, 0]
        written[at[hit] + place] = False
    records[starts] = 2 * (sizes - np.bincount(track[hit], minlength=len(hits)) + 1)
    records[middles] = errors
    return records[written]


@cache
def _labels_of_elements() -> Int32Array:
    """Return the integers that go with ``hit_words`` by element, shape (elements, 14)."""
    elements = np.arange(kfalignment.ELEMENTS_MAX)
    labels = np.zeros((len(elements), _WORDS_PER_HIT), np.int32)
    labels[:, 1 : _LOCALS + 1] = np.arange(1, _LOCALS + 1)
    labels[:, _LOCALS + 2 :] = labels_of(elements)
    return labels


def labels_of(ids: IntArray) -> IntArray:
    """Return the labels of hits on elements ``ids`` (without the 1000), shape (hits, 7)."""
    number = ids + 1000
    layer = number // 100 * 10
    return np.stack(
        [number * 10 + 1, number // 10 * 100 + 2, layer + 1, layer + 2, layer + 3, layer + 4, layer + 5], axis=-1
    )
