"""Convert the reconstruction's ``kfalignment`` ROOT files to Mille records.

The bytes are those of faser-alignment-script's converter. One track is one record: ``int32 2n``, n float32 values, n
int32 indices; word 0 is (0, errors). A hit adds ``(residual, 0)``, five ``(d residual/d track, 1..5)``, ``(sigma, 0)``
and seven ``(d residual/d parameter, label)``: x of the module's side, rz of the module, and x y rx ry rz of the layer.
Derivatives that are exactly zero as float32, and hits without an error, are omitted.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from faser_align.alignment.mille.counts import MOMENTUM_EDGES_GEV, RESIDUAL_EDGES_MM, Counts, read_counts, write_counts
from faser_align.alignment.mille.kfalignment import (
    GLOBAL_BRANCHES,
    LOCAL_BRANCHES,
    MEASURED_BRANCH,
    SENTINEL_BRANCHES,
    Tracks,
    is_compressed,
    read_tracks,
)
from faser_align.alignment.mille.layer_rotations import constants_derivatives
from faser_align.alignment.mille.records import Records, read_records
from faser_align.alignment.parameters.constants import DOFS, Six
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import replacing

__all__ = ["Counts", "Cuts", "Records", "convert", "convert_and_count", "read_counts", "read_records", "write_counts"]

_BUFFER_WORDS = 5000  # as in Mille.cpp; a hit that does not fit is dropped and counted in word 0
_WORDS_PER_HIT = 2 + len(LOCAL_BRANCHES) + len(GLOBAL_BRANCHES)
_LOCALS = len(LOCAL_BRANCHES)
_BY_LAYER = "fitParam_align_global_derivation_y_"
_BY_LAYER_Y = f"{_BY_LAYER}y"
_P_MIN_GEV = 10.0  # smaller momenta count as this one, so that sums stay exact
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
            own z (``layer_rotations``).
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
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    cuts: Cuts,
    *,
    constants: Mapping[str, Six] | None = None,
    any_element: bool = False,
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

    Returns:
        Counts of what was read, rejected and written.

    Raises:
        UserError: an input is missing, truncated, of another kind or given twice, lacks a branch, or contains no tracks
            or a value that is not finite; no track passes the cuts; or the output is an input or cannot be written.
    """
    _check_names(inputs, output)
    counts = Counts(files=len(inputs))
    placed = None if cuts.pivot == "calypso" else constants or {}
    reading = partial(read_tracks, any_element=any_element and placed is None, measured=placed is not None)
    try:
        with replacing(output) as file:
            for tracks in _ahead(tracks for source in inputs for tracks in reading(source)):
                written, counted = _convert_tracks(tracks, cuts, placed)
                file.write(written)
                counts = counts + counted
            counts = replace(counts, files_uncompressed=sum(not is_compressed(source) for source in inputs))
            if not counts.tracks_written:
                raise UserError(_nothing_left(inputs, counts))
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror}; check the folder, its permissions and space"
        ) from error
    return counts


def convert_and_count(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    cuts: Cuts,
    *,
    constants: Mapping[str, Six] | None = None,
    any_element: bool = False,
) -> Counts:
    """Convert as ``convert`` does, and write the counts to ``<output>.json``: both files or neither.

    Arguments, result and errors are those of ``convert``; also raises UserError if the counts cannot be written.
    """
    counts = convert(inputs, output, cuts, constants=constants, any_element=any_element)
    try:
        counts = replace(counts, bytes_written=os.path.getsize(output))
        write_counts(f"{output}.json", counts)
    except OSError as error:
        Path(output).unlink(missing_ok=True)
        raise UserError(
            f"cannot write {output}.json: {error.strerror}; check the folder, its permissions and space"
        ) from error
    return counts


