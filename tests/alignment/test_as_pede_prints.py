"""Test details of pede's output that its recorded cases lack, according to its source."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from millerecords import Record, pack, words
from pedefiles import histogram

from faser_align.alignment.mille.records import read_records
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.solver.builtin import solve

LINES = "Cfiles\ndata.bin\nmethod inversion 3 0.001\nentries 5 1\n"


def line() -> Record:
    """Return a record with six equations for a straight line, and two labels that bend it."""
    return words(
        [(0.1 * (at % 3), 0.1, {1: 1.0, 2: at + 1.0}, {11: (at + 1.0) ** 2, 12: (at + 1.0) ** 3}) for at in range(6)]
    )


def few(equations: int, parameters: int) -> Record:
    """Return a record with at most as many equations as parameters."""
    powers = range(1, parameters + 1)
    return words([(0.3, 0.1, {i: (at + 1.0) ** (i - 1) for i in powers}, {11: 1.0}) for at in range(equations)])


def run(
    folder: Path, records: list[Record], lines: str = "", name: str = "str.txt", *, double: bool = False
) -> Solution:
    """Solve records with additional steering lines."""
    (folder / "data.bin").write_bytes(b"".join(pack(record, double=double) for record in records))
    (folder / name).write_text(f"{LINES}{lines}end\n")
    return solve(folder / name)


@pytest.mark.parametrize(
    ("name", "code"), [("steer", 16), ("steer.in", 16), ("str.txt", 0), ("STR.TXT", 0), ("a.xt", 0), ("text", 0)]
)
def test_a_steering_file_is_known_by_its_name(tmp_path: Path, name: str, code: int) -> None:
    """A steering file whose name marks it as a binary gives code 16, as if it could not be opened."""
    solution = run(tmp_path, [line()] * 30, name=name)
    assert solution.end_code == (code or 1)
    assert ("steer.txt" in solution.message) == (name == "steer")
    assert (tmp_path / "millepede.res").exists() == (code == 0)


def test_comments_have_pedes_form(tmp_path: Path) -> None:
    """A comment is cut or padded to 60 characters including leading blanks; its label alone puts it into the result."""
    run(tmp_path, [line()] * 30, f"comment\n11   two blanks\n99 {'long ' * 20}\n13\n")
    rows = (tmp_path / "millepede.res").read_text().splitlines()
    assert rows[1] == "!   two blanks".ljust(61)
    assert [row[:10].strip() for row in rows[2:]] == ["11", "12", "! long lon", "99"]
    assert rows[4] == ("! " + "long " * 20)[:61]
    assert rows[5] == "        99      0.0000        0.0000    "


def test_a_comment_with_a_number_is_left_out_and_told(tmp_path: Path) -> None:
    """pede treats a comment with a number as a wrong line and continues; a note says so."""
    solution = run(tmp_path, [line()] * 30, "comment\n11 layer 3\n12 the other\n")
    assert [row for row in (tmp_path / "millepede.res").read_text().splitlines() if row.startswith("!")] == [
        "! the other".ljust(61)
    ]
    (note,) = solution.notes
    assert "line 6" in note
    assert "'11 layer 3'" in note


def test_presigmas_are_counted_as_they_are_given(tmp_path: Path) -> None:
    """The log counts every positive presigma of the lists, including those of fixed and repeated labels."""
    run(tmp_path, [line()] * 30, "Parameter\n11 0 0.1\n11 0 0.2\n12 0 0.1\n12 0 -1\n11 0.1 0\n")
    assert " LOOP1:           3  is number of pre-sigmas\n" in (tmp_path / "millepede.log").read_text()


def test_the_log_tells_doubles_and_the_iterated_cut(tmp_path: Path) -> None:
    """The log has NRECD only if records contain doubles, and ITEREN only if the entries cut is iterated."""
    run(tmp_path, [line()] * 30, "iterateentries 9\n", double=True)
    log = (tmp_path / "millepede.log").read_text()
    assert "    NRECD =        30 = number of records containing doubles\n" in log
    assert "   ITEREN =         9 = iterate cut for parameters with less entries\n" in log
    run(tmp_path, [line()] * 30, "iterateentries 9\ncountrecords\n")
    log = (tmp_path / "millepede.log").read_text()
    assert "NRECD" not in log
    assert "ITEREN" not in log


def test_records_with_too_few_equations_are_in_the_histograms(tmp_path: Path) -> None:
    """A record rejected for its rank has been fitted, and is in the histograms of quantities before the rejection."""
    solution = run(tmp_path, [line()] * 30 + [few(3, 5)] * 8 + [few(2, 2)] * 2)
    assert solution.rejects == (8, 2, 0, 0)
    assert "    NALCN =         5 = max number of local parameters" in (tmp_path / "millepede.log").read_text()
    locals_ = histogram(tmp_path / "millepede.his", 11)
    assert (locals_.inside, locals_.smallest, locals_.largest) == (40, 2.0, 5.0)
    freedom = histogram(tmp_path / "millepede.his", 5)
    assert (freedom.inside, freedom.smallest, freedom.largest) == (40, 0.0, 4.0)
    residuals = histogram(tmp_path / "millepede.his", 3)
    assert residuals.below + residuals.inside + residuals.above == 180 + 24 + 4
    assert histogram(tmp_path / "millepede.his", 4).inside == 30
    assert histogram(tmp_path / "millepede.his", 6).inside == 40
    run(tmp_path, [line()] * 30 + [few(3, 5)] * 8 + [few(2, 2)] * 2, "outlierdownweighting 3\n")
    assert histogram(tmp_path / "millepede.his", 6).inside == 30


def test_a_binary_of_such_records_only_is_code_26(tmp_path: Path) -> None:
    """Records with more parameters than equations are all rejected, with code 26."""
    assert run(tmp_path, [few(3, 5)] * 10).end_code == 26


def test_histogram_2_counts_equations_in_any_case(tmp_path: Path) -> None:
    """With countrecords, the entries cut counts records, while the histogram counts equations."""
    solution = run(tmp_path, [line()] * 30, "countrecords\nprintcounts 2\n")
    assert solution.result[11].entries == 30
    assert histogram(tmp_path / "millepede.his", 2).largest == 180.0


def test_a_binary_with_a_weight_is_told_so(tmp_path: Path) -> None:
    """The log's line with the sum mentions weights if a file has a weight, even if their mean is 1."""
    (tmp_path / "more.bin").write_bytes(b"".join(pack(line()) for _ in range(30)))
    (tmp_path / "data.bin").write_bytes(b"".join(pack(line()) for _ in range(30)))
    (tmp_path / "str.txt").write_text("data.bin -- 0.5\nmore.bin -- 1.5\nmethod inversion 3 0.001\nend\n")
    assert solve(tmp_path / "str.txt").mean_weight == 1.0
    assert " Sum(W*Chi^2)/Sum(Ndf)/<W> = " in (tmp_path / "millepede.log").read_text()


