"""Test that summed normal equations give the same solutions as the records."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millecases import make_case, pack
from pedefiles import blocks, histogram, monitored
from properties import examples

from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.steering import Binary
from faser_align.alignment.solver.sums.file import read_sums, sums_file, write_sums
from faser_align.alignment.solver.sums.making import make_sums
from faser_align.alignment.solver.sums.total import Total
from faser_align.fsm.errors import UserError

LINES = (
    *("presigma 1.0\n", "regularisation 1.0 1.0\n", "constraint 0.5\n11 1\n12 1\n", "measurement 0.3 0.1\n11 1\n"),
    "constraint 0\n11 1\n13 -1\nconstraint 0.1\n12 1\n14 1\nwithmultipliers\n",
    *("Parameter\n12 0.5 -1\n13 0.1 0.5\n", "entries 60 10 3\n", "entries 120 110\n", "linesearch 3\nmatiter 2\n"),
    *("printcounts\n", "force\n"),
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
        if not random.integers(5):
            records[-1][3][0] = 0.0  # an error of zero
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
@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_sums_give_the_solution_of_the_records(tmp_path: Path, seed: int) -> None:
    """Sums and records give the same solution for random methods, cuts, constraints, entry limits and weights."""
    steering, binaries = write_problem(tmp_path, seed)
    total = sum_up(steering, binaries)
    full = solve(steering)
    assert_equal(solve(steering, total), full)


REASONS = [
    ("outlierdownweighting 3\n", "outlierdownweighting"),
    ("hugecut 40\n", "hugecut is 40, and the sums were made with 50"),
    ("chisqcut 30 6\n", "chisqcut was not known"),
    *(
        (f"{line}\n", f"{line.split()[0]} needs the records")
        for line in ("countrecords", "maxrecord 10", "scaleerrors 2", "checkinput", "pullrange 5", "monitorpulls")
    ),
    ("monitorresiduals 3 200\n", "the number of bins of monitorresiduals needs the records"),
    ("Parameter\n11 100 -1\n", "the corrections change measurements by up to"),
    ("constraint 1\n99 1\n", "the listing needs the records"),
]


@pytest.mark.parametrize(("lines", "reason"), REASONS)
def test_the_records_are_read_where_sums_are_not_exact(tmp_path: Path, lines: str, reason: str) -> None:
    """Where sums are not exact, the solver reads the binaries, and result and log say why."""
    path = tmp_path / "data.bin"
    path.write_bytes(pack(make_case(3)))
    steering = tmp_path / "str.txt"
    steering.write_text(f"Cfiles\ndata.bin\nentries 1 1\nhugecut 50\nmethod inversion 3 1e-9\n{lines}end\n")
    write_sums(sums_file(path), make_sums(path, 50.0))
    solution = solve(steering, Total([Binary(path)]))
    assert not solution.from_sums
    assert reason in solution.why_not_sums
    assert f"from the binaries, not from their sums: {reason}" in (tmp_path / "millepede.log").read_text()
    full = solve(steering)
    assert (solution.values, solution.rejects, solution.end_code) == (full.values, full.rejects, full.end_code)


def test_histograms_from_sums_are_those_of_the_first_pass(tmp_path: Path) -> None:
    """Histograms of the first pass and residuals by label are summed, too; there are none of later passes."""
    binaries = []
    for number in range(2):
        case = make_case(20 + number, n_records=200)
        path = tmp_path / f"data{number}.bin"
        # equal errors, since residuals by label are in units of the mean error of the label
        path.write_bytes(pack(case._replace(records=[(a, b, c, np.ones_like(d)) for a, b, c, d in case.records])))
        binaries.append(Binary(path))
    steering = tmp_path / "str.txt"
    steering.write_text(
        "Cfiles\ndata0.bin\ndata1.bin\nentries 1 1\nhugecut 50\nmethod inversion 3 1e-9\nmonitorresiduals\nend\n"
    )
    assert solve(steering, sum_up(steering, binaries)).from_sums
    rows = monitored(tmp_path / "millepede.mon")
    found = {
        key: histogram(tmp_path / "millepede.his", *key[1:])
        for key in blocks(tmp_path / "millepede.his")
        if key[0] != "XY-Data"
    }
    solve(steering)
    assert rows == [row for row in monitored(tmp_path / "millepede.mon") if row.cycle == 1]
    assert {number for _, number, _ in found} == {1, 2, 3, 4, 5, 8, 11, 12, 13, 14, 15}
    for (_, number, version), mine in found.items():
        expected = histogram(tmp_path / "millepede.his", number, version)
        assert version == 0
        assert mine.below + mine.inside + mine.above == expected.below + expected.inside + expected.above
        assert mine.inside >= 0.99 * (mine.below + mine.inside + mine.above)
        assert mine.smallest == pytest.approx(expected.smallest, rel=1e-6)
    pulls = np.array(found["Histogram", 13, 0].bins)
    assert np.average((np.arange(120) + 0.5) / 10 - 6, weights=pulls) == pytest.approx(0, abs=1)


def test_sums_with_records_near_a_cut(tmp_path: Path) -> None:
    """Records that may cross a cut are stored and fitted again; with room for fewer of them, the margin is smaller."""
    case = make_case(4, n_records=200)
    most = 0.99 * np.random.default_rng(4).normal(
        size=case.n_globals
    )  # close to the truth, so that the corrections are small
    pulled = [
        (a, b, c - b @ most + (at < 40) * at / 10 * np.resize([1, -1], len(c)), d)
        for at, (a, b, c, d) in enumerate(case.records)
    ]
    path = tmp_path / "data.bin"
    path.write_bytes(pack(case._replace(records=pulled)))
    steering = tmp_path / "str.txt"
    steering.write_text("Cfiles\ndata.bin\nentries 1 1\nhugecut 4\nmethod inversion 5 1e-9\nend\n")
    total = sum_up(steering, [Binary(path)], near_bytes=8000)
    assert 0 < total.near < 200
    summed, full = solve(steering, total), solve(steering)
    assert summed.from_sums
    assert {row.rejects for row in full.iterations} == {3, 4}  # a record does cross the cut
    assert_equal(summed, full)
    assert f"{total.near} records near a cut are fitted again" in " ".join(summed.notes)
    few = make_sums(path, 4.0, near_bytes=2000)
    assert few.near_words.nbytes <= 2000
    assert few.margin < make_sums(path, 4.0, near_bytes=8000).margin


def test_sums_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    """Sums that are missing, damaged, truncated, of another version, or made from another binary are not used."""
    path = tmp_path / "data.bin"
    path.write_bytes(pack(make_case(1)))
    sums = tmp_path / "data.sums"
    with pytest.raises(UserError, match=r"data.sums is missing"):
        read_sums(path)
    write_sums(str(sums), make_sums(path, 50.0))
    good = sums.read_bytes()
    for content, reason in {
        good[:-1]: "is damaged: its checksum is wrong",
        good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]: "is damaged: its checksum is wrong",
        b"": "is damaged, or not a file of sums",
        b"\0" * 500: "is damaged, or not a file of sums",
        good.replace(b"sums 3 ", b"sums 2 ", 1): "has version 2, not 3",
    }.items():
        sums.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            read_sums(path)
    sums.write_bytes(good)
    assert read_sums(path).records == 60
    path.write_bytes(pack(make_case(2)))
    with pytest.raises(UserError, match=r"was not made from the present data.bin"):
        read_sums(path)
    write_sums(str(tmp_path / "other.sums"), make_sums(path, 60.0))
    path.rename(tmp_path / "other.bin")
    path.write_bytes(pack(make_case(1)))
    with pytest.raises(UserError, match="made with different cuts"):
        Total([Binary(path), Binary(tmp_path / "other.bin")])


def test_sums_that_would_be_too_large_are_refused(tmp_path: Path) -> None:
    """A binary without labels, or with more than 2 MB of normal equations, has no sums."""
    path = tmp_path / "data.bin"
    path.write_bytes(pack(make_case(1, n_globals=700, n_records=5, density=1.0)))
    with pytest.raises(UserError, match=r"the normal equations of 700 labels would need 2.0 MB"):
        make_sums(path, 50.0)
    path.write_bytes(pack(make_case(1, density=0.0)))
    with pytest.raises(UserError, match="the records have no labels"):
        make_sums(path, 50.0)
