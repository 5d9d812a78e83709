"""Make Mille records for tests: random measurements, and their bytes."""

import operator
import struct

from hypothesis import strategies as st

# Value and label of each word; a record begins with (0, 0).
Record = list[tuple[float, int]]
# Residual, sigma, local and global derivatives by number and label.
Measurement = tuple[float, float, dict[int, float], dict[int, float]]

_positive = st.floats(2.0**-149, 1e3, width=32)
singles = _positive | _positive.map(operator.neg)


def measurements(locals_max: int) -> st.SearchStrategy[Measurement]:
    """Draw measurements that depend on at most ``locals_max`` local parameters."""
    return st.tuples(
        singles,
        st.floats(0.0078125, 10, width=32),
        st.dictionaries(st.integers(1, locals_max), singles, min_size=1),
        st.dictionaries(st.integers(1, 99999), singles, max_size=4),
    )


def words(measurements: list[Measurement]) -> Record:
    """Return the words of one record."""
    record: Record = [(0.0, 0)]
    for value, sigma, local, global_ in measurements:
        record += [(value, 0), *((v, i) for i, v in local.items()), (sigma, 0), *((v, i) for i, v in global_.items())]
    return record


def pack(record: Record, *, double: bool = False) -> bytes:
    """Return the bytes of one record."""
    n = len(record)
    values = struct.pack(f"<{n}{'d' if double else 'f'}", *(value for value, _ in record))
    return struct.pack("<i", -2 * n if double else 2 * n) + values + struct.pack(f"<{n}i", *(i for _, i in record))
