"""Test what the solver does for thousands of parameters, on problems of hundreds, and how it eliminates constraints."""

import os
from pathlib import Path

import numpy as np
import pytest
from millecases import make_case, pack
from millerecords import pack as pack_record
from millerecords import words

from faser_align.alignment.pede.results import END_TEXTS, read_end
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.solver import global_fit, normal_matrix, problem, sparse_matrix
from faser_align.alignment.solver.builtin import solve
from faser_align.alignment.solver.cholesky import pivots
from faser_align.alignment.solver.elimination import basis, groups, reflectors
from faser_align.alignment.solver.global_fit import Constraints, Inverse
from faser_align.alignment.solver.local_constraints import Form, LocalConstraints
from faser_align.alignment.solver.local_fit import invert_symmetric
from faser_align.system.memory import memory_limit, memory_used

N = 240
LOCAL_CONSTRAINTS = "".join(
    f"constraint {0.1 * begin % 0.3:g}\n" + "".join(f"{11 + at} {1 + at % 3}\n" for at in range(begin, begin + 12))
    for begin in range(0, N, 24)
)


def chain(seed: int = 1, n: int = N, n_records: int = 900) -> bytes:
    """Return records of eight measurements, each with two of ``n`` labels near one place."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    content = b""
    for _ in range(n_records):
        begin = random.integers(n - 8)
        measurements = []
        for hit in range(8):
            at = [begin + hit, begin + (hit * 5) % 8] if hit else [begin]
            factors = {11 + int(label): float(np.float32(random.normal() + 2)) for label in at}
            fit = {1: 1.0, 2: hit / 4 - 1}
            exact = sum(factor * truth[label - 11] for label, factor in factors.items()) + fit[2]
            outlier = 3.0 if random.random() < 0.02 else 1.0
            measurements.append((float(np.float32(exact + outlier * random.normal())), 1.0, fit, factors))
        content += pack_record(words(measurements))
    return content


def run(folder: Path, method: str, lines: str = "", weight: str = "") -> Solution:
    """Solve ``data.bin`` of the folder with additional steering lines."""
    (folder / "str.txt").write_text(
        f"Cfiles\ndata.bin{weight}\nentries 1 1\nhugecut 1e6\nmethod {method} 4 1e-9\n{lines}end\n"
    )
    return solve(folder / "str.txt")


@pytest.fixture
def as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every problem as a large one, and store a few elements and records at a time."""
    monkeypatch.setattr(problem, "_DENSE_MAX", 0)
    monkeypatch.setattr(normal_matrix, "_SMALL", 0)
    monkeypatch.setattr(normal_matrix, "_RECORDS_LOCAL", 3)
    monkeypatch.setattr(normal_matrix, "_FILL", 0.7)  # of some records alone, and of some together
    monkeypatch.setattr(sparse_matrix, "_PENDING", 50)
    monkeypatch.setattr(sparse_matrix, "_BLOCK", 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        *("", "presigma 0.5\n", "measurement 0.3 0.1\n11 1\n250 1\n", "parameter\n30 0.5 -1\n31 0.2 0\n"),
        *(
            f"{more}{LOCAL_CONSTRAINTS}"
            for more in ("", "withmultipliers\n", "regularisation 1.0 0.5\n", "chisqcut 5 2\n")
        ),
        *(f"{cut}\nmatiter 4\n{LOCAL_CONSTRAINTS}" for cut in ("hugecut 4", "outlierdownweighting 3")),
    ],
)
@pytest.mark.usefixtures("as_large")
def test_the_sparse_solution_is_that_of_the_inverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    """Conjugate gradients reach the values of the inverse to 1e-6 of their errors, and the same end."""
    (tmp_path / "data.bin").write_bytes(chain())
    errors = run(tmp_path, "inversion", lines).errors
    with monkeypatch.context() as patch:
        patch.setattr(problem, "_DENSE_MAX", 1000)
        exact = run(tmp_path, "sparseMINRES", lines)
    iterative = run(tmp_path, "sparseMINRES", lines)
    assert iterative.cg_iterations
    assert (exact.cg_iterations, iterative.errors) == ((), {})
    assert (iterative.end_code, iterative.rejects, iterative.n_fit) == (exact.end_code, exact.rejects, exact.n_fit)
    for label, error in errors.items():
        assert iterative.values[label] == pytest.approx(exact.values[label], abs=1e-6 * error), label
    log = (tmp_path / "millepede.log").read_text()
    assert f" Sparse matrix of {iterative.elements} elements; iterations of conjugate gradients: " in log
    assert "rank defect" not in log


