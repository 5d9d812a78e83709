"""Reading the reconstruction's ``kfalignment`` files: chunks of tracks with flat columns of their hits.

The tree ``tree`` holds one entry per track: double branches, and per hit vector<double> branches, or jagged
branches with a counter as uproot writes them. Only the branches that conversion needs are read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from faser_align.fsm.errors import UserError

TREE = "tree"
TRACK_BRANCHES = ("fitParam_chi2", "fitParam_px", "fitParam_py", "fitParam_pz", "fitParam_charge")
LOCAL_BRANCHES = tuple(f"fitParam_align_local_derivation_x_par_{name}" for name in ("x", "y", "theta", "phi", "qop"))
# In the order of their labels: x of the side, rz of the module, x y rx ry rz of the layer.
GLOBAL_BRANCHES = (
    "fitParam_align_local_derivation_x_x",
    "fitParam_align_local_derivation_x_rz",
    "fitParam_align_global_derivation_y_x",
    "fitParam_align_global_derivation_y_y",
    "fitParam_align_global_derivation_y_rx",
    "fitParam_align_global_derivation_y_ry",
    "fitParam_align_global_derivation_y_rz",
)
# A hit is left out if any of these says that there is no derivative.
SENTINEL_BRANCHES = (*GLOBAL_BRANCHES, "fitParam_align_global_derivation_y_z")
HIT_BRANCHES = (
    "fitParam_align_id",
    "fitParam_align_local_residual_x",
    "fitParam_align_local_measured_xe",
    *LOCAL_BRANCHES,
    *SENTINEL_BRANCHES,
)
CHUNK_TRACKS = 2500  # about 150 MB with all that is made of them

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of one chunk.

    Attributes:
        flat: one value per track, by branch.
        lengths: hits of each track.
        hits: one value per hit, tracks one after the other, by branch.
        ids: 1000*station + 100*layer + 10*module + side of each hit.
    """

    flat: dict[str, FloatArray]
    lengths: npt.NDArray[np.int64]
    hits: dict[str, FloatArray]
    ids: npt.NDArray[np.int64]

    @property
    def layers(self) -> npt.NDArray[np.int64]:
        """Layer of each hit, 0 to 11 over all stations."""
        return self.ids // 1000 * 3 + self.ids // 100 % 10

    @property
    def modules(self) -> npt.NDArray[np.int64]:
        """Module of each hit in its layer."""
        return self.ids // 10 % 10

    def select(self, tracks: npt.NDArray[np.bool_]) -> "Tracks":
        """The tracks for which ``tracks`` is true."""
        hits = np.repeat(tracks, self.lengths)
        return Tracks(
            {name: column[tracks] for name, column in self.flat.items()},
            self.lengths[tracks],
            {name: column[hits] for name, column in self.hits.items()},
            self.ids[hits],
        )


def read_tracks(path: str | os.PathLike[str], chunk_tracks: int = CHUNK_TRACKS) -> Iterator[Tracks]:
    """Read a kfalignment file in chunks of at most ``chunk_tracks`` tracks.

    Raises UserError if the file is missing, truncated or of another kind, lacks the tree or a branch, or holds a
    value that is no number or an element that does not exist; the sentence names file, branch and entry.
    """
    import uproot  # costs 0.3 s, so only where a ROOT file is read

    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; give the reconstruction's kfalignment file")
    try:
        # chunks are read once, in order: uproot's cache of arrays would only fill memory
        with uproot.open(path, array_cache=None) as file:
            tree = _tree(file, path)
            for start in range(0, tree.num_entries, chunk_tracks):
                yield _chunk(tree, path, start, min(start + chunk_tracks, tree.num_entries))
    except UserError:
        raise
    except Exception as error:  # uproot's and the decompressors' errors on damaged files have no common base
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} cannot be read as a ROOT file ({reason}); reconstruct it again") from error


def _tree(file: Any, path: str | os.PathLike[str]) -> Any:
    names = {key.split(";")[0] for key in file.keys(recursive=False)}
    if TREE not in names:
        found = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path} has no tree named {TREE!r} (it holds {found}); give a kfalignment file")
    tree = file[TREE]
    present = set(tree.keys())
    missing = [branch for branch in (*TRACK_BRANCHES, *HIT_BRANCHES) if branch not in present]
    if missing:
        raise UserError(f"{path}: the tree lacks branch {missing[0]}; it is no kfalignment file of this format")
    return tree


def _chunk(tree: Any, path: str | os.PathLike[str], start: int, stop: int) -> Tracks:
    flat, hits = {}, {}
    lengths: npt.NDArray[np.int64] | None = None
    arrays = tree.arrays([*TRACK_BRANCHES, *HIT_BRANCHES], entry_start=start, entry_stop=stop, how=dict)
    for name in TRACK_BRANCHES:
        flat[name] = np.asarray(arrays[name], np.float64)
        _check_finite(flat[name], None, path, name, start)
    for name in HIT_BRANCHES:
        jagged = arrays[name].layout
        offsets = np.asarray(jagged.offsets.data, np.int64)
        if lengths is None:
            lengths = np.diff(offsets)
        elif not np.array_equal(lengths, np.diff(offsets)):
            entry = start + int(np.flatnonzero(lengths != np.diff(offsets))[0])
            raise UserError(f"{path}: branch {name} has another number of hits than {HIT_BRANCHES[0]} in entry {entry}")
        content = np.asarray(jagged.content.data, np.float64)
        hits[name] = content[int(offsets[0]) : int(offsets[-1])]
        _check_finite(hits[name], lengths, path, name, start)
    assert lengths is not None
    return Tracks(flat, lengths, hits, _elements(hits["fitParam_align_id"], lengths, path, start))


def _elements(
    column: FloatArray, lengths: npt.NDArray[np.int64], path: str | os.PathLike[str], start: int
) -> npt.NDArray[np.int64]:
    ids = np.clip(column, -1, 1_000_000).astype(np.int64)
    wrong = (ids < 0) | (ids >= 4000) | (ids // 100 % 10 > 2) | (ids // 10 % 10 > 7) | (ids % 10 > 1)
    if wrong.any():
        hit = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{path}: branch fitParam_align_id is {column[hit]:g} in entry {_entry(hit, lengths, start)}; "
            "elements are 1000*station + 100*layer + 10*module + side"
        )
    return ids


def _check_finite(
    column: FloatArray,
    lengths: npt.NDArray[np.int64] | None,
    path: str | os.PathLike[str],
    branch: str,
    start: int,
) -> None:
    if np.isfinite(column).all():
        return
    at = int(np.flatnonzero(~np.isfinite(column))[0])
    entry = start + at if lengths is None else _entry(at, lengths, start)
    raise UserError(f"{path}: branch {branch} is {column[at]} in entry {entry}; the reconstruction of this file failed")


def _entry(hit: int, lengths: npt.NDArray[np.int64], start: int) -> int:
    return start + int(np.searchsorted(np.cumsum(lengths), hit, side="right"))
