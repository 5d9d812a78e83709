"""Test that solutions from summed normal equations are those from the records."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millecases import make_case, pack
from properties import examples

from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.solver.builtin import Solution, solve
from faser_align.alignment.solver.steering_data import Binary
from faser_align.alignment.solver.sums.file import sums_file, write_sums
from faser_align.alignment.solver.sums.making import make_sums
from faser_align.alignment.solver.sums.total import Total

LINES = (
    "presigma 1.0\n",
    "regularisation 1.0 1.0\n",
    "constraint 0.5\n11 1\n12 1\n",
    "constraint 0\n11 1\n13 -1\nconstraint 0.1\n12 1\n14 1\nwithmultipliers\n",
    "measurement 0.3 0.1\n11 1\n",
    "Parameter\n12 0.5 -1\n13 0.1 0.5\n",
    "entries 60 10 3\n",
    "entries 120 110\n",
    "linesearch 3\nmatiter 2\n",
    "printcounts\n",
    "force\n",
)
CUTS = ("hugecut 1e6", "hugecut 30", "hugecut 5", "hugecut 2", "hugecut 1e6\nchisqcut 30 6", "hugecut 20\nchisqcut 5 2")


def write_problem(folder: Path, seed: int) -> tuple[Path, list[Binary]]:
    """Write a random problem of several weighted binaries, of which some records are outliers; return its steering."""
    random = np.random.default_rng(seed)
    binaries = []
    for number in range(int(random.integers(1, 4))):
        n_globals = int(random.integers(5, 9))
        case = make_case(1000 * seed + number, n_globals, int(random.integers(20, 120)))
        outliers = random.integers(0, 8)
        records = [
            (a, b, c + random.normal(size=len(c)) * (at < outliers) * 10, d)
            for at, (a, b, c, d) in enumerate(case.records)
        ]
        path = folder / f"data{number}.bin"
        path.write_bytes(pack(case._replace(records=records), double=bool(random.integers(2))))
        binaries.append(Binary(path, float(random.choice([1.0, 1.0, 0.5, 2.25]))))
    names = "".join(f"{b.path.name}{'' if b.weight == 1 else f' -- {b.weight:g}'}\n" for b in binaries)
    lines = "".join(random.choice(LINES, int(random.integers(0, 4)), replace=False))
    method = random.choice(list(METHODS))
    steering = folder / "str.txt"
    steering.write_text(
        f"Cfiles\n{names}entries 1 1\n{random.choice(CUTS)}\nmethod {method} {random.integers(1, 5)} 1e-9\n{lines}end\n"
    )
    return steering, binaries


def sum_up(steering: Path, binaries: list[Binary], near_bytes: int = 1 << 20) -> Total:
    """Write the sums of the binaries for the cuts of the steering, and add them."""
    text = steering.read_text()
    huge_cut = float(text.partition("hugecut ")[2].split()[0])
    for binary in binaries:
        sums = make_sums(binary.path, huge_cut, has_chi2_cut="chisqcut" in text, near_bytes=near_bytes)
        write_sums(sums_file(binary.path), sums)
    return Total(binaries)


def assert_equal(summed: Solution, full: Solution) -> None:
    """Assert that two solutions agree to 1e-9 of the errors, with the same rejects and the same table."""
    assert (summed.end_code, summed.message, summed.rejects) == (full.end_code, full.message, full.rejects)
    assert (summed.ndf, summed.n_fit, summed.measurements) == (full.ndf, full.n_fit, full.measurements)
    rejects = [{row.iteration: row.rejects for row in solution.iterations} for solution in (summed, full)]
    # rounding decides whether a converged line search evaluates the function once more
    assert all(rejects[0][iteration] == rejects[1][iteration] for iteration in rejects[0].keys() & rejects[1].keys())
    assert summed.chi2 == pytest.approx(full.chi2, rel=1e-11)
    for label, row in full.result.items():
        found = summed.result[label]
        assert found.entries == row.entries
        if row.error:
            assert found.error == pytest.approx(row.error, rel=1e-9)
        assert found.value == pytest.approx(row.value, abs=1e-9 * abs(row.error or 1.0))


@pytest.mark.slow
@given(seed=st.integers(0, 10**6))
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_sums_give_the_solution_of_the_records(tmp_path: Path, seed: int) -> None:
    """Random problems with methods, cuts, constraints, entry limits and weights have one solution from sums and records."""
    steering, binaries = write_problem(tmp_path, seed)
    total = sum_up(steering, binaries)
    full = solve(steering)
    assert_equal(solve(steering, total), full)
