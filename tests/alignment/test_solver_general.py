"""Test the built-in solver on problems of any shape, against one dense least-squares fit."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millecases import Case, make_case, pack
from millerecords import pack as pack_record
from millerecords import words
from properties import SOAK, examples

from faser_align.alignment.arrays import FloatArray
from faser_align.alignment.pede.keywords import METHODS
from faser_align.alignment.pede.results import END_TEXTS, read_end
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.solver import blas, equations, normal_matrix, passes, quadratic, source
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.problem import make_problem
from faser_align.alignment.solver.steering import parse_steering


def run(folder: Path, content: bytes, lines: str, kind: str = "Cfiles") -> Solution:
    """Solve records with additional steering lines."""
    (folder / "data.bin").write_bytes(content)
    (folder / "str.txt").write_text(
        f"{kind}\ndata.bin\nentries 1 1\nhugecut 1e6\nmethod inversion 3 1e-9\n{lines}end\n"
    )
    return solve(folder / "str.txt")


def normal(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix and vector of the normal equations after eliminating local parameters, record by record."""
    matrix, vector = np.zeros((case.n_globals, case.n_globals)), np.zeros(case.n_globals)
    for by_local, by_global, values, sigmas in case.records:
        root = np.linalg.qr(by_local / sigmas[:, None], mode="complete")[0][:, by_local.shape[1] :]
        left = root.T @ (by_global / sigmas[:, None])
        matrix += left.T @ left
        vector += left.T @ (root.T @ (values / sigmas))
    return matrix, vector


def dense(case: Case, presigma: float = 0.0, constraint: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return values and errors of the dense fit."""
    matrix, vector = normal(case)
    if constraint is not None:
        basis = np.linalg.qr(constraint[:, None], mode="complete")[0][:, 1:]
        covariance = basis @ np.linalg.inv(basis.T @ matrix @ basis) @ basis.T
    else:
        covariance = np.linalg.inv(matrix + np.eye(len(matrix)) * (presigma**-2 if presigma else 0.0))
    return covariance @ vector, np.sqrt(np.diagonal(covariance))


def assert_is(solution: Solution, values: np.ndarray, errors: np.ndarray) -> None:
    """Assert the solution's values and errors."""
    np.testing.assert_allclose(list(solution.values.values()), values, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(list(solution.errors.values()), errors, rtol=1e-6)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), places=st.sampled_from([0, 16]), words=st.sampled_from([50, 1 << 22]))
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_records_are_solved(tmp_path: Path, seed: int, places: int, words: int) -> None:
    """Records of all shapes, read in blocks of any size and solved by any method, give the result of a dense fit."""
    case = make_case(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normal_matrix, "_PLACES_MAX", places)
        patch.setattr(normal_matrix, "_RECORDS", 7)
        patch.setattr(equations, "_WORDS_MAX", words)
        assert_is(run(tmp_path, pack(case), ""), *dense(case))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "without_records"),
    [
        *((lines, True) for lines in ("", "presigma 1.0\n", "regularisation 1.0 1.0\n", "measurement 0.3 0.1\n11 1\n")),
        ("constraint 0.5\n11 1\n12 1\n", True),
        *((f"{cut}\n", False) for cut in ("hugecut 3", "hugecut 1", "chisqcut 5 2", "chisqcut 0.5 2")),
        ("outlierdownweighting 3\n", False),
    ],
)
def test_passes_without_records_give_the_same_solution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, without_records: bool
) -> None:
    """Where the function is quadratic, later passes read no records; where records cross a cut, they read them. Both
    kinds of pass give the same solution."""
    seen: set[str] = set()
    for seed in range(6 if SOAK else 2):
        case = make_case(seed, n_records=200)
        random = np.random.default_rng(seed)
        records = [
            (a, b, c + random.normal(size=len(c)) * (at < 20) * 4, d) for at, (a, b, c, d) in enumerate(case.records)
        ]
        content = pack(case._replace(records=records))
        lines_of_all = f"linesearch 3\nmatiter 0\n{lines}"
        quick = run(tmp_path, content, lines_of_all)
        with monkeypatch.context() as patch:
            patch.setattr(quadratic.Quadratic, "at", lambda *_: None)
            full = run(tmp_path, content, lines_of_all)
        assert (quick.end_code, quick.rejects, quick.ndf) == (full.end_code, full.rejects, full.ndf)
        # at the minimum the slope is rounding, which decides whether a line search begins
        assert {row.rejects for row in quick.iterations[1:]} == {row.rejects for row in full.iterations[1:]}
        assert [row.rejects for row in quick.iterations[:3]] == [row.rejects for row in full.iterations[:3]]
        assert quick.chi2 == pytest.approx(full.chi2, rel=1e-12)
        for label, error in full.errors.items():
            assert quick.values[label] == pytest.approx(full.values[label], abs=1e-9 * error)
        seen |= {kind for kind, _ in quick.passes_s[3:-1]}
    assert ("Q" in seen) == without_records


