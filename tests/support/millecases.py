"""Make random problems of any shape for the solver."""

import struct
from typing import NamedTuple

import numpy as np
from millerecords import pack as pack_record
from millerecords import words


class Case(NamedTuple):
    """Random records: local and global derivative matrices, values and errors of each."""

    n_globals: int
    records: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def make_case(seed: int, n_globals: int = 8, n_records: int = 60, n_locals: int = 3, density: float = 0.5) -> Case:
    """Return records with different numbers of equations, local parameters and labels, some without labels."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n_globals)
    records = []
    for _ in range(n_records):
        locals_ = int(random.integers(1, n_locals + 1))
        n = locals_ + int(random.integers(1, 6))
        by_local = random.normal(size=(n, locals_))
        sparse = by_local * (random.random((n, locals_)) < 0.8)
        if np.linalg.matrix_rank(sparse) == locals_ and sparse[:, -1].any():
            by_local = sparse
        by_global = random.normal(size=(n, n_globals)) * (random.random((n, n_globals)) < density)
        sigmas = random.uniform(0.5, 2.0, n)
        values = by_local @ random.normal(size=locals_) + by_global @ truth + sigmas * random.normal(size=n)
        records.append(tuple(np.float32(array).astype(float) for array in (by_local, by_global, values, sigmas)))
    return Case(n_globals, records)


def pack(case: Case, *, double: bool = False, fortran: bool = False) -> bytes:
    """Return the records as a Mille binary; labels are 11, 12, ..."""
    content = b""
    for by_local, by_global, values, sigmas in case.records:
        factors = ({at: v for at, v in enumerate(row, 1) if v} for row in by_local)
        labels = ({at: v for at, v in enumerate(row, 11) if v} for row in by_global)
        record = pack_record(words(list(zip(values, sigmas, factors, labels, strict=True))), double=double)
        marker = struct.pack("<i", len(record)) if fortran else b""
        content += marker + record + marker
    return content
