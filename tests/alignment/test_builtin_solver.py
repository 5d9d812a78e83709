"""Test the built-in solver against pede, and on problems with known solutions."""

import os
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from millerecords import pack, words

from faser_align.alignment.pede.log import read_log
from faser_align.alignment.pede.results import read_end, read_result
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.solver import source
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.local_fit import chi2_limit
from faser_align.fsm.errors import UserError

Case = Callable[[str], Path]

FREE, DAMPED, FAILING = "case1_free_constraints", "case2_presigma_outliers", "case3_failing"
CASES = {
    (folder.parent.name, folder.name.removeprefix("expected")): read_end(folder / "millepede.end")[0]
    for folder in sorted((Path(__file__).parents[1] / "data" / "pede").glob("case*/expected*"))
}
SOLVED = [case for case, code in CASES.items() if code < 5]
ABORTED = [variant for (_, variant), code in CASES.items() if code >= 5]
ERRORS = slice(54, 68)
SAID = re.compile(r"METSOL =.*|.*Constraints handled by.*|.*Warning: .*|.*enforcing SUBITO.*")
SIZE = re.compile(r"^ LOOP1: +\d+  is .*$|^ +[A-Z]+ = +\d+ = .*$", re.MULTILINE)


@pytest.mark.parametrize(("case", "variant"), SOLVED)
def test_result_is_pedes(pede_case: Case, case: str, variant: str) -> None:
    """Result, end code, chi2, rejects, table and sizes in the log equal pede's in every digit, apart from errors."""
    folder = pede_case(case)
    solution = solve(folder / f"str{variant}.txt")
    expected = folder / f"expected{variant}"
    assert _without_errors(folder / "millepede.res") == _without_errors(expected / "millepede.res")
    assert (folder / "millepede.end").read_bytes() == (expected / "millepede.end").read_bytes()
    log = read_log(expected / "millepede.log")
    assert solution.chi2 == pytest.approx(log.chi2, rel=1e-13)
    assert (solution.ndf, solution.n_variable, solution.n_fit) == (log.ndf, log.n_variable, log.n_fit)
    assert (solution.records, solution.rejects) == (log.records, log.rejects)
    if log.expected_decrease is not None:  # a single step does not test the next one
        assert solution.expected_decrease == pytest.approx(log.expected_decrease, rel=0.03)
    for own, theirs in zip(solution.iterations, log.iterations, strict=True):
        assert (own.iteration, own.evaluation, own.rejects) == (theirs.iteration, theirs.evaluation, theirs.rejects)
        assert own.chi2 == pytest.approx(theirs.chi2, rel=1e-4)
        assert own.cut_factor == pytest.approx(theirs.cut_factor, abs=0.051)
    read = read_log(folder / "millepede.log")
    assert read.memory_mb is not None
    assert 20 < read.memory_mb < 2000
    assert read.chi2 == pytest.approx(log.chi2, rel=1e-13)
    ours_only: Any = {"expected_decrease": None, "iterations": (), "memory_mb": None}
    assert replace(read, chi2=log.chi2, **ours_only) == replace(log, **ours_only)
    assert [row[:2] + row[4:] for row in read.iterations] == [row[:2] + row[4:] for row in log.iterations]
    theirs, ours = ((place / "millepede.log").read_text() for place in (expected, folder))
    assert SIZE.findall(ours) == [line.rstrip() for line in SIZE.findall(theirs) if "NCACHE" not in line]
    assert [line.split() for line in SAID.findall(ours)] == [line.split() for line in SAID.findall(theirs)]


def test_errors_are_those_of_multipliers(pede_case: Case) -> None:
    """Errors equal those of pede's multipliers, also where pede's elimination prints wrong ones."""
    folder = pede_case(FREE)
    solve(folder / "str_multipliers.txt")
    assert (folder / "millepede.res").read_bytes() == (folder / "expected_multipliers" / "millepede.res").read_bytes()
    solve(folder / "str.txt")
    assert (folder / "millepede.res").read_bytes() == (folder / "expected_multipliers" / "millepede.res").read_bytes()