@pytest.mark.slow
def test_half_a_hundredth_of_rejects_more_is_a_warning(tmp_path: Path) -> None:
    """The fraction of rejects is rounded as in Fortran: 1.005 % counts as more than 1 %."""
    good = words([(0.1, 0.1, {1: 1.0}, {}), (-0.1, 0.1, {1: 1.0}, {}), (0.05, 0.1, {1: 1.0}, {11: 1.0})])
    codes = []
    for rejects in (200, 201):
        solution = run(tmp_path, [good] * (20_000 - rejects) + [few(1, 1)] * rejects, "method inversion 1 1\n")
        assert solution.rejects == (0, rejects, 0, 0)
        codes.append(solution.end_code)
    assert codes == [0, 1]


def rank_by_loops(matrix: np.ndarray) -> int:
    """Return a symmetric matrix's rank as SQMINV of pede's mpnum finds it, by elements of the lower triangle."""
    n, v, rank = len(matrix), matrix.copy(), 0
    limits = 16 * np.finfo(float).eps * np.abs(np.diagonal(matrix))
    free = list(range(n))
    while True:
        pivot = max(free, key=lambda j: (abs(v[j, j]) > limits[j], abs(v[j, j]), -j), default=None)
        if pivot is None or not abs(v[pivot, pivot]) > limits[pivot]:
            return rank
        free.remove(pivot)
        rank += 1
        inverse = 1.0 / v[pivot, pivot]
        v[pivot, pivot] = -inverse
        for j in (j for j in range(n) if j != pivot):
            place = max(j, pivot), min(j, pivot)
            before = v[place]
            v[place] = inverse * before
            for k in (k for k in range(j + 1) if k != pivot):
                v[j, k] -= v[max(k, pivot), min(k, pivot)] * before


def test_rounding_decides_on_the_rank_as_in_pede(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """A track with fewer hits than parameters is rejected for its rank or, if rounding hides that, for zero ndf."""
    content = read_records(unpacked("mille/mp2input_4st.bin"))
    records: list[Record] = []
    expected: Counter[str] = Counter()
    for number, (start, stop) in enumerate(zip(content.offsets[:300], content.offsets[1:301], strict=True)):
        record = list(zip(content.values[start:stop].tolist(), content.indices[start:stop].tolist(), strict=True))
        zeros = [at for at, (_, index) in enumerate(record) if not index][1:]
        hits = [record[a:b] for a, b in zip(zeros[::2], [*zeros[2::2], len(record)], strict=True)]
        chosen = [hits[at] for at in sorted({(number + 5 * at) % len(hits) for at in range(1 + number % 6)})]
        records += [record] * 3 + [[(0.0, 0), *(word for hit in chosen for word in hit)]]
        matrix = np.zeros((5, 5))
        for hit in chosen:
            end = 1 + [index for _, index in hit[1:]].index(0)
            sigma, local = hit[end][0], [(value, index - 1) for value, index in hit[1:end]]
            for at, (value, i) in enumerate(local):
                for other, j in local[: at + 1]:
                    matrix[i, j] += 1.0 / sigma**2 * value * other
        rank = rank_by_loops(matrix)
        expected["rank" if rank < 5 else "ndf" if len(chosen) <= rank else "good"] += 1
        expected["hidden"] += len(chosen) < rank
    solution = run(tmp_path, records, "hugecut 1e9\n")
    assert solution.rejects == (expected["rank"], expected["ndf"], 0, 0)
    assert expected["hidden"] > 10


def test_a_step_that_leads_uphill_is_told(tmp_path: Path) -> None:
    """A first step that increases the function, since the start violates a constraint, gives code 3 with the reason."""
    solution = run(tmp_path, [line()] * 30, "Constraint -100\n11 1.0\n12 1.0\nnofeasiblestart\n")
    assert (solution.end_code, len(solution.iterations)) == (3, 1)
    assert "a step led uphill" in solution.message