def _check_names(inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> None:
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


def _nothing_left(inputs: Sequence[str | os.PathLike[str]], counts: Counts) -> str:
    names = str(inputs[0]) + (f" and {len(inputs) - 1} more" if len(inputs) > 1 else "")
    return (
        f"{names}: none of {counts.tracks_read} tracks is left: cut are {counts.tracks_cut_chi2} by chi2, "
        f"{counts.tracks_cut_pz} by pz, {counts.tracks_cut_hits} by hits, and {counts.hits_cut_residual} hits of the "
        f"others by residual, {counts.hits_cut_derivative} by derivative; widen the cuts, or reconstruct again"
    )


def _ahead(chunks: Generator[Tracks, None, None]) -> Iterator[Tracks]:
    """Yield the chunks, reading each one while the previous one is processed."""
    with closing(chunks), ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, chunks, None)
        while (tracks := following.result()) is not None:
            following = reader.submit(next, chunks, None)
            yield tracks


def _convert_tracks(tracks: Tracks, cuts: Cuts, constants: Mapping[str, Six] | None) -> tuple[bytes, Counts]:
    tracks, kept, counted = apply_cuts(tracks, cuts)
    words, written = _words(tracks, kept, constants)
    return words, Counts(**counted, tracks_written=len(written), measurements=int(written.sum()))


def apply_cuts(tracks: Tracks, cuts: Cuts) -> tuple[Tracks, npt.NDArray[np.bool_], dict[str, Any]]:
    """Return the tracks that pass, which of their hits pass, and the counts that are known before records are written."""
    counted: dict[str, Any] = {"tracks_read": len(tracks.lengths)}
    counted["tracks_modelled"] = len(tracks.lengths) if tracks.modelled else 0
    chi2, pz = tracks.flat["fitParam_chi2"], tracks.flat["fitParam_pz"]
    failed_chi2 = chi2 > cuts.chi2_max
    failed_pz = (pz < cuts.pz_min) | (pz > cuts.pz_max)
    failed_hits = tracks.lengths < cuts.hits_min
    used = ~(failed_chi2 | failed_pz | failed_hits)
    counted["tracks_cut_chi2"] = int(failed_chi2.sum())
    counted["tracks_cut_pz"] = int((failed_pz & ~failed_chi2).sum())
    counted["tracks_cut_hits"] = int((failed_hits & ~failed_chi2 & ~failed_pz).sum())
    of_cut_tracks = tracks.modules[np.repeat(failed_chi2, tracks.lengths)]
    counted["modules_cut_chi2"] = _by_module(of_cut_tracks).reshape(12, 8)
    tracks = tracks.select(used)
    counted |= _count_tracks(tracks, cuts)
    kept, hits = _cut_hits(tracks, cuts)
    return tracks, kept, counted | hits


def _count_tracks(tracks: Tracks, cuts: Cuts) -> dict[str, Any]:
    pz, charge = tracks.flat["fitParam_pz"], tracks.flat["fitParam_charge"]
    p = np.sqrt(tracks.flat["fitParam_px"] ** 2 + tracks.flat["fitParam_py"] ** 2 + pz**2)
    residuals = tracks.hits["fitParam_align_local_residual_x"]
    layer_bins = len(RESIDUAL_EDGES_MM) + 1
    bins = tracks.layers * layer_bins + np.searchsorted(RESIDUAL_EDGES_MM, residuals, side="right")
    near = np.abs(residuals) <= RESIDUAL_EDGES_MM[-1]
    residuals_nm = np.rint(residuals[near] * 1e6)
    sides = 2 * tracks.modules[near] + tracks.ids[near] % 10
    # Sums of integers below 2^53 are exact in double precision.
    sums = [_by_side(sides, powers) for powers in (None, residuals_nm, residuals_nm**2)]
    side_residuals = np.stack(sums, axis=-1).astype(np.int64).reshape(12, 8, 2, 3)
    momentum_bins = len(MOMENTUM_EDGES_GEV) + 1
    curvature = np.rint(1e6 * np.sign(charge) / np.maximum(p, _P_MIN_GEV))
    charges = np.where(charge < 0, momentum_bins, 0) + np.searchsorted(MOMENTUM_EDGES_GEV, p, side="right")
    return {
        "hits_read": len(residuals),
        "hits_foreign": 0 if tracks.foreign is None else int(tracks.foreign.sum()),
        "chi2": float(tracks.flat["fitParam_chi2"].sum()),
        "ndf": int(np.maximum(tracks.lengths - _LOCALS, 0).sum()),
        "edge_low": int((pz < 1.1 * cuts.pz_min).sum()),
        "edge_high": int((pz > 0.9 * cuts.pz_max).sum()),
        "module_residuals": side_residuals.sum(axis=2),
        "side_residuals": side_residuals,
        "curvature_residuals": _curvature_residuals(
            tracks, near, residuals_nm, np.repeat(curvature, tracks.lengths)[near]
        ),
        "residual_bins": np.bincount(bins, minlength=13 * layer_bins)[: 12 * layer_bins].reshape(12, layer_bins),
        "momentum_bins": np.bincount(charges, minlength=2 * momentum_bins).reshape(2, momentum_bins),
    }


