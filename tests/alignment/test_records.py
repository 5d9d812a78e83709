"""Test reading Mille binaries."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millerecords import Measurement, measurements, pack, words

from faser_align.alignment.mille.blocks import MilleError
from faser_align.alignment.mille.records import read_records


@given(st.lists(st.tuples(st.lists(measurements(5), min_size=1, max_size=4), st.booleans()), max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_round_trip(tmp_path: Path, records: list[tuple[list[Measurement], bool]]) -> None:
    """Float and double records, mixed, are read as written, in one block or in many."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"".join(pack(words(record), double=double) for record, double in records))
    expected = [words(record) for record, _ in records]
    for block_bytes in (1, 1 << 20):
        read = read_records(path, block_bytes)
        pairs = list(zip(read.values.tolist(), read.indices.tolist(), strict=True))
        got = [pairs[start:stop] for start, stop in zip(read.offsets[:-1], read.offsets[1:], strict=True)]
        assert got == expected


def test_files_without_records(tmp_path: Path) -> None:
    """An empty file has no records; a missing one is code 15."""
    (tmp_path / "empty.bin").touch()
    records = read_records(tmp_path / "empty.bin")
    assert (len(records.values), records.offsets.tolist()) == (0, [0])
    with pytest.raises(MilleError) as raised:
        read_records(tmp_path / "none.bin")
    assert raised.value.code == 15
