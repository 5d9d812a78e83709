"""Test reading ROOT files of every layout: tree types, basket sizes, compressions, older names, damage."""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import SOAK, examples

from faser_align.alignment.mille import baskets
from faser_align.alignment.mille.columns import tree_column
from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.mille.kfalignment import HIT_BRANCHES, LOCAL_BRANCHES, TRACK_BRANCHES, read_tracks
from faser_align.alignment.mille.records import read_records
from faser_align.fsm.errors import UserError

NAMES = (*TRACK_BRANCHES, *HIT_BRANCHES)
Unpack = Callable[[str], Path]


@pytest.fixture
def tracks(data: Path) -> Any:
    """Return the 400 tracks of the reference file."""
    with uproot.open(data / "mille" / "kfalignment_4st.root") as file:
        return file["tree"].arrays(NAMES)


def write_tree(
    path: Path,
    tracks: Any,
    *,
    names: Mapping[str, str] | None = None,
    tree: str = "tree",
    per_basket: int = 0,
    compression: Any = None,
    left_out: tuple[str, ...] = (),
) -> Path:
    """Write tracks as a tree with arrays and a counter, ``per_basket`` tracks per basket (0: all)."""
    renamed = {name: (names or {}).get(name, name) for name in NAMES if name not in left_out}
    flat = {new: tracks[old] for old, new in renamed.items() if old in TRACK_BRANCHES}
    hits = {new: tracks[old] for old, new in renamed.items() if old in HIT_BRANCHES}
    with uproot.recreate(path, compression=compression) as file:
        written = file.mktree(
            tree, dict.fromkeys(flat, "f8") | {new: column.type.content for new, column in hits.items()}
        )
        step = per_basket or len(tracks)
        for start in range(0, len(tracks), step):
            written.extend({new: column[start : start + step] for new, column in (flat | hits).items()})
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compression", "per_basket"),
    [
        *itertools.product([None, uproot.ZLIB(1), uproot.LZ4(1), uproot.ZSTD(1)], [0, 7, 150] if SOAK else [0, 150]),
        *itertools.product([uproot.LZMA(1)], [0, 7, 150] if SOAK else [150]),  # slow to write, as are small baskets
        *([] if SOAK else [(uproot.LZ4(1), 7)]),
    ],
)
def test_every_layout_gives_the_same_bytes(
    tracks: Any, unpacked: Unpack, tmp_path: Path, compression: Any, per_basket: int
) -> None:
    """Baskets of any size and ROOT compression give the bytes of faser-alignment-script's converter."""
    path = write_tree(tmp_path / "in.root", tracks, per_basket=per_basket, compression=compression)
    counts = convert([path], tmp_path / "out.bin", Cuts())
    assert (tmp_path / "out.bin").read_bytes() == unpacked("mille/mp2input_4st.bin").read_bytes()
    assert counts.files_uncompressed == (compression is None)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, uproot.ZLIB(1), uproot.LZ4(1)] if SOAK else [uproot.LZ4(1)])
def test_huge_baskets_need_little_memory(tracks: Any, tmp_path: Path, compression: Any) -> None:
    """60,000 tracks in one basket per branch, 200 MB in total, are converted in less than 300 MB."""
    path = write_tree(tmp_path / "in.root", ak.concatenate([tracks] * 150), compression=compression)
    program = (
        "import sys; from faser_align.alignment.mille.conversion import Cuts, convert; "
        "counts = convert([sys.argv[1]], sys.argv[2], Cuts()); "
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(counts.tracks_read, int(peak) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "out.bin"], capture_output=True, text=True, check=True
    )
    read, memory_mb = map(int, done.stdout.split())
    assert read == 60_000
    assert memory_mb < 300


