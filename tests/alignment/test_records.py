"""Test reading Mille binaries."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millerecords import Measurement, measurements, pack, words

from faser_align.alignment.mille.records import MilleError, iterate_records, read_records


@given(st.lists(st.tuples(st.lists(measurements(5), min_size=1, max_size=4), st.booleans()), max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_round_trip(tmp_path: Path, records: list[tuple[list[Measurement], bool]]) -> None:
    """Float and double records, mixed, are read as written, in one chunk or in many."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"".join(pack(words(record), double=double) for record, double in records))
    expected = [words(record) for record, _ in records]
    for chunk in (1, 1 << 20):
        got = []
        for part in iterate_records(path, chunk):
            for start, stop in zip(part.offsets[:-1], part.offsets[1:], strict=True):
                got.append(list(zip(part.values[start:stop].tolist(), part.indices[start:stop].tolist(), strict=True)))
        assert got == expected


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_damage_is_found_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """Truncating, inserting or changing bytes gives no error without a code of pede."""
    content = bytearray(pack(words([(1.0, 0.1, {1: 2.0, 2: 1.0}, {7: 3.0})])) * 3)
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "change", "insert"]))
    if kind == "cut":
        del content[at:]
    elif kind == "change":
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content.insert(at, 0)
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    code = 0
    try:
        read_records(path)
    except MilleError as error:
        code = error.code
    assert code in (0, 18, 20, 28)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (pack(words([(1.0, 0.1, {1: 1.0}, {})]))[:-1], 18),
        (pack(words([(1.0, 0.1, {1: 1.0}, {})])) + b"\0", 18),
        (pack(words([(1.0, 0.1, {1: 1.0}, {})]))[:-4], 18),
        (struct.pack("<i", 0), 20),
        (struct.pack("<i", 7) + bytes(28), 20),
        (pack([(0.0, 0), (1.0, 0), (2.0, 1)]), 20),
        (pack(words([(1.0, 0.1, {1: float("nan")}, {})])), 20),
        (pack([(0.0, 0), (0.0, 0), (-9.0, 0), (1.0, 1)]), 20),
    ],
)
def test_damage_has_pedes_code(tmp_path: Path, content: bytes, code: int) -> None:
    """A truncated file is code 18, an empty record, a broken structure or a NaN code 20, each naming the record."""
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(MilleError) as raised:
        read_records(path)
    assert raised.value.code == code


def test_files_without_records(tmp_path: Path) -> None:
    """An empty file has no records; a missing one is code 15."""
    (tmp_path / "empty.bin").touch()
    records = read_records(tmp_path / "empty.bin")
    assert (len(records.values), records.offsets.tolist()) == (0, [0])
    with pytest.raises(MilleError) as raised:
        read_records(tmp_path / "none.bin")
    assert raised.value.code == 15
