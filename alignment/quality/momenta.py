"""Compare the momenta of the same tracks in two iterations to detect a drift.

Some alignments keep every residual and change the momenta, which no convergence criterion detects. A track is
identified by its hits: which strips fired does not depend on the alignment constants, so their elements and measured
positions form a fingerprint.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.mille import kfalignment
from faser_align.alignment.mille.kfalignment import MEASURED_BRANCH, Tracks
from faser_align.fsm.metrics import MomentumChange
from faser_align.system.atomic import Name, replacing

TRACK = np.dtype([("hits", "<u8"), ("q_over_p", "<f4"), ("pz", "<f4")])
_STEPS_PER_MM = 1e4

TrackArray = npt.NDArray[np.void]


def write_momenta(source: Name, output: Name) -> int:
    """Write the fingerprint, q/p (1/GeV) and pz (GeV) of every track of a kfalignment file; return their number.

    A file of an older schema, without the measured positions, gives an empty list. Raises UserError as
    ``kfalignment.read_tracks`` does.

    Args:
        output: file to write, in numpy's format.
    """
    read = (momenta_of(part) for part in kfalignment.read_tracks(source, measured=True) if MEASURED_BRANCH in part.hits)
    tracks = np.concatenate([np.zeros(0, TRACK), *read])
    with replacing(output) as written:
        np.save(written, tracks, allow_pickle=False)
    return len(tracks)


def momenta_of(tracks: Tracks) -> TrackArray:
    """Return the momenta of tracks with their fingerprints."""
    found = np.zeros(len(tracks.lengths), TRACK)
    kept = tracks.lengths > 0
    starts = (np.cumsum(tracks.lengths) - tracks.lengths)[kept]
    if len(starts):
        hits = _mixed(tracks.ids, tracks.hits[MEASURED_BRANCH])
        found["hits"][kept] = np.add.reduceat(hits, starts)  # a sum does not depend on the order of hits
    px, py, pz, charge = (tracks.flat[f"fitParam_{name}"] for name in ("px", "py", "pz", "charge"))
    momentum = np.sqrt(px**2 + py**2 + pz**2)
    found["q_over_p"] = np.sign(charge) / np.where(momentum > 0, momentum, np.inf)
    found["pz"] = pz
    return found


def read_tracks(paths: Sequence[str]) -> list[TrackArray]:
    """Return the tracks of each file; empty if one of ``paths`` is missing or malformed."""
    try:
        parts = [np.load(Path(path), allow_pickle=False) for path in paths]
    except (OSError, ValueError):
        return []
    return parts if all(part.dtype == TRACK for part in parts) else []


def read_momenta(paths: Sequence[str]) -> TrackArray | None:
    """Return the tracks of several files, sorted by fingerprint; None if one of ``paths`` is missing or malformed."""
    parts = read_tracks(paths)
    if not parts:
        return None
    tracks = np.concatenate(parts)
    return tracks[np.argsort(tracks["hits"], kind="stable")]


def compare(before: TrackArray, now: TrackArray, window_gev: tuple[float, float]) -> MomentumChange:
    """Compare the momenta of two iterations.

    Args:
        before, now: tracks from ``read_momenta``.
        window_gev: range of pz that the alignment uses (GeV).

    Returns:
        ``common`` (tracks inside the window in both), medians of their q/p (1/GeV) per charge before and now,
        ``momentum_change_plus`` and ``_minus`` (relative change of the momentum, 0.03 for 3 %; None if the median
        changed its sign), and the tracks that left the window (``lost_low``, ``lost_high``: at its lower or upper edge) or
        entered it (``gained_low``, ...).
    """
    _, first, second = np.intersect1d(before["hits"], now["hits"], return_indices=True)
    old, new = before[first], now[second]
    low, high = window_gev  # 0 is inside the window, -1 below and 1 above
    was, stays = ((tracks["pz"] > high).astype(np.int64) - (tracks["pz"] < low) for tracks in (old, new))
    common = (was == 0) & (stays == 0)
    plus, minus = (_medians(old, new, common & (np.sign(old["q_over_p"]) == sign)) for sign in (1, -1))
    return {
        "common": int(common.sum()),
        "median_q_over_p_plus": plus,
        "momentum_change_plus": _change(*plus),
        "median_q_over_p_minus": minus,
        "momentum_change_minus": _change(*minus),
        "lost_low": int(((was == 0) & (stays == -1)).sum()),
        "gained_low": int(((was == -1) & (stays == 0)).sum()),
        "lost_high": int(((was == 0) & (stays == 1)).sum()),
        "gained_high": int(((was == 1) & (stays == 0)).sum()),
    }


def _medians(old: TrackArray, new: TrackArray, chosen: BoolArray) -> list[float | None]:
    """Return the medians of q/p of the chosen tracks before and now; None without tracks."""
    if not chosen.any():
        return [None, None]
    return [float(np.median(tracks["q_over_p"][chosen])) for tracks in (old, new)]


def _change(before: float | None, now: float | None) -> float | None:
    """Return the relative change of the momentum, from the medians of q/p."""
    if not before or not now or before * now < 0:
        return None
    return before / now - 1.0


def _mixed(ids: IntArray, measured: FloatArray) -> npt.NDArray[np.uint64]:
    """Return a number for each hit whose bits depend on its element and its strip (the finaliser of SplitMix64)."""
    steps = np.rint(measured * _STEPS_PER_MM).astype(np.int64)
    mixed = (ids * 10_000_019 + steps).astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