@pytest.mark.parametrize("stations", [3, 4])
def test_spilled_baskets_give_the_same_bytes(
    data: Path, unpacked: Unpack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stations: int
) -> None:
    """Real vectors whose baskets use a temporary file give the bytes of faser-alignment-script's converter."""
    monkeypatch.setattr(baskets, "SPILL_BYTES", 0)
    convert([data / "mille" / f"kfalignment_{stations}st.root"], tmp_path / "out.bin", Cuts())
    assert (tmp_path / "out.bin").read_bytes() == unpacked(f"mille/mp2input_{stations}st.bin").read_bytes()
    (chunk,) = read_tracks(data / "mille" / f"kfalignment_{stations}st.root")
    small = list(read_tracks(data / "mille" / f"kfalignment_{stations}st.root", chunk_tracks=7))
    name = HIT_BRANCHES[1]
    np.testing.assert_array_equal(np.concatenate([part.hits[name] for part in small]), chunk.hits[name])


def test_an_rntuple_gives_the_same_bytes(tracks: Any, unpacked: Unpack, tmp_path: Path) -> None:
    """RNTuples are read cluster by cluster, with the same result."""
    columns = {name: tracks[name] for name in NAMES}
    columns["fitParam_align_id"] = ak.values_astype(columns["fitParam_align_id"], np.uint32)
    with uproot.recreate(tmp_path / "in.root") as file:
        tuples = file.mkrntuple("tree", {name: column[:100] for name, column in columns.items()})
        for start, stop in ((100, 230), (230, 400)):
            tuples.extend({name: column[start:stop] for name, column in columns.items()})
    convert([tmp_path / "in.root"], tmp_path / "out.bin", Cuts())
    assert (tmp_path / "out.bin").read_bytes() == unpacked("mille/mp2input_4st.bin").read_bytes()


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("derivation", "derivative"),
        lambda name: name + "_sp" if name in HIT_BRANCHES else name,
        lambda name: name.replace("derivation", "derivative") + "_sp" if name in HIT_BRANCHES else name,
        lambda name: name + "_sp" if "residual" in name or "measured" in name else name,
    ],
)
def test_older_names_give_the_same_bytes(
    tracks: Any, unpacked: Unpack, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    """The tree trackParam with older branch names gives the same bytes if it has all needed branches."""
    names = {name: rename(name) for name in NAMES}
    path = write_tree(tmp_path / "in.root", tracks, names=names, tree="trackParam")
    counts = convert([path], tmp_path / "out.bin", Cuts())
    assert counts.tracks_modelled == 0
    assert (tmp_path / "out.bin").read_bytes() == unpacked("mille/mp2input_4st.bin").read_bytes()


@pytest.mark.parametrize("stations", [3, 4])
def test_derivatives_that_older_files_lack_are_equivalent(data: Path, tmp_path: Path, stations: int) -> None:
    """Without the branches par_*, each track's five derivatives span the same space as those of the newer file."""
    source = data / "mille" / f"kfalignment_{stations}st.root"
    with uproot.open(source) as file:
        path = write_tree(tmp_path / "in.root", file["tree"].arrays(NAMES), tree="trackParam", left_out=LOCAL_BRANCHES)
    (newer,), (older,) = read_tracks(source), read_tracks(path)
    assert older.modelled
    assert not newer.modelled
    starts = np.cumsum(newer.lengths) - newer.lengths
    for start, hits in zip(starts[::10], newer.lengths[::10], strict=True):
        ours, theirs = (
            np.stack([tracks.hits[name][start : start + hits] for name in LOCAL_BRANCHES], axis=-1)
            for tracks in (older, newer)
        )
        ours, theirs = ours / np.abs(ours).max(axis=0), theirs / np.abs(theirs).max(axis=0)
        changed, *_ = np.linalg.lstsq(ours, theirs, rcond=None)
        np.testing.assert_allclose(ours @ changed, theirs, atol=1e-12)
    counts = convert([path], tmp_path / "out.bin", Cuts())
    assert counts.tracks_modelled == counts.tracks_read == len(newer.lengths)
    records = read_records(tmp_path / "out.bin")
    assert counts.tracks_written == len(records.offsets) - 1


def test_one_missing_derivative_is_no_older_file(tracks: Any, tmp_path: Path) -> None:
    """A file with some of the branches par_* must have all of them."""
    path = write_tree(tmp_path / "in.root", tracks, left_out=(LOCAL_BRANCHES[2],))
    with pytest.raises(UserError, match="lacks branch fitParam_align_local_derivation_x_par_theta"):
        convert([path], tmp_path / "out.bin", Cuts())


def test_arrays_of_fixed_length_are_hits(tmp_path: Path) -> None:
    """A branch with the same number of values in every entry is read as hits."""
    with uproot.recreate(tmp_path / "in.root") as file:
        tree = file.mktree("tree", {"x": ("f8", (3,)), "i": "i4", "f": "f4"})
        tree.extend({"x": np.arange(12.0).reshape(4, 3), "i": np.arange(4), "f": np.arange(4.0)})
    with uproot.open(tmp_path / "in.root") as file, open(tmp_path / "in.root", "rb") as raw:
        columns = {name: tree_column(file["tree"][name], raw) for name in ("x", "i", "f")}
        values, lengths = columns["x"].take(1, 3)
        assert (values.tolist(), lengths) == (list(range(3, 9)), pytest.approx([3, 3]))
        assert columns["i"].take(0, 4)[0].tolist() == columns["f"].take(0, 4)[0].tolist() == [0, 1, 2, 3]


def test_a_branch_of_other_things_is_refused(tracks: Any, tmp_path: Path) -> None:
    """A hit branch with one value per track, and a track branch with several, are rejected by name."""
    hit, track = "fitParam_align_local_residual_x", "fitParam_pz"
    swapped = {name: tracks[name] for name in NAMES} | {hit: tracks[track], track: tracks[hit]}
    for name, words in ((hit, "one number per track"), (track, "several tracks per entry")):
        columns = {other: tracks[other] for other in NAMES} | {name: swapped[name]}
        with uproot.recreate(tmp_path / "in.root") as file:
            tree = file.mktree("tree", {key: getattr(column.type, "content", "f8") for key, column in columns.items()})
            tree.extend(columns)
        with pytest.raises(UserError, match=rf"branch {name} .*{words}"):
            convert([tmp_path / "in.root"], tmp_path / "out.bin", Cuts())
    assert os.listdir(tmp_path) == ["in.root"]


@pytest.mark.parametrize("compression", [None, uproot.ZLIB(1)])
def test_a_damaged_basket_names_branch_and_entry(tracks: Any, tmp_path: Path, compression: Any) -> None:
    """A basket with unreadable bytes is reported with branch and entry."""
    path = write_tree(tmp_path / "in.root", tracks, per_basket=100, compression=compression)
    name = "fitParam_align_local_residual_x"
    with uproot.open(path) as file:
        seek = int(file["tree"][name].member("fBasketSeek")[2])
    content = bytearray(path.read_bytes())
    content[seek : seek + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"branch {name} cannot be read from entry 200 on"):
        convert([path], tmp_path / "out.bin", Cuts())
    assert os.listdir(tmp_path) == ["in.root"]


@given(at=st.integers(0, 10**6), bits=st.integers(1, 255))
@settings(max_examples=examples(75), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_damage_is_an_error_or_harmless(tmp_path: Path, at: int, bits: int) -> None:
    """A changed byte gives other numbers or a sentence with the file, and leaves no partial output."""
    source = tmp_path / "whole.root"
    if not source.exists():
        columns = ak.Array([[1.0, 2.0], [], [3.0]] * 20)
        with uproot.recreate(source) as file:
            tree = file.mktree("tree", {"f": "f8", "j": columns.type.content})
            tree.extend({"f": np.arange(60.0), "j": columns})
    content = bytearray(source.read_bytes())
    content[at % len(content)] ^= bits
    path = tmp_path / "in.root"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"in\.root"):
        list(read_tracks(path))  # there are no such branches, whatever else is wrong
    with contextlib.suppress(Exception), uproot.open(path) as file, open(path, "rb") as raw:
        # Errors of uproot or Damaged, which the reader turns into a sentence.
        for name in ("f", "j"):
            branch = next(branch for branch in file["tree"].branches if branch.name == name)
            tree_column(branch, raw).take(0, 60)