def _curvature_residuals(
    tracks: Tracks,
    near: npt.NDArray[np.bool_],
    residuals_nm: npt.NDArray[np.float64],
    curvature: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Return sums over the hits of each layer, from which ``quality.magnets`` has the slope of residuals against q/p.

    Residuals are along the global y. The last sum tells which way tracks of positive charge bend.
    """
    along = -np.sign(tracks.hits[_BY_LAYER_Y][near])
    along_y, layers = along * residuals_nm, tracks.layers[near]
    bends = np.rint(along * tracks.hits[LOCAL_BRANCHES[4]][near])
    powers = (None, along_y, curvature, curvature**2, along_y * curvature, residuals_nm**2, bends)
    sums = [np.bincount(layers, weights, minlength=13)[:12] for weights in powers]
    return np.stack(sums, axis=-1).astype(np.int64)


def _cut_hits(tracks: Tracks, cuts: Cuts) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
    failed_residual = np.abs(tracks.hits["fitParam_align_local_residual_x"]) > cuts.residual_max
    failed = np.zeros(len(failed_residual), np.bool_)
    if cuts.pivot == "calypso" or cuts.same_hits:
        failed |= np.abs(tracks.hits["fitParam_align_global_derivation_y_rx"]) > cuts.derivative_max
        failed |= np.abs(tracks.hits["fitParam_align_global_derivation_y_ry"]) > cuts.derivative_max
    for branch in SENTINEL_BRANCHES:
        failed |= tracks.hits[branch] < _INVALID
    kept = ~(failed_residual | failed)
    modules = tracks.modules
    pairs = [_by_module(modules[chosen]) for chosen in (kept, failed_residual)]
    return kept, {
        "hits_cut_residual": int(failed_residual.sum()),
        "hits_cut_derivative": int((failed & ~failed_residual).sum()),
        "modules": np.stack(pairs, axis=-1).reshape(12, 8, 2),
        "modules_cut_derivative": _by_module(modules[failed & ~failed_residual]).reshape(12, 8),
    }


def _by_module(modules: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the hits of FASER's 96 modules, without elements outside the tracker."""
    return np.bincount(modules, minlength=97)[:96]


def _by_side(sides: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[Any]:
    """Return the hits, or sums over them, of FASER's 192 sides, without elements outside the tracker."""
    return np.bincount(sides, weights, minlength=193)[:192]


def _words(
    tracks: Tracks, kept: npt.NDArray[np.bool_], constants: Mapping[str, Six] | None
) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Return the records of the kept hits, and the number of measurements in each written record."""
    kept = kept & (tracks.hits["fitParam_align_local_measured_xe"].astype(np.float32) > 0)
    values = hit_words(tracks, kept, constants)
    labels = np.zeros(values.shape, np.int32)
    labels[:, 1 : _LOCALS + 1] = np.arange(1, _LOCALS + 1)
    labels[:, _LOCALS + 2 :] = labels_of(tracks.ids[kept])
    track = np.repeat(np.arange(len(tracks.lengths)), tracks.lengths)[kept]
    present = (values != 0) | (labels == 0)
    fits, errors = _fitting(track, present.sum(axis=1), len(tracks.lengths))
    if not fits.all():
        values, labels, present, track = values[fits], labels[fits], present[fits], track[fits]
    measurements = np.bincount(track, minlength=len(tracks.lengths))
    return _records(values, labels, present, track, errors), measurements[measurements > 0]


def hit_words(
    tracks: Tracks, kept: npt.NDArray[np.bool_], constants: Mapping[str, Six] | None = None
) -> npt.NDArray[np.float32]:
    """Return the words of each kept hit: residual, five local derivatives, error, seven global ones, shape (hits, 14).

    With ``constants``, the derivatives by rotations of layers are those of the constants.
    """
    hits = {name: column[kept] for name, column in tracks.hits.items()}
    if constants is not None:
        written = {dof: hits[_BY_LAYER + dof] for dof in DOFS}
        measured = hits.get(MEASURED_BRANCH)  # older files lack it: the middle of the sensor
        at = np.zeros(len(written["x"])) if measured is None else measured
        turned = constants_derivatives(written, tracks.ids[kept], at, constants)
        hits |= {_BY_LAYER + dof: column for dof, column in turned.items()}
    words = ("fitParam_align_local_residual_x", *LOCAL_BRANCHES, "fitParam_align_local_measured_xe", *GLOBAL_BRANCHES)
    return np.stack([hits[word] for word in words], axis=-1).astype(np.float32)


def _fitting(
    track: npt.NDArray[np.int64], words: npt.NDArray[np.int64], tracks: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return which hits fit into Mille's buffer after earlier hits of their track, and how many did not."""
    sums = np.bincount(track, weights=words, minlength=tracks)
    if np.all(sums < _BUFFER_WORDS - _WORDS_PER_HIT):
        return np.ones(len(track), np.bool_), np.zeros(tracks, np.int64)
    before = np.cumsum(words) - words
    first = np.searchsorted(track, track, side="left")
    fits = before - before[first] + _WORDS_PER_HIT < _BUFFER_WORDS
    return fits, np.bincount(track[~fits], minlength=tracks)


def _records(
    values: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    present: npt.NDArray[np.bool_],
    track: npt.NDArray[np.int64],
    errors: npt.NDArray[np.int64],
) -> bytes:
    """Return one little-endian record for each track that has hits.

    Args:
        values, labels: words of the hits, shape (hits, words).
        present: which words are written, same shape.
        track: track of each hit, ascending.
        errors: word 0 of each track.
    """
    hit_words = present.sum(axis=1)
    words = np.bincount(track, weights=hit_words, minlength=len(errors)).astype(np.int64)
    written = words > 0
    sizes = np.where(written, 3 + 2 * words, 0)  # length, word 0 twice, values and labels
    starts = np.cumsum(sizes) - sizes
    out = np.zeros(int(sizes.sum()), np.dtype("<i4"))
    out[starts[written]] = 2 * (words[written] + 1)
    out[(starts + 2 + words)[written]] = errors[written]
    before = np.cumsum(hit_words) - hit_words - (np.cumsum(words) - words)[track]
    whole = bool(present.all())
    inside = np.arange(_WORDS_PER_HIT) if whole else np.cumsum(present, axis=1) - 1
    at = (starts[track] + 2 + before)[:, None] + inside
    behind = at + (words[track] + 1)[:, None]
    chosen = ... if whole else present
    out[at[chosen]] = values.astype("<f4").view("<i4")[chosen]
    out[behind[chosen]] = labels[chosen]
    return out.tobytes()


def labels_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the labels of hits on elements ``ids`` (without the 1000), shape (hits, 7)."""
    number = ids + 1000
    layer = number // 100 * 10
    return np.stack(
        [number * 10 + 1, number // 10 * 100 + 2, layer + 1, layer + 2, layer + 3, layer + 4, layer + 5], axis=-1
    )