@pytest.mark.parametrize("variant", ABORTED)
def test_aborts_are_pedes(pede_case: Case, variant: str) -> None:
    """Where pede aborts, the solver stops with the same code and listing, without a result, and with a sentence."""
    folder = pede_case(FAILING)
    (folder / "millepede.res").write_text("of an earlier run")
    solution = solve(folder / f"str{variant}.txt")
    assert (folder / "millepede.end").read_bytes() == (folder / f"expected{variant}" / "millepede.end").read_bytes()
    assert read_end(folder / "millepede.end") == (solution.end_code, solution.end_text)
    assert not solution.solved
    assert solution.message
    assert "\n" not in solution.message
    if (folder / "millepede.res").exists():
        expected = folder / f"expected{variant}" / "millepede.res"
        assert (folder / "millepede.res").read_bytes() == expected.read_bytes()
        with pytest.raises(UserError, match="listing"):
            read_result(folder / "millepede.res")


def test_undetermined_modes_are_named(pede_case: Case) -> None:
    """Weak modes are named, whatever the order of the records, although rounding chooses the fixed parameter."""
    folder = pede_case(FAILING)
    content = (folder / "mp2input.bin").read_bytes()
    middle = _record_after(content, len(content) // 2)
    for records in (content, content[middle:] + content[:middle]):
        (folder / "mp2input.bin").write_bytes(records)
        solution = solve(folder / "str.txt")
        assert solution.end_code == 3
        (direction,) = solution.undetermined
        assert {label % 10 for label in direction} == {2}
        assert "shift along y" in solution.message
        assert solution.values[102] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("cache", "layouts"), [(0, 0), (500_000, 100_000), (0, 1 << 20)])
def test_records_need_not_fit_into_memory(
    pede_case: Case, monkeypatch: pytest.MonkeyPatch, cache: int, layouts: int
) -> None:
    """Results do not depend on the sizes of blocks, cache and layouts."""
    folder = pede_case(DAMPED)
    monkeypatch.setattr(source, "BLOCK_BYTES", 160_000)
    monkeypatch.setattr(source, "CACHE_BYTES", cache)
    monkeypatch.setattr(source, "LAYOUT_BYTES", layouts)
    solution = solve(folder / "str.txt")
    assert _without_errors(folder / "millepede.res") == _without_errors(folder / "expected" / "millepede.res")
    assert solution.measurements == 18038


