"""Test how Mille binaries are read: as records, and by the solver as blocks of equations."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millerecords import Measurement, Record, measurements, pack, words

from faser_align.alignment.mille.blocks import MilleError, iterate_blocks
from faser_align.alignment.mille.records import read_records
from faser_align.alignment.solver import equations as module
from faser_align.alignment.solver.equations import Equations, decode, decode_again
from faser_align.alignment.solver.label_sets import LabelSets

ONE = pack(words([(1.0, 0.1, {1: 1.0}, {})]))
NEGATIVE = pack(words([(1.0, 0.1, {-1: 1.0}, {})]))  # an index; read_records accepts any
records = st.lists(st.tuples(st.lists(measurements(3), min_size=1, max_size=5), st.booleans()), max_size=6)
per_example = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def read(path: Path, block_bytes: int = 1 << 20) -> tuple[list[Equations], LabelSets]:
    """Return all equations of a file, and their sets of labels."""
    sets = LabelSets()
    return [chunk for block in iterate_blocks(path, block_bytes) for chunk, _ in decode(block, sets, path)], sets


def flat(chunks: list[Equations], sets: LabelSets) -> list[Measurement]:
    """Return the equations one by one."""
    found = []
    for chunk in chunks:
        for at in range(len(chunk.values)):
            local = {i + 1: v for i, v in enumerate(chunk.locals[:, at].tolist()) if v}
            labels = sets.labels[:, chunk.sets[at]].tolist()
            pairs = zip(labels, chunk.factors[:, at].tolist(), strict=False)
            found.append((float(chunk.values[at]), float(chunk.sigmas[at]), local, {i: v for i, v in pairs if i}))
    return found


@pytest.mark.slow
@given(records, st.booleans(), st.sampled_from([1, 100, 1 << 20]), st.sampled_from([4, 40, 1 << 22]))
@per_example
def test_round_trip(
    tmp_path: Path, records: list[tuple[list[Measurement], bool]], packed: bool, block_bytes: int, words_max: int
) -> None:
    """Float and double records, mixed, plain or gzipped, are read as written, in one piece or in many."""
    content = b"".join(pack(words(record), double=double) for record, double in records)
    (tmp_path / "x.bin").write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WORDS_MAX", words_max)
        chunks, sets = read(tmp_path / "x.bin", block_bytes)
    determined = [len({i for m in record for i in m[2]}) for record, _ in records]
    for record, _ in records:  # local parameters that a record cannot determine are omitted
        if max((i for m in record for i in m[2]), default=0) > len(record):
            return
    assert len(determined) == sum(len(chunk.n_locals) for chunk in chunks)
    assert flat(chunks, sets) == [measurement for record, _ in records for measurement in record]


@given(
    st.lists(st.lists(measurements(3), min_size=1, max_size=5), min_size=1, max_size=6), st.sampled_from([100, 1 << 20])
)
@per_example
def test_layouts_replace_indices(tmp_path: Path, records: list[list[Measurement]], block_bytes: int) -> None:
    """A block that is decoded again with its stored layout gives the same equations."""
    (tmp_path / "x.bin").write_bytes(b"".join(pack(words(record)) for record in records))
    sets = LabelSets()
    for block in iterate_blocks(tmp_path / "x.bin", block_bytes):
        ((chunk, layout),) = decode(block, sets, "x.bin", 2.0, 3)
        numbers = {tuple(local) for record in records for _, _, local, _ in record}
        assert layout or any(local != tuple(range(1, len(local) + 1)) for local in numbers)
        for first, second in zip(chunk, decode_again(block, layout, 2.0, 3), strict=True) if layout else ():
            np.testing.assert_array_equal(first, second)


@given(st.lists(st.tuples(st.lists(measurements(5), min_size=1, max_size=4), st.booleans()), max_size=5))
@per_example
def test_records_are_read_as_written(tmp_path: Path, records: list[tuple[list[Measurement], bool]]) -> None:
    """Float and double records, mixed, are read as written, in one block or in many."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"".join(pack(words(record), double=double) for record, double in records))
    expected = [words(record) for record, _ in records]
    for block_bytes in (1, 1 << 20):
        found = read_records(path, block_bytes)
        pairs = list(zip(found.values.tolist(), found.indices.tolist(), strict=True))
        got = [pairs[start:stop] for start, stop in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
        assert got == expected


def test_special_data_are_skipped(tmp_path: Path) -> None:
    """A block of special data does not change the equations of its record and its neighbours."""
    plain = words([(1.0, 0.1, {1: 2.0}, {7: 3.0}), (2.0, 0.2, {1: 1.0, 2: 4.0}, {})])
    special: Record = [(0.0, 0), (-5.0, 0), (7.0, 9), (1.0, 0), (2.0, -5), (-4.0, 0), (3.0, 0)]
    (tmp_path / "plain.bin").write_bytes(pack(plain) * 3)
    both = plain[:1] + special + plain[1:] + special
    (tmp_path / "special.bin").write_bytes(pack(plain) + pack(both) + pack(plain))
    (a,), (b,) = (read(tmp_path / name)[0] for name in ("plain.bin", "special.bin"))
    for first, second in zip(a, b, strict=True):
        np.testing.assert_array_equal(first, second)


@given(data=st.data())
@per_example
def test_damage_is_found_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """Truncating, inserting or changing bytes, also in a gzipped file, gives no error or one with a code of pede."""
    content = bytearray(pack(words([(1.0, 0.1, {1: 2.0, 2: 1.0}, {7: 3.0})])) * 3)
    if data.draw(st.booleans()):
        content = bytearray(gzip.compress(content, mtime=0))
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "change", "insert"]))
    if kind == "cut":
        del content[at:]
    elif kind == "change":
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content.insert(at, 0)
    (tmp_path / "x.bin").write_bytes(content)
    assert _code(tmp_path / "x.bin") in (0, 18, 20)