@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_a_step_hold_for_every_record(tmp_path: Path, seed: int) -> None:
    """Each of three bounds limits the change of every record's root of chi2, along any direction."""
    (tmp_path / "data.bin").write_bytes(pack(make_case(seed, n_records=100)))
    (tmp_path / "str.txt").write_text("Cfiles\ndata.bin\nmethod inversion 1 0.1\nentries 1 1\nhugecut 1e9\nend\n")
    problem = make_problem(parse_steering(tmp_path / "str.txt"))
    of = (problem.source, problem.steering, problem.parameters)

    def roots(values: FloatArray) -> FloatArray:
        found = []
        also = [(values, lambda _, fits, __: found.append(fits.chi2))]
        passes.run_pass(*of, values, 0.0, first=False, with_matrix=False, also=also)
        return np.sqrt(np.concatenate(found))

    here, equations_of = problem.starts.copy(), np.concatenate([np.diff(chunk.offsets) for chunk in problem.source])
    done = passes.run_pass(*of, here, 0.0, first=True, with_matrix=True)
    places = problem.parameters.positions(problem.source.sets.labels)
    function = quadratic.Quadratic(done, here, 0.0, problem.variable, places, 1.0, lambda *_: passes.Pass())
    vectors = np.linalg.eigh(done.matrix)[1].T
    random = np.random.default_rng(seed)
    for step in [*vectors, *random.normal(size=(5, len(vectors))), 100 * vectors[0] + 0.01 * vectors[-1]]:
        moved = here.copy()
        moved[problem.variable] += step
        change = np.max(np.abs(roots(moved) - roots(here)) / np.sqrt(equations_of))
        bounds = (function._change(step), function._change_of_fits(step), function._change_in_parts(step))
        assert 0 < change <= min(bounds)


