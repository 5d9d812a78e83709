"""Read the reconstruction's ``kfalignment`` files in chunks of tracks with flat columns of hits.

The tree ``tree`` has one entry per track: double branches, and per hit vector<double> branches, or arrays with a
counter as uproot writes them. Older files have the tree ``trackParam`` and names with ``derivative`` for ``derivation``
or with the suffix ``_sp``, and no derivatives with respect to the track's parameters, which ``derivatives`` then
computes. Only branches that the conversion needs are read.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from faser_align.alignment.arrays import BoolArray, FloatArray, IntArray
from faser_align.alignment.mille.columns import Column, Damaged, ntuple_column, tree_column
from faser_align.alignment.mille.derivatives import track_derivatives
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

TREE = "tree"
TREES = (TREE, "trackParam")  # new and old files
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
# A hit without any of these derivatives is omitted.
SENTINEL_BRANCHES = (*GLOBAL_BRANCHES, "fitParam_align_global_derivation_y_z")
HIT_BRANCHES = (
    "fitParam_align_id",
    "fitParam_align_local_residual_x",
    "fitParam_align_local_measured_xe",
    *LOCAL_BRANCHES,
    *SENTINEL_BRANCHES,
)
MEASURED_BRANCH = "fitParam_align_local_measured_x"  # older files lack it
ELEMENTS_MAX = 9000  # with 1000 added they have four digits, as labels need
_LARGEST = float(np.finfo(np.float32).max)  # Mille uses single precision
_HEADER_BYTES = 20
_COMPRESSION_BYTES = 45  # of the header, up to the compression
_LARGE_FILES = 1_000_000  # added to the version of files with 64-bit positions in the header
CHUNK_TRACKS = 2500  # about 40 MB including intermediate arrays
_REUSED_BYTES = 16 << 20


def _sides_of_elements() -> IntArray:
    """Return the side over all modules of each element, 0 to 191; 192 outside FASER's tracker, also for ``[-1]``."""
    ids = np.arange(ELEMENTS_MAX + 1)
    station, layer, module, side = ids // 1000, ids // 100 % 10, ids // 10 % 10, ids % 10
    foreign = (station > 3) | (layer > 2) | (module > 7) | (side > 1)
    return np.where(foreign, FOREIGN_SIDE, 16 * (3 * station + layer) + 2 * module + side)


FOREIGN_SIDE = 192
_SIDES = _sides_of_elements()


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of one chunk.

    Attributes:
        flat: one value per track, by branch.
        lengths: number of hits per track.
        hits: one value per hit, track after track, by branch.
        ids: 1000*station + 100*layer + 10*module + side of each hit.
        modelled: whether the derivatives with respect to the track's parameters come from
            ``alignment.mille.derivatives``.
    """

    flat: dict[str, FloatArray]
    lengths: IntArray
    hits: dict[str, FloatArray]
    ids: IntArray
    modelled: bool = False

    @cached_property
    def sides(self) -> IntArray:
        """Side of each hit over all modules, 0 to 191; 192 outside FASER's tracker."""
        return _SIDES[self.ids]

    @cached_property
    def modules(self) -> IntArray:
        """Module of each hit over all layers, 0 to 95; 96 outside FASER's tracker."""
        return self.sides >> 1

    @cached_property
    def layers(self) -> IntArray:
        """Layer of each hit, 0 to 11 over all stations; 12 outside FASER's tracker."""
        return self.sides >> 4

    def part(self, tracks: BoolArray | slice, hits: IntArray | slice) -> "Tracks":
        """Return these tracks with these hits of theirs; slices give views."""
        return Tracks(
            {name: column[tracks] for name, column in self.flat.items()},
            self.lengths[tracks],
            {name: column[hits] for name, column in self.hits.items()},
            self.ids[hits],
            self.modelled,
        )

    def select(self, tracks: BoolArray) -> "Tracks":
        """Return the tracks for which ``tracks`` is true."""
        return self if tracks.all() else self.part(tracks, np.flatnonzero(np.repeat(tracks, self.lengths)))


