"""Run pede and evaluate ``millepede.end``, because its exit status is 0 for every failure."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from faser_align.alignment.pede.log import first_decrease, read_log
from faser_align.alignment.pede.results import END, END_TEXTS, HISTOGRAMS, LOG, MONITOR, RESULT, read_end, read_result
from faser_align.alignment.pede.solution import DOUBTFUL_CODES, GOOD_CODES, Solution
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name

_OUTPUTS = (RESULT, END, LOG, HISTOGRAMS, MONITOR, "millepede.eve")
OUTPUT = "millepede.out"
PROBE_S = 20
VERSION = re.compile(r"V\d\d-\d\d-\d\d|\$Id: [0-9a-f]{8}")


NOT_RUN = (126, 127)  # exit statuses of a shell and of the dynamic loader for a program that cannot start


class NotStartedError(UserError):
    """pede could not start: the program or a library is missing."""


def sourced(script: str) -> dict[str, str]:
    """Return the environment after sourcing ``script`` in bash, such as ROOT's ``thisroot.sh``; this process's
    environment if it is empty.

    Many such scripts end with a meaningless status, so only a missing environment counts as a failure. Raises UserError
    if the script cannot be read or ends the shell.
    """
    if not script:
        return dict(os.environ)
    if not os.access(script, os.R_OK) or os.path.isdir(script):
        raise UserError(f"solver.environment = {script} cannot be read; correct the path, or mount its file system")
    done = subprocess.run(
        ["bash", "-O", "expand_aliases", "-c", 'source "$FASER_ALIGN_SOURCED" >&2; env -0'],
        env=os.environ | {"FASER_ALIGN_SOURCED": script},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    variables = dict(entry.split("=", 1) for entry in os.fsdecode(done.stdout).split("\0") if "=" in entry)
    if not variables:
        reason = _printed(done.stderr)[-200:]
        raise UserError(
            f"solver.environment = {script} ended the shell (status {done.returncode}: {reason}); correct it"
        )
    return variables


def run_pede(
    steering_path: Name, executable: str = "pede", threads: int = 1, environment: Mapping[str, str] | None = None
) -> Solution:
    """Run pede on a steering file, in the file's folder.

    Outputs of an earlier run are removed first, because pede keeps them when it aborts. pede's terminal output goes to
    ``millepede.out``.

    Args:
        executable: pede's command or path.
        threads: maximum for OpenMP; the steering's keyword ``threads`` requests them.
        environment: result of ``sourced``; this process's by default.

    Raises NotStartedError if pede cannot be started or lacks a library.
    """
    path = Path(steering_path)
    folder = path.parent
    for name in (*_OUTPUTS, *(name + "~" for name in _OUTPUTS)):
        (folder / name).unlink(missing_ok=True)
    try:
        with open(folder / OUTPUT, "wb") as output:
            status = subprocess.run(
                [executable, path.name],
                cwd=folder,
                env={**(os.environ if environment is None else environment), "OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            ).returncode
    except OSError as error:
        raise NotStartedError(f"cannot start pede as {executable!r}: {error.strerror}; set solver.pede") from error
    if status in NOT_RUN and not (folder / END).exists():
        message = _printed((folder / OUTPUT).read_bytes())[-200:]
        raise NotStartedError(f"{executable} cannot run: {message}; see solver.pede and solver.environment")
    return read_outputs(path, status)


def probe(executable: str, environment: Mapping[str, str] | None = None) -> str:
    """Check that pede runs: in an empty folder its end code must report the missing steering file.

    ``environment`` is the result of ``sourced``. Returns its version, or an empty string. Raises UserError if the
    program cannot be started or is not pede.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [executable],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_S,
                check=False,
            )
        except OSError as error:
            raise UserError(f"cannot start pede as {executable!r}: {error.strerror}; set solver.pede") from error
        except subprocess.TimeoutExpired:
            raise UserError(f"{executable} did not end within {PROBE_S} s without data; set solver.pede") from None
        try:
            read_end(Path(folder) / END)
        except UserError:
            words = _printed(done.stderr or done.stdout)[:200]
            raise UserError(
                f"{executable} ran but left no {END} (exit status {done.returncode}: {words}); it is not pede, or "
                "cannot run on this machine: set solver.pede"
            ) from None
        log = Path(folder) / LOG
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        version = VERSION.search(text + done.stdout.decode(errors="replace"))
        return version[0] if version else ""


def _printed(output: bytes) -> str:
    return " ".join(output.decode(errors="replace").split()) or "it printed nothing"


def read_outputs(steering_path: Name, status: int = 0) -> Solution:
    """Return the solution in the folder of a steering file; ``status`` is pede's exit status, for messages."""
    folder = Path(steering_path).parent
    try:
        code, text = read_end(folder / END)
    except UserError:
        code, text = -1, END_TEXTS[-1]
    if (folder / LOG).exists():
        log = read_log(folder / LOG)
    else:
        log = Solution(code, text, "", {}, expected_decrease=first_decrease(folder / HISTOGRAMS))
    result = read_result(folder / RESULT) if code in GOOD_CODES + DOUBTFUL_CODES else {}
    if code in GOOD_CODES:
        message = ""
    elif code < 0:
        message = f"pede crashed or was stopped (exit status {status}); read {folder / OUTPUT}"
    else:
        message = f"pede ended with code {code}: {text}; read {folder / LOG}"
    fixed = tuple(label for label, row in result.items() if row.difference is None and row.presigma >= 0)
    return replace(log, end_code=code, end_text=text, message=message, result=result, entries_fixed=fixed)