def test_records_near_a_cut_are_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that crosses a cut is rejected from then on, though only the last pass reads those far from it."""
    monkeypatch.setattr(passes, "_MANY", 0)
    monkeypatch.setattr(passes, "_NEAR", 0.1)
    case, random = make_case(3, n_records=300), np.random.default_rng(3)
    wide = random.uniform(1, 8, 300) * (np.arange(300) < 30)
    records = [
        (a, b, c + by * random.normal(size=len(c)), d) for by, (a, b, c, d) in zip(wide, case.records, strict=True)
    ]
    content = pack(case._replace(records=records))
    about = run(tmp_path, content, "hugecut 7\n").values
    starts = "".join(f"{label} {round(value, 1)} 0\n" for label, value in about.items())
    lines = f"hugecut 7\nlinesearch 3\nparameter\n{starts}"
    quick = run(tmp_path, content, lines)
    histograms = (tmp_path / "millepede.his").read_text().split("XY-Data")[0]
    monkeypatch.setattr(quadratic.Quadratic, "at", lambda *_: None)
    full = run(tmp_path, content, lines)
    assert [kind for kind, _ in quick.passes_s] == ["count", "FMS", *["Q"] * 5, "his"]
    assert [row.rejects for row in quick.iterations] == [row.rejects for row in full.iterations] == [2, 3, 3, 3, 3, 3]
    assert (quick.end_code, quick.rejects, quick.ndf) == (full.end_code, full.rejects, full.ndf)
    for label, error in full.errors.items():
        assert quick.values[label] == pytest.approx(full.values[label], abs=1e-9 * error)
    assert (tmp_path / "millepede.his").read_text().split("XY-Data")[0] == histograms


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_huge_records_do_not_count(tmp_path: Path, fraction: float) -> None:
    """Records beyond ``hugecut`` add neither chi2 nor degrees of freedom: the result is that of the other records."""
    case = make_case(5, n_records=100)
    huge = int(100 * fraction)
    shift = 1e6 * np.random.default_rng(1).normal(size=99)
    shifted = [(a, b, c + shift[: len(c)], d) for a, b, c, d in case.records[:huge]]
    without = run(tmp_path, pack(case._replace(records=case.records[huge:])), "hugecut 50\n")
    solution = run(tmp_path, pack(case._replace(records=[*shifted, *case.records[huge:]])), "hugecut 50\n")
    assert solution.rejects is not None
    assert (solution.rejects.huge_chi2, solution.records - huge) == (huge, without.records)
    assert (solution.chi2, solution.ndf, solution.values) == (without.chi2, without.ndf, without.values)
    assert 0.8 < solution.chi2 / solution.ndf < 1.2


@pytest.mark.parametrize(("percent", "code"), [("", 1), (" 5", 1), (" 20", 0)])
def test_rejects_are_a_warning_above_a_limit(tmp_path: Path, percent: str, code: int) -> None:
    """Above ``outlierfracwarnthreshold`` percent of rejected records, 1 by default, the end code is 1."""
    case = make_case(2, n_records=400)
    records = [(a, b, c + 1e6 * np.arange(len(c)) ** 2 * (at < 40), d) for at, (a, b, c, d) in enumerate(case.records)]
    content = pack(case._replace(records=records))
    assert run(tmp_path, content, f"hugecut 50\noutlierfracwarnthreshold{percent}\n").end_code == code


def test_many_local_parameters_and_labels(tmp_path: Path) -> None:
    """Records with a hundred local parameters, and equations with 30 labels, are solved."""
    case = make_case(5, n_globals=30, n_records=40, n_locals=100, density=1.0)
    assert_is(run(tmp_path, pack(case), ""), *dense(case))


@pytest.mark.parametrize("how", ["withelimination", "withmultipliers"])
def test_constraints_hold_and_errors_are_right(tmp_path: Path, how: str) -> None:
    """With either handling of a constraint, values and errors equal those of the constrained fit."""
    case = make_case(2)
    factors = np.arange(1.0, 9.0)
    terms = "".join(f"{label + 11} {factor}\n" for label, factor in enumerate(factors))
    solution = run(tmp_path, pack(case), f"{how}\nConstraint 0.0\n{terms}")
    assert_is(solution, *dense(case, constraint=factors))
    assert factors @ list(solution.values.values()) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_methods_share_one_solution(tmp_path: Path, method: str) -> None:
    """Every method gives the same values; those without errors in pede print none."""
    case = make_case(3)
    solution = run(tmp_path, pack(case), f"method {method} 3 1e-9\nprintcounts\n")
    np.testing.assert_allclose(list(solution.values.values()), dense(case)[0], rtol=1e-6)
    line = (tmp_path / "millepede.res").read_text().splitlines()[1]
    with_errors = method in ("inversion", "diagonalization")
    assert (len(line), bool(line[54:68].strip()), bool(solution.errors)) == (80, with_errors, with_errors)
    assert int(line[68:]) == solution.result[11].entries


def test_methods_search_along_damped_steps_with_their_own_care(tmp_path: Path) -> None:
    """Where presigmas damp the steps, MINRES searches more points along each, as in pede, and is nearer to the solution."""
    case = make_case(3)
    values = dense(case)[0]
    distances, passes = {}, {}
    for method in ("inversion", "diagonalization", "sparseMINRES"):
        solution = run(tmp_path, pack(case), f"presigma 0.2\nmethod {method} 1\n")
        distances[method] = np.linalg.norm(np.array(list(solution.values.values())) - values)
        passes[method] = len(solution.iterations)
    assert distances["sparseMINRES"] < distances["inversion"] == distances["diagonalization"]
    assert passes["sparseMINRES"] > passes["inversion"] == passes["diagonalization"]


def test_containers_are_alike(tmp_path: Path) -> None:
    """Double records, a gzipped file and Fortran's markers give the same as the plain file."""
    case = make_case(4)
    plain = run(tmp_path, pack(case), "")
    assert run(tmp_path, pack(case, double=True), "").values == pytest.approx(plain.values, rel=1e-9)
    assert run(tmp_path, gzip.compress(pack(case)), "").values == plain.values
    assert run(tmp_path, pack(case, fortran=True), "", "fortranfiles").values == plain.values
    wrong = run(tmp_path, pack(case), "", "fortranfiles")
    assert (wrong.end_code, wrong.records) == (18, 0)