def read_tracks(
    path: Name, chunk_tracks: int = CHUNK_TRACKS, *, any_element: bool = False, measured: bool = False
) -> Iterator[Tracks]:
    """Read a kfalignment file in chunks of at most ``chunk_tracks`` tracks.

    Args:
        chunk_tracks: tracks per chunk.
        any_element: whether to accept elements outside FASER's tracker, such as those of other detectors. The file must
            then have the derivatives with respect to the track's parameters, which can be computed for FASER only.
        measured: whether to read ``MEASURED_BRANCH`` as well, if the file has it.

    Raises UserError if the file is missing, truncated or of another kind, lacks the tree or a branch, contains no
    tracks, or contains a value that is not finite or an unknown element; the message names file, branch and entry.
    """
    import uproot  # takes 0.3 s, so only where a ROOT file is read

    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UserError(f"{path} {what}; give the reconstruction's kfalignment file")
    _check_header(path)
    _reuse_memory()
    try:
        with uproot.open(path, array_cache=None) as file, open(path, "rb") as raw:
            tree = _tree(file, path)
            columns = _columns(tree, raw, path, (MEASURED_BRANCH,) if measured else ())
            try:
                for start in range(0, tree.num_entries, chunk_tracks):
                    stop = min(start + chunk_tracks, tree.num_entries)
                    yield _chunk(columns, path, start, stop, any_element=any_element)
            finally:
                for column in columns.values():
                    column.close()
    except UserError:
        raise
    except Damaged as error:
        raise UserError(
            f"{path}: branch {error.branch} cannot be read from entry {error.entry} on ({_short(error)}); "
            "reconstruct this file again"
        ) from error
    except Exception as error:  # errors of uproot and the decompressors have no common base class
        raise UserError(f"{path} cannot be read as a ROOT file ({_short(error)}); reconstruct it again") from error


def is_compressed(path: Name) -> bool:
    """Return whether ROOT compressed a file, whose header is known to be good (fCompress of TFile; 0 is no compression).

    Compressed blocks have a checksum or fail to decompress; damage to others goes unnoticed.
    """
    with open(path, "rb") as file:
        head = file.read(_COMPRESSION_BYTES)
    at = 41 if int.from_bytes(head[4:8], "big") >= _LARGE_FILES else 33
    return int.from_bytes(head[at : at + 4], "big") % 100 > 0  # hundreds are the algorithm


def _reuse_memory() -> None:
    """Let glibc keep the arrays of a chunk for the next one, which saves most page faults.

    It returns freed memory to the system above twice the size of the largest block that was mapped and freed, if that
    is at most 32 MB: mallopt(3), M_MMAP_THRESHOLD. This block is not touched, so it takes no memory.
    """
    np.empty(_REUSED_BYTES, np.uint8)


