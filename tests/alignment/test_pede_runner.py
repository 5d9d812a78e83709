"""Test running pede and evaluating its output, with a stand-in program."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from faser_align.alignment.pede.runner import probe, run_pede
from faser_align.fsm.errors import UserError

Case = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Return an executable with the given shell commands."""

    def make(commands: str) -> str:
        path = tmp_path / "pede"
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def test_a_good_run_is_read(pede_case: Case, program: Callable[[str], str]) -> None:
    """A run's result, log and end code make a solution; its terminal output is kept."""
    folder = pede_case("case2_presigma_outliers")
    solution = run_pede(folder / "str.txt", program('cp expected/millepede.* . && echo "solving $1"'))
    assert (solution.end_code, solution.message, solution.records) == (1, "", 780)
    assert (solution.n_variable, solution.n_fit, solution.free_parameters) == (70, 64, 64)
    assert solution.chi2_per_ndf == pytest.approx(1.2730560325712632)
    assert solution.entries_fixed == (11001, 11011)
    assert solution.values[112] == 0.002
    assert solution.rejects.total == 36
    assert (folder / "millepede.out").read_text() == "solving str.txt\n"


def test_an_old_result_is_never_taken_for_a_new_one(pede_case: Case, program: Callable[[str], str]) -> None:
    """An aborted run with exit status 0 is a failure, even if the folder had an old result."""
    folder = pede_case("case3_failing")
    shutil.copy(folder / "expected_code00_good" / "millepede.res", folder)
    shutil.copy(folder / "expected_code00_good" / "millepede.res", folder / "millepede.res~")
    abort = "cp expected_code26_too_many_rejects/millepede.* ."
    solution = run_pede(folder / "str.txt", program(abort))
    assert (solution.end_code, solution.solved, solution.result) == (26, False, {})
    assert "too many rejects" in solution.message
    assert not list(folder.glob("millepede.res*"))


def test_a_crash_is_told(pede_case: Case, program: Callable[[str], str]) -> None:
    """A missing end file, or one that says that pede is running, counts as a crash."""
    folder = pede_case("case3_failing")
    for commands in ("exit 139", "echo '   -1   Still running or crashed' > millepede.end; exit 139"):
        solution = run_pede(folder / "str.txt", program(commands))
        assert solution.end_code == -1
        assert not solution.solved
        assert "139" in solution.message


def test_threads_are_pedes_to_use(pede_case: Case, program: Callable[[str], str]) -> None:
    """The number of OpenMP threads is set, whatever the job's environment says."""
    folder = pede_case("case3_failing")
    run_pede(folder / "str.txt", program("cp expected_code00_good/millepede.* . && echo $OMP_NUM_THREADS"), threads=3)
    assert (folder / "millepede.out").read_text() == "3\n"


def test_probing_tells_pede_from_other_programs(program: Callable[[str], str], tmp_path: Path) -> None:
    """pede without a steering file reports that by its end code; another program is rejected."""
    end = "echo '   10   Aborted, no steering file' > millepede.end"
    assert probe(program(end)) == ""
    assert probe(program(f"{end}; echo ' (V04-16-00)' > millepede.log")) == "V04-16-00"
    with pytest.raises(UserError, match=r"left no millepede\.end \(exit status 127: .*libgomp"):
        probe(program("echo 'error while loading shared libraries: libgomp.so.1' >&2; exit 127"))
    with pytest.raises(UserError, match=r"cannot start pede as .*solver\.pede"):
        probe(str(tmp_path / "nothing"))
