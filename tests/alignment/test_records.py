"""Reading Mille binaries."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faser_align.alignment.records import MilleError, iterate_records, read_records

Record = list[tuple[float, int]]
Measurement = tuple[float, float, dict[int, float], dict[int, float]]

singles = st.floats(-1e3, 1e3, width=32).filter(bool)
measurements = st.tuples(
    singles,
    st.floats(0.0078125, 10, width=32),
    st.dictionaries(st.integers(1, 5), singles, min_size=1),
    st.dictionaries(st.integers(1, 99999), singles, max_size=4),
)


def words(measurements: list[Measurement]) -> Record:
    """Words of one record."""
    record: Record = [(0.0, 0)]
    for value, sigma, local, global_ in measurements:
        record += [(value, 0), *((v, i) for i, v in local.items()), (sigma, 0), *((v, i) for i, v in global_.items())]
    return record


def pack(record: Record, *, double: bool = False) -> bytes:
    """Bytes of one record."""
    n = len(record)
    values = struct.pack(f"<{n}{'d' if double else 'f'}", *(value for value, _ in record))
    return struct.pack("<i", -2 * n if double else 2 * n) + values + struct.pack(f"<{n}i", *(i for _, i in record))


@given(st.lists(st.tuples(st.lists(measurements, min_size=1, max_size=4), st.booleans()), max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_round_trip(tmp_path: Path, records: list[tuple[list[Measurement], bool]]) -> None:
    """Float and double records, mixed, come back as they were written, in one chunk or in many."""
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
    """Bytes cut off, put in or changed make no other error than one with pede's code."""
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
        (struct.pack("<i", 0), 18),
        (struct.pack("<i", 7) + bytes(28), 18),
        (pack([(0.0, 0), (1.0, 0), (2.0, 1)]), 20),
        (pack(words([(1.0, 0.1, {1: float("nan")}, {})])), 20),
        (pack([(0.0, 0), (0.0, 0), (-9.0, 0), (1.0, 1)]), 20),
    ],
)
def test_damage_has_pedes_code(tmp_path: Path, content: bytes, code: int) -> None:
    """A truncated file is code 18, a broken structure or a NaN code 20, and the record is named."""
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
