"""Test that every file of pede's reference cases is read exactly."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faser_align.alignment.pede.log import first_decrease, read_log
from faser_align.alignment.pede.runner import read_outputs
from faser_align.alignment.pede.solution import accept
from faser_align.fsm.errors import UserError


class Golden(NamedTuple):
    """Content of a case's files; 348 labels each."""

    code: int
    records: int
    sizes: tuple[int, int, int]  # variable, fit, constraints
    chi2_per_ndf: float | None
    rejects: tuple[int, int, int, int]
    decrease: float | None
    defects: tuple[int | None, int | None]  # rank of the constraints, rank defect of the matrix


NONE = (0, 0, 0, 0)
CASES = {
    "case1_free_constraints/expected": Golden(0, 760, (24, 19, 5), 0.98986, NONE, 11757.9, (5, 0)),
    "case1_free_constraints/expected_multipliers": Golden(0, 760, (24, 29, 5), 0.99058, NONE, 11757.9, (5, 0)),
    "case2_presigma_outliers/expected": Golden(1, 780, (70, 64, 6), 1.273056, (0, 0, 0, 36), 2017.961, (6, 0)),
    "case2_presigma_outliers/expected_chisqcut": Golden(1, 780, (70, 64, 6), 1.233024, (0, 0, 0, 142), 2000.0, (6, 0)),
    "case2_presigma_outliers/expected_downweight": Golden(1, 780, (70, 64, 6), 1.359119, NONE, 2017.96, (6, 0)),
    "case2_presigma_outliers/expected_plain": Golden(1, 780, (70, 64, 6), 2.806814, NONE, 2017.96, (6, 0)),
    "case2_presigma_outliers/expected_regularisation": Golden(
        1, 780, (70, 64, 6), 1.271093, (0, 0, 0, 37), 2000.0, (6, 0)
    ),
    "case3_failing/expected": Golden(3, 400, (24, 24, 0), 0.994332, NONE, None, (None, 1)),
    "case3_failing/expected_code00_good": Golden(0, 400, (24, 19, 5), 0.991135, NONE, 18.23, (5, 0)),
    "case3_failing/expected_code01_scaled_errors": Golden(1, 400, (24, 19, 5), 0.247784, NONE, 4.55751, (5, 0)),
    "case3_failing/expected_code02_entries": Golden(2, 400, (24, 19, 5), 0.991135, NONE, 18.23, (5, 0)),
    "case3_failing/expected_code03_duplicate_constraint": Golden(3, 400, (24, 18, 6), 0.993507, NONE, None, (5, 0)),
    "case3_failing/expected_code05_empty_constraint": Golden(5, 400, (24, 18, 6), None, NONE, None, (5, None)),
    "case3_failing/expected_code13_unknown_keyword": Golden(13, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code18_truncated": Golden(18, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code20_nan": Golden(20, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code22_all_fixed": Golden(22, 0, (0, 0, 0), None, NONE, None, (None, None)),
    "case3_failing/expected_code26_too_many_rejects": Golden(26, 150, (24, 19, 5), None, NONE, None, (5, None)),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_read_to_the_number(data: Path, case: str) -> None:
    """End code, sizes, chi2, rejects, first decrease and defects of each case are read from its files."""
    expected, folder = CASES[case], data / "pede" / case
    solution = read_outputs(folder / "str.txt")
    assert solution.end_code == expected.code
    assert solution.records == expected.records
    assert (solution.n_variable, solution.n_fit, solution.constraints) == expected.sizes
    assert solution.rejects == expected.rejects
    assert (solution.constraint_rank, solution.rank_defect) == expected.defects
    assert solution.expected_decrease == (None if expected.decrease is None else pytest.approx(expected.decrease))
    if expected.chi2_per_ndf is not None:
        assert solution.chi2_per_ndf == pytest.approx(expected.chi2_per_ndf, abs=2e-5)
    assert len(solution.result) == (348 if expected.code < 5 else 0)
    assert solution.solved == (expected.code < 5)
    assert bool(solution.message) == (expected.code > 1)


def test_every_case_is_looked_at(data: Path) -> None:
    """The table above has every folder of recorded outputs."""
    found = {str(path.relative_to(data / "pede")) for path in (data / "pede").glob("case*/expected*")}
    assert found == set(CASES)


@pytest.mark.parametrize(
    ("code", "ok", "solved"), [(0, (), True), (1, (), True), (2, (2, 3, 4), True), (2, (3, 4), False), (3, (), False)]
)
def test_severe_warnings_are_good_enough_if_allowed(data: Path, code: int, ok: tuple[int, ...], solved: bool) -> None:
    """Results with codes 2 to 4 are used only if the configuration allows it; the refusal quotes pede."""
    (folder,) = (data / "pede" / "case3_failing").glob(f"expected_code{code:02d}_*")
    accepted = accept(read_outputs(folder / "str.txt"), ok)
    assert bool(accepted.values) == solved
    if not solved:
        assert accepted.message.startswith(f"{code} Ended with severe warnings")
        assert "solver.warnings_ok" in accepted.message


def test_the_first_decrease_has_seven_digits(data: Path, tmp_path: Path) -> None:
    """The first decrease is read from the histogram file; other points, a truncated and a missing file give none."""
    assert first_decrease(data / "pede" / "millepede_2024.his") == 6094.536
    head = "XY-Data    {}          version    0          type {}\nTitle\n          stored  not-stored          1\n"
    text = head.format(6, 1) + "x-y\n        1.000000       2.500000    \nend of xy-data\n"
    assert first_decrease(tmp_path / "millepede.his") is None
    for more, decrease in (
        ("", None),
        ("   2.0 1.0 0.5 0.25\nend of xy-data\n", 0.25),
        ("   2.0 1.0 0.5 0.25\n", None),
    ):
        values = head.format(1, 4) + "x-y-dx-dy\n   1.0 2.0 0.5 0.0\n" + more
        (tmp_path / "millepede.his").write_text(text + values)
        assert first_decrease(tmp_path / "millepede.his") == decrease


@given(st.text(alphabet="XY-Dataversion0123456789.\nendof", max_size=300))
@settings(deadline=None)
def test_any_text_is_no_crash(text: str) -> None:
    """Any histogram file and any log is read, or rejected in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "millepede.his"
        path.write_text("XY-Data    1          version    0          type 4\n\n\nx-y-dx-dy\n" + text)
        first_decrease(path)
        try:
            read_log(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 -- both outcomes are correct