def test_global_correlations(tmp_path: Path) -> None:
    """Global correlations follow from the covariance, in a column after the errors, but not together with counts."""
    case = make_case(6)
    solution = run(tmp_path, pack(case), "globalcorr\n")
    line = (tmp_path / "millepede.res").read_text().splitlines()[1]
    assert float(line[68:76]) == pytest.approx(solution.result[11].correlation, abs=6e-4)
    matrix, _ = normal(case)
    expected = np.sqrt(1 - 1 / (np.diagonal(matrix) * np.diagonal(np.linalg.inv(matrix))))
    got = [row.correlation for row in solution.result.values()]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    counted = run(tmp_path, pack(case), "globalcorr\nprintcounts\n")
    assert counted.result[11].correlation is None


def test_entries_are_counted_again(tmp_path: Path) -> None:
    """With a third number, equations with a parameter below the entries cut do not count for others."""
    rare, often = 12, 11
    record = _record([(1.0, {1: 1.0}, {often: 1.0}), (2.0, {1: 1.0}, {})])
    mixed = _record([(1.0, {1: 1.0}, {often: 1.0, rare: 1.0}), (2.0, {1: 1.0}, {})])
    content = 6 * record + 3 * mixed
    assert run(tmp_path, content, "entries 4 1\n").entries_fixed == (rare,)
    assert run(tmp_path, content, "entries 7 1\n").entries_fixed == (rare,)
    again = run(tmp_path, content, "entries 7 1 2\n")
    assert (again.end_code, again.entries_fixed) == (22, ())
    assert run(tmp_path, content, "entries 7 1\niterateentries 9\n").entries_fixed == (rare,)


def test_records_may_be_counted_instead(tmp_path: Path) -> None:
    """With countrecords a record counts once for each of its labels, however often the label occurs in it."""
    twice = _record([(1.0, {1: 1.0}, {11: 1.0}), (2.0, {1: 1.0}, {11: 2.0}), (2.0, {1: 1.0}, {})])
    solution = run(tmp_path, 5 * twice, "printcounts 2\n")
    assert solution.result[11].entries == 10
    assert run(tmp_path, 5 * twice, "printcounts 2\ncountrecords\n").result[11].entries == 5


def test_records_can_be_limited(tmp_path: Path) -> None:
    """maxrecord limits the records over all files, in every pass."""
    case = make_case(7)
    few = Case(case.n_globals, case.records[:30])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "CACHE_BYTES", 0)
        patch.setattr(source, "BLOCK_BYTES", 1000)
        solution = run(tmp_path, pack(case), "maxrecord 30\n")
    assert solution.records == 30
    assert_is(solution, *dense(few))