@given(st.binary(max_size=300))
@per_example
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Any file is decoded, or rejected in one sentence."""
    (tmp_path / "x.bin").write_bytes(content)
    assert _code(tmp_path / "x.bin") in (0, 18, 20)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 0),
        *((ONE[:-1], 18), (ONE + b"\0", 18), (ONE[:-4], 18)),
        *(
            (struct.pack(">i", 4) + ONE[4:], 18),
            (struct.pack("<i", 1 << 30), 18),
            (gzip.compress(ONE, mtime=0)[:-9], 18),
        ),
        *((struct.pack("<i", length) + bytes(28 * (length == 7)), 20) for length in (0, 7, 1, -1)),
        (pack([(float("nan"), 0)]), 20),
        (pack([(float("nan"), 0), *words([(1.0, 0.1, {1: 1.0}, {})])[1:]], double=True), 20),
        (pack([(0.0, 0), (1.0, 0), (2.0, 1)]), 20),
        (pack(words([(1.0, 0.1, {1: float("nan")}, {})])), 20),
        (NEGATIVE, 20),
        (pack([(0.0, 0), (0.0, 0), (-9.0, 0), (1.0, 1)]), 20),
    ],
)
def test_damage_has_pedes_code(tmp_path: Path, content: bytes, code: int) -> None:
    """A truncated file gives code 18, an empty record, a broken structure or a NaN code 20, in the solver and in ``read_records``."""
    good = pack(words([(1.0, 0.1, {1: 1.0}, {7: 1.0})]))
    path = tmp_path / "x.bin"
    path.write_bytes(content if content.startswith(b"\x1f\x8b") else good + content)
    assert _code(path) == code
    assert _code(path, read=read_records) == (0 if content == NEGATIVE else code)
    if code == 20:
        with pytest.raises(MilleError, match=r"record [23] "):
            read(path)


def test_an_odd_length_is_that_of_its_pairs(tmp_path: Path) -> None:
    """A record with an odd length has half as many values, rounded down, as in pede."""
    content = pack(words([(1.0, 0.1, {1: 1.0}, {7: 1.0})]))
    (tmp_path / "x.bin").write_bytes(
        struct.pack("<i", struct.unpack_from("<i", content)[0] + 1) + content[4:] + content
    )
    (chunk,), _ = read(tmp_path / "x.bin")
    assert chunk.values.tolist() == [1.0, 1.0]


def test_a_huge_length_costs_no_memory(tmp_path: Path) -> None:
    """A record longer than the rest of the file is reported before memory is allocated."""
    (tmp_path / "x.bin").write_bytes(struct.pack("<i", 2**31 - 2) + bytes(10_000_000))
    tracemalloc.start()
    assert _code(tmp_path / "x.bin", block_bytes=8000) == 18
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_missing_file_is_code_15(tmp_path: Path) -> None:
    """A file that cannot be opened gives pede's code 15; an empty one has no records."""
    assert _code(tmp_path / "none.bin") == _code(tmp_path / "none.bin", read=read_records) == 15
    (tmp_path / "empty.bin").touch()
    records = read_records(tmp_path / "empty.bin")
    assert (len(records.values), records.offsets.tolist()) == (0, [0])


def test_sets_of_labels_are_numbered_once() -> None:
    """Equal labels have the same number in any row, also when longer sets follow."""
    sets = LabelSets()
    first, other, same = sets.number(np.array([[7, 5, 7], [8, 0, 8]], np.int32)).tolist()
    assert first == same != other
    again = sets.number(np.array([[7, 5, 7], [8, 0, 8], [0, 0, 9]], np.int32))
    assert sets.labels[:, again].tolist() == [[7, 5, 7], [8, 0, 8], [0, 0, 9]]
    assert len(sets) == 3
    many = np.arange(1, 60001, dtype=np.int32).reshape(3, -1)
    numbers = sets.number(many)
    np.testing.assert_array_equal(sets.labels[:, numbers], many)
    np.testing.assert_array_equal(sets.number(many), numbers)


def test_the_reference_binary_decodes(unpacked: Callable[[str], Path]) -> None:
    """The records of 400 tracks have five local parameters and seven labels per hit, of 192 sides of modules."""
    (chunk,), sets = read(unpacked("mille/mp2input_4st.bin"))
    assert chunk.n_locals.tolist() == [5] * 400
    assert chunk.locals.shape == (5, 6497)
    assert sets.labels.shape == (7, 192)
    assert chunk.factors.all()


def _code(path: Path, block_bytes: int = 1 << 20, read: Callable[[Path, int], object] = read) -> int:
    """Return the code of a file's error, 0 if there is none."""
    try:
        read(path, block_bytes)
    except MilleError as error:
        return error.code if "\n" not in str(error) else -1
    return 0