def test_several_binaries_are_one(pede_case: Case) -> None:
    """The same records in two files give the same result as in one."""
    folder = pede_case(FREE)
    whole = (folder / "mp2input.bin").read_bytes()
    middle = _record_after(whole, len(whole) // 2)
    (folder / "a.bin").write_bytes(whole[:middle])
    (folder / "mp2input.bin").write_bytes(whole[middle:])
    text = (folder / "str.txt").read_text().replace("mp2input.bin", "a.bin\nmp2input.bin")
    (folder / "str.txt").write_text(text)
    solve(folder / "str.txt")
    assert (folder / "millepede.res").read_bytes() == (folder / "expected_multipliers" / "millepede.res").read_bytes()


def test_weights_of_files_scale_what_they_weigh(pede_case: Case) -> None:
    """A file weight leaves values unchanged and scales chi2; the end code uses chi2/ndf divided by the mean weight."""
    folder = pede_case(FREE)
    plain = solve(folder / "str.txt")
    text = (folder / "str.txt").read_text().replace("mp2input.bin", "mp2input.bin -- 0.25")
    (folder / "str.txt").write_text(text)
    weighted = solve(folder / "str.txt")
    assert weighted.values == pytest.approx(plain.values, rel=1e-6)
    assert weighted.chi2 == pytest.approx(0.25 * plain.chi2)
    assert weighted.errors[102] == pytest.approx(2 * plain.errors[102])
    assert weighted.chi2_per_ndf == pytest.approx(plain.chi2_per_ndf)
    assert weighted.end_code == 0


@pytest.mark.parametrize("weight", [0, -1e-9])
def test_a_binary_without_weight_changes_nothing(tmp_path: Path, weight: float) -> None:
    """A binary with a weight of zero, or one that is not positive, does not change the values."""
    steering = _average(tmp_path, "")
    plain = solve(steering)
    other = words([(0.0, 1.0, {1: 1.0}, {}), (5.0, 1.0, {1: 1.0}, {7: 1.0})])
    (tmp_path / "other.bin").write_bytes(30 * pack(other))
    steering.write_text(steering.read_text().replace("data.bin", f"data.bin\nother.bin -- {weight}"))
    weighted = solve(steering)
    assert weighted.records == 60
    assert weighted.values == pytest.approx(plain.values, rel=1e-6)


def test_a_measurement_that_is_too_exact_is_not_finite(tmp_path: Path) -> None:
    """An error of a measurement in the steering whose square is zero ends with pede's code 25."""
    assert solve(_average(tmp_path, "Measurement 1.0 1e-200\n7 1.0\n")).end_code == 25


def test_fixed_for_too_few_entries_is_told(pede_case: Case) -> None:
    """Parameters fixed for too few entries are named."""
    solution = solve(pede_case(DAMPED) / "str.txt")
    assert solution.entries_fixed == (11001, 11011)
    assert solution.result[11001].difference is None


def test_measurements_of_the_steering_count(tmp_path: Path) -> None:
    """A measurement in the steering and records of the same parameter are averaged by weight."""
    steering = _average(tmp_path, "Measurement 1.0 0.5\n7 1.0\n")
    solution = solve(steering)
    # 30 records, each y2 - y1 = 3 with variance 2: weight 15 at 3, and weight 4 at 1
    assert solution.values[7] == pytest.approx((15 * 3 + 4 * 1) / 19)
    assert solution.errors[7] == pytest.approx(19**-0.5)
    assert solution.result[7].entries == 31  # as in pede, including the one of the steering


def test_fixed_parameters_keep_their_start_and_act(tmp_path: Path) -> None:
    """The solver subtracts a fixed parameter's value from the measurements and does not change it."""
    solution = solve(_average(tmp_path, "Parameter\n8 0.5 -1.0\n", labels=(7, 8)))
    assert solution.values == pytest.approx({7: 2.5, 8: 0.5})


def test_a_record_with_an_error_of_zero_is_rejected(tmp_path: Path) -> None:
    """A record with an error of zero is rejected, as in pede, and the others are solved."""
    steering = _average(tmp_path, "")
    record = (tmp_path / "data.bin").read_bytes()[:68]
    broken = record[:16] + bytes(4) + record[20:]
    (tmp_path / "data.bin").write_bytes((tmp_path / "data.bin").read_bytes() + broken)
    solution = solve(steering)
    assert solution.rejects == (1, 0, 0, 0)
    assert solution.values[7] == pytest.approx(3.0)


def test_an_end_stays_behind_when_a_run_dies(tmp_path: Path) -> None:
    """During a run millepede.end says that the solver is running; a missing steering file is code 16."""
    solution = solve(tmp_path / "none.txt")
    assert solution.end_code == 16
    assert sorted(os.listdir(tmp_path)) == ["millepede.end"]
    with pytest.raises(UserError, match="does not exist"):
        solve(tmp_path / "nowhere" / "str.txt")


def test_limits_are_pedes_table() -> None:
    """The 3-sigma limits equal pede's table, continued by its approximation."""
    limits = chi2_limit(np.array([1, 2, 10, 30, 35, 45])) / np.array([1, 2, 10, 30, 35, 45])
    assert limits == pytest.approx([9.0, 5.9146, 2.6902, 1.8681, 1.757, 1.658], abs=5e-4)


def _without_errors(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line[: ERRORS.start] + line[ERRORS.stop :] for line in lines]


def _record_after(content: bytes, position: int) -> int:
    at = 0
    while at < position:
        at += 4 + 4 * struct.unpack_from("<i", content, at)[0]
    return int(at)


def _average(folder: Path, lines: str, labels: tuple[int, ...] = (7,)) -> Path:
    """Return 30 records with one local parameter, measured as 0 and 3 higher by the sum of ``labels``; errors 1."""
    record = words([(0.0, 1.0, {1: 1.0}, {}), (3.0, 1.0, {1: 1.0}, dict.fromkeys(labels, 1.0))])
    (folder / "data.bin").write_bytes(30 * pack(record))
    steering = folder / "str.txt"
    steering.write_text(f"Cfiles\ndata.bin\nmethod inversion 3 0.001\nprintcounts\n{lines}end\n")
    return steering


def test_solution_answers_questions() -> None:
    """A solution without degrees of freedom has no chi2/ndf, and constraints reduce the free parameters."""
    solution = Solution(0, "", "", {}, n_variable=10, n_fit=13)
    assert solution.chi2_per_ndf is None
    assert solution.free_parameters == 7


def test_contradicting_constraints_come_to_an_end(tmp_path: Path) -> None:
    """Contradictory constraints end with code 3, also when ``force`` continues the iterations."""
    constraints = "Constraint 1.0\n7 1.0\n8 1.0\nConstraint 2.0\n7 1.0\n8 1.0\n"
    for more in ("", "force\n"):
        solution = solve(_average(tmp_path, constraints + more, labels=(7, 8)))
        assert solution.end_code == 3
        assert len(solution.iterations) < 50