def test_a_truncated_file_may_end_where_it_does(tmp_path: Path) -> None:
    """With readerroraseof the complete records are used, and the end code is 4."""
    case = make_case(8)
    assert run(tmp_path, pack(case)[:-5], "").end_code == 18
    solution = run(tmp_path, pack(case)[:-5], "readerroraseof\n")
    assert (solution.end_code, solution.records) == (4, 59)
    assert "data.bin" in solution.message


def test_checking_only_leaves_a_listing(tmp_path: Path) -> None:
    """checkinput lists parameters and constraints without solving, checkinput 2 also where they occur; both give code 0."""
    more = "Parameter\n11 0.5 -1\n40 0 0.1\nComment\n12 one\nConstraint 0\n11 1\nConstraint 0\n12 1\n13 1\n"
    first = "entries 25 1 9\n"
    case = make_case(9)
    (tmp_path / "more.bin").write_bytes(pack(case))
    for level in (1, 2):
        solution = run(tmp_path, pack(case), f"more.bin\ncheckinput {level}\n{more}{first}")
        assert (solution.end_code, solution.solved, solution.values) == (0, True, {})
        lines = (tmp_path / "millepede.res").read_text().splitlines()
        assert lines[0] == " *** Results of checking input only, no solution performed ***"
        assert lines[4].startswith(" !>        11     0.50000       -1.0000 ")
        assert lines[4].split()[-2:] == ["1", "fixed-1"]
        assert lines[5] == " !! one".ljust(63)
        assert lines[6].split()[-2:] == ["2", "variable"]
        assert "40 0.0000 0.10000 0 0 fixed-2" in [" ".join(line.split()[1:]) for line in lines]
        assert (" !.Appearance statistics " in lines) == (level == 2)
    assert " !.        40" in lines
    appearance = next(line for line in lines if line.startswith(" !.        12")).split()
    assert appearance[2:] == ["1", appearance[3], "2", appearance[5], "2", "7"]
    head = next(at for at, line in enumerate(lines) if "constraint groups" in line)
    assert lines[head + 2].split()[1:3] == ["1", "1"]
    assert lines[head + 2].split()[-2:] == ["0", "0"]
    assert lines[head + 3].split()[-2:] == ["12", "13"]
    assert [line.split()[1:] for line in lines[head + 4 : head + 6]] == [["11", "..", "11"], ["14", "..", "18"]]


def test_a_start_need_not_be_feasible(tmp_path: Path) -> None:
    """With nofeasiblestart the first pass uses the start values unchanged, with the same final result."""
    case = make_case(10)
    more = "Constraint 3.0\n11 1.0\n12 1.0\n"
    plain, free = run(tmp_path, pack(case), more), run(tmp_path, pack(case), more + "nofeasiblestart\n")
    assert plain.iterations[0].chi2 != pytest.approx(free.iterations[0].chi2)
    assert free.values == pytest.approx(plain.values, rel=1e-6)
    assert free.values[11] + free.values[12] == pytest.approx(3.0)


def test_start_values_and_presigmas(tmp_path: Path) -> None:
    """presigma applies to parameters without their own; it damps a subito step, while iterations reach the minimum."""
    case = make_case(12)
    damped = run(tmp_path, pack(case), "presigma 0.1\nsubito\n")
    np.testing.assert_allclose(list(damped.values.values()), dense(case, presigma=0.1)[0], rtol=1e-6)
    assert len(damped.iterations) == 1
    penalised = run(tmp_path, pack(case), "regularisation 1.0 0.1\n")
    np.testing.assert_allclose(list(penalised.values.values()), dense(case, presigma=0.1)[0], rtol=1e-6)
    again = run(tmp_path, pack(case), "presigma 0.1\nmatiter 2\nmethod inversion 30 1e-12\n")
    np.testing.assert_allclose(list(again.values.values()), dense(case)[0], rtol=1e-4, atol=1e-5)