@pytest.mark.usefixtures("as_large")
def test_one_step_is_exact_enough(tmp_path: Path) -> None:
    """A step of each kind of MINRES is exact to 1e-6 of the errors, for any order and weights of the records."""
    (tmp_path / "data.bin").write_bytes(chain())
    exact = run(tmp_path, "inversion", f"subito\n{LOCAL_CONSTRAINTS}", " -- 0.5")
    for method in ("fullMINRES", "sparseMINRES-QLP"):
        found = run(tmp_path, method, f"subito\nthreads 2 2\n{LOCAL_CONSTRAINTS}", " -- 0.5")
        assert len(found.cg_iterations) == 1
        for label, error in exact.errors.items():
            assert found.values[label] == pytest.approx(exact.values[label], abs=1e-6 * error)


@pytest.mark.usefixtures("as_large")
def test_a_redundant_constraint_changes_nothing(tmp_path: Path) -> None:
    """A constraint that follows from another gives a severe warning, and the values are those without it."""
    (tmp_path / "data.bin").write_bytes(chain())
    twice = "".join(f"constraint {value}\n11 {factor}\n12 {-factor}\n" for value, factor in ((0.1, 1), (0.2, 2)))
    errors = run(tmp_path, "inversion", twice[: len(twice) // 2]).errors
    once = run(tmp_path, "sparseMINRES", twice[: len(twice) // 2])
    found = run(tmp_path, "sparseMINRES", f"force\n{twice}")
    assert (found.end_code, found.constraints, found.constraint_rank) == (3, 2, 1)
    assert "1 of 2 are independent" in found.message
    for label, error in errors.items():
        assert found.values[label] == pytest.approx(once.values[label], abs=1e-6 * error)


@pytest.mark.parametrize("places", [0, 16])
def test_products_of_neighbours_are_the_same_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    """Collecting records from the same place, as in large problems, does not change values and errors."""
    (tmp_path / "data.bin").write_bytes(pack(make_case(3, n_globals=30, n_records=150)))
    small = run(tmp_path, "inversion")
    monkeypatch.setattr(normal_matrix, "_PLACES_MAX", places)
    monkeypatch.setattr(normal_matrix, "_SMALL", 0)
    for waiting, local, fill in ((1, 32, 4), (1 << 20, 2, 4), (1 << 20, 32, 0)):
        monkeypatch.setattr(normal_matrix, "_WAITING_BYTES", waiting)
        monkeypatch.setattr(normal_matrix, "_RECORDS_LOCAL", local)
        monkeypatch.setattr(normal_matrix, "_FILL", fill)
        large = run(tmp_path, "inversion")
        np.testing.assert_allclose([*large.values.values()], [*small.values.values()], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose([*large.errors.values()], [*small.errors.values()], rtol=1e-10)


@pytest.mark.usefixtures("as_large")
def test_an_undetermined_direction_is_not_moved(tmp_path: Path) -> None:
    """Like pede's MINRES, the sparse solution takes the shortest step where the data do not determine a direction."""
    measurements = [(2.0, 1.0, {1: 1.0}, {11: 1.0, 12: -1.0}), (-2.0, 1.0, {1: 1.0}, {}), (0.0, 1.0, {1: 1.0}, {})]
    (tmp_path / "data.bin").write_bytes(30 * pack_record(words(measurements)))
    found = run(tmp_path, "sparseMINRES")
    assert found.rank_defect is None
    assert found.values[11] == pytest.approx(-found.values[12])
    assert found.values[11] == pytest.approx(1.5)


@pytest.mark.usefixtures("as_large")
def test_a_matrix_that_is_not_positive_definite_is_a_severe_warning(tmp_path: Path) -> None:
    """Records with a negative weight end with code 3 and the reason."""
    (tmp_path / "data.bin").write_bytes(chain(n=30, n_records=40))
    found = run(tmp_path, "sparseMINRES", weight=" -- -1")
    assert found.end_code == 3
    assert "the matrix is not positive definite" in found.message


@pytest.mark.parametrize("method", ["inversion", "diagonalization", "decomposition", "fullLAPACK", "sparseMINRES"])
def test_too_large_a_matrix_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A matrix that exceeds the memory of the job ends with code 30, its size and what to do, before the first step."""
    (tmp_path / "data.bin").write_bytes(chain())
    (tmp_path / ".machine.ad").write_text('Machine = "node"\nTotalMemory = 999999\nMemory = 1\n')
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(tmp_path / ".machine.ad"))
    monkeypatch.setattr(problem, "_DENSE_MAX", 0)
    assert run(tmp_path, method).end_code == 0  # small matrices are never refused
    monkeypatch.setattr(problem, "_ALWAYS", 1)
    refused = run(tmp_path, method)
    assert (refused.end_code, refused.iterations) == (30, ())
    assert read_end(tmp_path / "millepede.end") == (30, END_TEXTS[30])
    sizes = (
        ("sparse matrix of 239 parameters", "0 MB") if method == "sparseMINRES" else (f"method {method} needs 2 MB",)
    )
    assert all(size in refused.message for size in sizes), refused.message
    assert "request more memory, or fix parameters" in refused.message


def test_the_smallest_limit_of_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of the job's slot is the limit if it is smaller than the free memory and the machine ad has it."""
    monkeypatch.delenv("_CONDOR_MACHINE_AD", raising=False)
    plain = memory_limit()
    assert 0 < memory_used() < plain.nbytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    ad = tmp_path / ".machine.ad"
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(ad))
    assert memory_limit().origin == plain.origin
    ad.write_text("Cpus = 1\nMemory = ifThenElse(true, 5, 6)\n")
    assert memory_limit().origin == plain.origin
    ad.write_text("Cpus = 1\nMemory = 50\n")
    assert memory_limit() == (50 << 20, "the job requested")


def test_local_constraints_are_constraints() -> None:
    """Groups of constraints, one of them redundant, give the same projections and rank as a single matrix."""
    random = np.random.default_rng(2)
    forms = [Form(np.arange(at, at + 5), random.normal(size=5)) for at in (0, 3, 20, 12, 12)]
    forms[4] = Form(forms[3].columns, 2.0 * forms[3].factors)
    matrix = np.zeros((5, 30))
    for row, form in zip(matrix, forms, strict=True):
        row[form.columns] = form.factors
    values = matrix @ random.normal(size=30)
    local, dense = LocalConstraints.make(30, forms, values), Constraints.make(matrix, values, multipliers=True)
    assert (len(local), local.rank) == (5, dense.rank) == (5, 4)
    start = random.normal(size=30)
    found, moved = local.feasible(start, 1e-12)
    assert moved
    np.testing.assert_allclose(found, dense.feasible(start, 1e-12)[0], atol=1e-12)
    assert local.feasible(found, 1e-12)[1] is False
    scales = random.uniform(0.5, 2.0, 30)
    allowed = np.linalg.svd(matrix / scales)[2][4:]
    np.testing.assert_allclose(local.projection(scales)(start), allowed.T @ (allowed @ start), atol=1e-12)
    assert LocalConstraints.make(30, [], np.zeros(0)).projection(scales)(start) is start


@pytest.mark.parametrize(("defect", "equal"), [(0, 0.0), (3, 0.0), (3, 1e-12)])
def test_pivots_are_those_of_the_slow_inversion(defect: int, equal: float) -> None:
    """The parameters with a pivot are those that pede's inversion chooses; a negative remainder gives no pivots."""
    random = np.random.default_rng(7)
    factors = random.normal(size=(60, 30 - defect)) @ random.normal(size=(30 - defect, 30))
    scales = 10 ** random.uniform(-2, 2, 30)
    matrix = (factors.T @ factors) * np.outer(scales, scales)
    inverse, ranks = invert_symmetric(matrix[None], 1e-10, equal=equal)
    chosen = pivots(matrix, 1e-10, equal)
    assert chosen is not None
    assert len(chosen) == ranks[0] == 30 - defect
    assert sorted(chosen.tolist()) == np.flatnonzero(np.diagonal(inverse[0])).tolist()
    assert pivots(-matrix, 1e-10, equal) is None


@pytest.mark.parametrize("lines", ["", "constraint 0\n11 1\n12 2\n"])
def test_undetermined_directions_of_large_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """A large matrix with few pivots has the values, errors and directions of a small one."""
    direction = {12: 1.0, 13: -0.5, 14: 0.25}  # no measurement depends on it
    random = np.random.default_rng(8)
    content = b""
    for _ in range(40):
        factors = {label: float(np.float32(random.normal())) for label in range(11, 19)}
        factors[12] = 0.5 * factors[13] - 0.25 * factors[14]
        content += pack_record(
            words([(random.normal(), 1.0, {1: 1.0}, factors), (0.0, 1.0, {1: 1.0}, {}), (0.1, 1.0, {1: 1.0}, {})]),
            double=True,
        )
    (tmp_path / "data.bin").write_bytes(content)
    small = run(tmp_path, "inversion", lines)
    monkeypatch.setattr(global_fit, "_SMALL", 0)
    large = run(tmp_path, "inversion", lines)
    assert (large.end_code, large.rank_defect) == (small.end_code, small.rank_defect)
    assert large.values == pytest.approx(small.values, abs=1e-9)
    assert large.errors == pytest.approx(small.errors, abs=1e-9)
    assert list(large.undetermined) == [pytest.approx(known) for known in small.undetermined]
    assert bool(small.undetermined) == (lines == "")
    assert not small.undetermined or small.undetermined[0] == pytest.approx(direction, rel=1e-5)


def test_reflections_reduce_as_the_basis_does() -> None:
    """The compact product of all reflections gives the same matrices as the basis of the null space."""
    random = np.random.default_rng(6)
    made = Constraints.make(random.normal(size=(4, 25)), np.zeros(4))
    matrix = random.normal(size=(25, 25))
    matrix += matrix.T
    z = made.null_space
    reduced = made.reduce(matrix)
    np.testing.assert_allclose(reduced, z.T @ matrix @ z, atol=1e-12)
    np.testing.assert_allclose(made.expand(reduced), z @ reduced @ z.T, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        ([[102, 422], [102, 422], [202, 422], [105, 425], [105, 425], [102, 422]], [0, 1, 5, 2, 3, 4]),
        ([[7, 9], [1, 2], [2, 7]], [1, 2, 0]),
        ([[5, 6], [], [1, 2]], [1, 2, 0]),
    ],
)
def test_constraints_are_sorted_by_labels_within_groups(labels: list[list[int]], expected: list[int]) -> None:
    """Constraints are ordered by first and last label, with those that share labels together."""
    assert [number for group in groups(labels) for number in group] == expected


def test_the_basis_is_what_constraints_allow() -> None:
    """The reflectors' last columns are orthonormal and satisfy every constraint."""
    matrix = np.random.default_rng(3).normal(size=(4, 11))
    normals = reflectors(matrix)
    assert normals is not None
    allowed = basis(normals)
    np.testing.assert_allclose(allowed.T @ allowed, np.eye(7), atol=1e-14)
    np.testing.assert_allclose(matrix @ allowed, 0.0, atol=1e-13)


def test_a_constraint_given_twice_may_be_exactly_singular() -> None:
    """A repeated constraint leaves exactly zero with 16 equal factors, and a rounding error with 12 followed by others."""
    for count, width, singular in ((16, 16, True), (12, 20, False)):
        matrix = np.zeros((2, width))
        matrix[:, :count] = 1.0
        assert (reflectors(matrix) is None) == singular
        assert Constraints.make(matrix, np.zeros(2)).singular == singular
    assert reflectors(np.ones((3, 2))) is None


def test_multipliers_take_nothing_away_twice() -> None:
    """With multipliers a redundant constraint removes no further direction."""
    matrix = np.zeros((2, 6))
    matrix[:, :5] = 1.0
    made = Constraints.make(matrix, np.zeros(2), multipliers=True)
    assert (made.rank, made.null_space.shape) == (1, (6, 5))
    inverse = Inverse.make(np.eye(6), made)
    assert inverse.defect == 0
    np.testing.assert_allclose(inverse.covariance, np.eye(6) - np.outer(matrix[0], matrix[0]) / 5, atol=1e-14)


def test_the_last_of_equal_pivots_is_taken() -> None:
    """If two pivots differ by rounding, the last parameter is determined; if they are equal, the first one."""
    direction = np.array([1.0, -1.0])
    exact = np.outer(direction, direction)
    none = Constraints.make(np.zeros((0, 2)), np.zeros(0))
    assert Inverse.make(exact, none).step(direction).tolist() == [1.0, 0.0]
    for nearly in (exact * (1 + np.diag([1e-14, 0.0])), exact * (1 + np.diag([0.0, 1e-14]))):
        assert Inverse.make(nearly, none).step(direction) == pytest.approx([0.0, -1.0])