def _check_header(path: Name) -> None:
    """Raise UserError unless the file is a ROOT file that reaches the end named in its header (fEND of TFile)."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not head.startswith(b"root"):
        raise UserError(f"{path} is empty or not a ROOT file; give the reconstruction's kfalignment file")
    stop = 20 if int.from_bytes(head[4:8], "big") >= _LARGE_FILES else 16
    least = max(int.from_bytes(head[12:stop], "big"), _HEADER_BYTES)
    if size < least:
        raise UserError(f"{path} is truncated: it has {size} bytes of {least}; copy or reconstruct it again")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _tree(file: Any, path: Name) -> Any:
    names = {key.split(";")[0] for key in file.keys(recursive=False)}
    chosen = next((name for name in TREES if name in names), None)
    if chosen is None:
        held = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path} has no tree named {' or '.join(TREES)} (it holds {held}); give a kfalignment file")
    tree = file[chosen]
    if not hasattr(tree, "num_entries"):
        raise UserError(f"{path}: {chosen} is a {tree.classname}; give a kfalignment file")
    if not tree.num_entries:
        raise UserError(
            f"{path}: its tree {chosen} has no entries, so there are no tracks; reconstruct this file again"
        )
    return tree


def _columns(tree: Any, raw: BinaryIO, path: Name, optional: tuple[str, ...] = ()) -> dict[str, Column]:
    """Return the columns that the conversion needs, and optional ones, by the newest names of their branches."""
    is_ntuple = not hasattr(tree, "branches")
    present = {str(branch.name): branch for branch in (tree.fields if is_ntuple else tree.branches)}
    with_track_derivatives = any(alias in present for name in LOCAL_BRANCHES for alias in _aliases(name))
    columns: dict[str, Column] = {}
    for name in (*TRACK_BRANCHES, *HIT_BRANCHES, *optional):
        known = next((alias for alias in _aliases(name) if alias in present), None)
        if known is None and (name in optional or (name in LOCAL_BRANCHES and not with_track_derivatives)):
            continue
        if known is None:
            raise UserError(f"{path}: the tree lacks branch {name}; give a kfalignment file, or reconstruct it again")
        branch = present[known]
        if not is_ntuple and branch.num_entries != tree.num_entries:
            raise UserError(
                f"{path}: branch {known} has {branch.num_entries} entries and the tree {tree.num_entries}; "
                "reconstruct this file again"
            )
        try:
            columns[name] = ntuple_column(branch) if is_ntuple else tree_column(branch, raw)
        except (AttributeError, NotImplementedError, ValueError) as error:
            raise UserError(
                f"{path}: branch {known} holds neither numbers nor vectors of them ({branch.typename}); "
                "give a kfalignment file with one track per entry"
            ) from error
        if columns[name].jagged and name in TRACK_BRANCHES:
            raise UserError(f"{path}: branch {known} has several tracks per entry; give a file with one per entry")
    return columns


def _aliases(name: str) -> Iterator[str]:
    """Yield the names that a branch has had, newest first."""
    for ending in ("", "_sp"):
        yield name + ending
        yield name.replace("derivation", "derivative") + ending


def _chunk(columns: Mapping[str, Column], path: Name, start: int, stop: int, *, any_element: bool) -> Tracks:
    flat, hits = {}, {}
    lengths: IntArray | None = None
    for name in TRACK_BRANCHES:
        flat[name], _ = columns[name].take(start, stop)
        _check_finite(flat[name], None, path, columns[name].name, start)
    for name in (name for name in (*HIT_BRANCHES, MEASURED_BRANCH) if name in columns):
        column = columns[name]
        hits[name], hit_counts = column.take(start, stop)
        if hit_counts is None:
            raise UserError(f"{path}: branch {column.name} has one number per track instead of one per hit")
        if lengths is None:
            lengths = hit_counts
        elif not np.array_equal(lengths, hit_counts):
            entry = int(np.flatnonzero(lengths != hit_counts)[0])
            raise UserError(
                f"{path}: branch {column.name} has {hit_counts[entry]} hits and {columns[HIT_BRANCHES[0]].name} "
                f"{lengths[entry]} in entry {start + entry}; reconstruct this file again"
            )
        _check_finite(hits[name], lengths, path, column.name, start)
    assert lengths is not None
    modelled = LOCAL_BRANCHES[0] not in hits
    allowed = any_element and not modelled
    ids = _elements(hits["fitParam_align_id"], lengths, path, start, any_element=allowed)
    if modelled:
        by_x, by_y = (hits[f"fitParam_align_global_derivation_y_{dof}"] for dof in "xy")
        hits |= dict(zip(LOCAL_BRANCHES, track_derivatives(ids, by_x, by_y), strict=True))
    return Tracks(flat, lengths, hits, ids, modelled)


def _elements(column: FloatArray, lengths: IntArray, path: Name, start: int, *, any_element: bool) -> IntArray:
    """Return the elements of hits, without ``any_element`` only those of FASER's tracker."""
    ids = np.clip(column, -1, ELEMENTS_MAX).astype(np.int64)
    wrong = (ids < 0) | (ids >= ELEMENTS_MAX) if any_element else _SIDES[ids] == FOREIGN_SIDE
    if wrong.any():
        hit = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{path}: branch fitParam_align_id is {column[hit]:g} in entry {_entry(hit, lengths, start)}; "
            "elements are 1000*station + 100*layer + 10*module + side"
        )
    return ids


def _check_finite(column: FloatArray, lengths: IntArray | None, path: Name, branch: str, start: int) -> None:
    if not len(column) or (np.max(column) <= _LARGEST and np.min(column) >= -_LARGEST):  # false with NaN
        return
    good = np.abs(column) <= _LARGEST  # also false for NaN
    at = int(np.flatnonzero(~good)[0])
    entry = start + at if lengths is None else _entry(at, lengths, start)
    raise UserError(f"{path}: branch {branch} is {column[at]} in entry {entry}; the reconstruction of this file failed")


def _entry(hit: int, lengths: IntArray, start: int) -> int:
    return start + int(np.searchsorted(np.cumsum(lengths), hit, side="right"))