def test_undetermined_directions_have_names(tmp_path: Path) -> None:
    """Two parameters with only their sum measured, and an unmeasured one, are named as undetermined."""
    both = _record([(1.0, {1: 1.0}, {102: 1.0, 103: 2.0, 4711: 1.0}), (2.0, {1: 1.0}, {})])
    solution = run(tmp_path, 30 * both, "Measurement 1.0 0.1\n4711 1.0\n")
    assert (solution.end_code, solution.rank_defect) == (3, 1)
    (direction,) = solution.undetermined
    assert direction == pytest.approx({102: -2.0, 103: 1.0}) or direction == pytest.approx({102: 1.0, 103: -0.5})
    assert "layer 0 of station 0, shift along y" in solution.message
    log = (tmp_path / "millepede.log").read_text()
    assert "Undetermined: " in log
    assert "rank defect of the symmetric 3 -by- 3 matrix is 1" in log
    named = run(tmp_path, 30 * both, "")
    assert named.rank_defect == 2
    assert all(len(direction) == 2 for direction in named.undetermined)


@pytest.mark.parametrize(("count", "code"), [(16, 27), (12, 3)])
def test_constraints_given_twice(tmp_path: Path, count: int, code: int) -> None:
    """A repeated constraint is code 27 if elimination meets an exact zero, as with 16 unit factors, else code 3."""
    case = make_case(13, n_globals=16)
    constraint = "Constraint 0.0\n" + "".join(f"{label} 1.0\n" for label in range(11, 11 + count))
    extra = "Constraint 0.0\n" + "".join(f"{label} {label}.5\n" for label in range(11, 27)) if count == 12 else ""
    solution = run(tmp_path, pack(case), extra + 2 * constraint)
    assert solution.end_code == code
    assert run(tmp_path, pack(case), "withmultipliers\n" + 2 * constraint).end_code == 3


def test_records_without_local_parameters_are_code_28(tmp_path: Path) -> None:
    """A binary without local parameters in any record is code 28."""
    solution = run(tmp_path, 30 * _record([(1.0, {}, {11: 1.0}), (2.0, {}, {11: 1.0})]), "")
    assert solution.end_code == 28


