"""Test the Millepede job with pede: environment, failures, and files of an earlier run."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from standin import make_pede

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.jobs.reconstruct import reconstruct

Make = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
Fails = Callable[..., str]
FILES = (400,)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo '   26   Aborted, too many rejects' > millepede.end", "ended with code 26: Aborted, too many rejects"),
        ("echo '    5   Ended without solution' > millepede.end", "ended with code 5"),
        ("echo '   -1   Still running or crashed' > millepede.end; kill -SEGV $$", "crashed or was stopped (exit status -11)"),
        ("exit 0", "crashed or was stopped (exit status 0)"),
    ],
)  # fmt: skip
def test_pedes_bad_ends(make_campaign: Make, fails: Fails, tmp_path: Path, does: str, said: str) -> None:
    """Each failure of pede, whatever its exit status, leaves no metrics and no constants, and uses no old file."""
    pede = program(tmp_path / "bin" / "pede", does)
    campaign = make_campaign(FILES, solver={"backend": "pede", "pede": str(pede)})
    reconstruct(str(campaign), 1, 1, 400)
    folder = Path(layout.metrics_file(str(campaign), 1, 1)).parent
    folder.mkdir(parents=True)
    (folder / "millepede.res").write_text(" Parameter\n 10 1.0 0.05 1.0 0.1\n")
    (folder / "metrics.json").write_text("{}")
    assert said in fails(exit_codes.SOLVER, "solve", campaign, 1, 1).splitlines()[-1]
    assert not list(folder.glob("millepede.res"))
    assert not (folder / "metrics.json").exists()
    assert not os.path.exists(layout.constants_file(str(campaign), 1, 2))


def test_pede_has_its_own_environment(make_campaign: Make, run_job: Run, fails: Fails, tmp_path: Path) -> None:
    """pede, found on the PATH of solver.environment, gets that script's variables; a missing script is named."""
    real = make_pede(tmp_path)
    program(tmp_path / "apps" / "pede", f'echo "$ROOTSYS" >"{tmp_path}/seen"; exec "{real}" "$@"')
    script = tmp_path / "thisroot.sh"
    campaign = make_campaign(FILES, solver={"backend": "pede", "environment": str(script)})
    reconstruct(str(campaign), 1, 1, 400)
    assert f"solver.environment = {script} cannot be read" in fails(exit_codes.ENVIRONMENT, "solve", campaign, 1, 1)
    script.write_text(f'export PATH="{tmp_path}/apps:$PATH" PYTHONPATH=/nowhere ROOTSYS=/root636\n[ -n "$UNSET" ]\n')
    done = run_job("solve", campaign, 1, 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "seen").read_text() == "/root636\n"
    script.write_text("exit 3\n")
    assert "ended the shell (status 3" in fails(exit_codes.ENVIRONMENT, "solve", campaign, 1, 1)


@pytest.mark.parametrize(
    ("does", "mode", "said"),
    [
        ("exit 0", None, "cannot start pede as '{}': No such file or directory; set solver.pede"),
        ("exit 0", 0o644, "cannot start pede as '{}': Permission denied; set solver.pede"),
        (
            "echo 'pede: error while loading shared libraries: libgfortran.so.5' >&2; exit 127",
            0o755,
            "libgfortran.so.5",
        ),
    ],
)
def test_a_pede_that_cannot_run_here(
    make_campaign: Make, fails: Fails, tmp_path: Path, does: str, mode: int | None, said: str
) -> None:
    """A pede that is missing, cannot start, or lacks a library, is an environment failure, which another machine may not have."""
    pede = program(tmp_path / "bin" / "pede", does)
    pede.unlink() if mode is None else pede.chmod(mode)
    campaign = make_campaign(FILES, solver={"backend": "pede", "pede": str(pede)})
    reconstruct(str(campaign), 1, 1, 400)
    assert said.format(pede) in fails(exit_codes.ENVIRONMENT, "solve", campaign, 1, 1).splitlines()[-1]