@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_damaged_binaries_have_an_end_code(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of a binary are changed, the solver ends with a code of pede and writes it."""
    content = bytearray(pack(make_case(14, n_records=20), double=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    solution = run(tmp_path, bytes(content), "printcounts\nmonitorresiduals\noutlierdownweighting 4\n")
    assert solution.end_code in END_TEXTS
    assert "\n" not in solution.message
    assert read_end(tmp_path / "millepede.end") == (solution.end_code, solution.end_text)


def test_threads_change_nothing(tmp_path: Path) -> None:
    """Sums follow the order of the records for any number of threads, so the result is identical byte for byte."""
    case = make_case(15, n_records=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", 2000)
        results = []
        for threads in (1, 3):
            run(tmp_path, pack(case), f"threads {threads}\n")
            results.append((tmp_path / "millepede.res").read_bytes())
    assert results[0] == results[1]


def test_products_have_one_thread_for_a_while() -> None:
    """OpenBLAS has one thread inside the block and its previous number afterwards, also after an error."""
    functions = blas._functions()
    if functions is None:
        pytest.skip("numpy was built with another library than OpenBLAS")
    before = functions[0]()

    def fail() -> None:
        with blas.one_blas_thread():
            assert functions[0]() == 1
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert functions[0]() == before


def _record(equations: list[tuple[float, dict[int, float], dict[int, float]]]) -> bytes:
    """Return a record of equations with errors of 1."""
    return pack_record(words([(value, 1.0, local, global_) for value, local, global_ in equations]))


def test_what_follows_the_last_record_is_noted(tmp_path: Path) -> None:
    """One to three bytes after the last record are ignored, as in pede, and noted."""
    case = make_case(14)
    solution = run(tmp_path, pack(case) + b"\1\2\3", "")
    assert_is(solution, *dense(case))
    assert "the 3 bytes after its last record" in (tmp_path / "millepede.log").read_text()
    (note,) = solution.notes
    assert "data.bin" in note


def test_a_parameter_without_an_accepted_record_is_a_defect(tmp_path: Path) -> None:
    """A parameter whose records are all rejected gives code 3 and a single step, whatever its presigma."""
    case = make_case(15, n_globals=4, n_records=40, density=1.0)
    by_local, _, values, sigmas = case.records[0]
    odd = np.zeros((len(values), 5))
    odd[0, 4] = 1.0
    wild = values + 1e6 * np.eye(len(values))[0] * sigmas
    content = pack(case) + pack(Case(5, [(by_local, odd, wild, sigmas)]))
    solution = run(tmp_path, content, "hugecut 5\npresigma 0.1\n")
    assert solution.end_code == 3
    assert len(solution.iterations) == 1
    assert solution.values[15] == 0.0
    assert solution.rejects.huge_chi2 == 1
    assert run(tmp_path, content, "hugecut 5\npresigma 0.1\nforce\n").end_code == 3


def test_entries_of_every_pass_count(tmp_path: Path) -> None:
    """A parameter with too few accepted entries in one pass gives code 2, even if the last pass has enough."""
    by_local, sigmas = np.ones((3, 1)), np.ones(3)

    def record(*factors: float) -> tuple[np.ndarray, ...]:
        by_global = np.array([factors, (0.0, 0.0), (0.0, 0.0)])
        return by_local, by_global, by_global @ (40.0, 1.0), sigmas

    records = [*(record(0.0, 1.0) for _ in range(100)), *(record(0.05, 0.0) for _ in range(6))]
    far_off = [record(1.0, 0.0) for _ in range(30)]  # rejected until other records have moved the parameter
    content = pack(Case(2, records + far_off))
    solution = run(tmp_path, content, "entries 1 20\nhugecut 20\nprintcounts\n")
    assert [row.rejects for row in solution.iterations[:2]] == [30, 0]
    assert solution.values[11] == pytest.approx(40.0)
    assert solution.result[11].entries == 36
    assert solution.end_code == 2
    assert solution.message.endswith("fewer than 20 entries in accepted records: label 11")


def test_no_penalty_of_zero_is_left(tmp_path: Path) -> None:
    """regularisation 0 removes the presigmas, which otherwise damp the steps."""
    case = make_case(17)
    free, none, damped = (
        run(tmp_path, pack(case), f"subito\n{text}") for text in ("", "regularisation 0 0.01\n", "presigma 0.01\n")
    )
    assert none.values == free.values
    assert damped.values != free.values


def test_down_weighting_is_corrected_for_after_the_first_pass(tmp_path: Path) -> None:
    """The log divides chi2/ndf by 0.9326, as pede, for any number of iterations, except without a second pass."""
    case = make_case(18)
    for iterations in (3, 4):
        solution = run(tmp_path, pack(case), f"outlierdownweighting {iterations}\n")
        (line,) = (text for text in (tmp_path / "millepede.log").read_text().splitlines() if "down-weighting" in text)
        assert solution.chi2_per_ndf is not None
        assert float(line.split()[-1]) == pytest.approx(solution.chi2_per_ndf / 0.9326)
    run(tmp_path, pack(case), "outlierdownweighting 3\nsubito\n")
    assert "down-weighting" not in (tmp_path / "millepede.log").read_text()


def test_decomposition_eliminates(tmp_path: Path) -> None:
    """Decomposition never uses multipliers, whatever the steering requests; a note says so."""
    more = "withmultipliers\nmethod decomposition 3 1e-9\nConstraint 1.0\n11 1.0\n12 1.0\n"
    solution = run(tmp_path, pack(make_case(19)), more)
    assert solution.n_fit == 7
    assert "eliminates" in solution.notes[0]
