"""Running the real pede, and judging it by ``millepede.end``: its exit status is 0 for every failure."""

import os
import subprocess
from pathlib import Path

from faser_align.alignment.millepede import END, END_TEXTS, LOG, RESULT, read_end, read_result
from faser_align.alignment.pedelog import PedeLog, read_log
from faser_align.alignment.solution import DOUBTFUL_CODES, GOOD_CODES, Solution
from faser_align.fsm.errors import UserError

_OUTPUTS = (RESULT, END, LOG, "millepede.his", "millepede.mon", "millepede.eve")
OUTPUT = "millepede.out"


def run_pede(steering_path: str | os.PathLike[str], executable: str = "pede") -> Solution:
    """Run pede on a steering file, in the file's folder.

    Outputs of an earlier run are removed first: pede leaves them in place when it aborts. What pede writes to its
    terminal goes to ``millepede.out``.

    Raises UserError if pede cannot be started.
    """
    path = Path(steering_path)
    folder = path.parent
    for name in (*_OUTPUTS, *(name + "~" for name in _OUTPUTS)):
        (folder / name).unlink(missing_ok=True)
    try:
        with open(folder / OUTPUT, "wb") as output:
            status = subprocess.run(
                [executable, path.name], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            ).returncode
    except OSError as error:
        raise UserError(f"cannot start pede as {executable!r}: {error.strerror}; set solver.pede") from error
    return read_outputs(path, status)


def read_outputs(steering_path: str | os.PathLike[str], status: int = 0) -> Solution:
    """The solution in the folder of a steering file; ``status`` is pede's exit status, of use only in messages."""
    path = Path(steering_path)
    folder = path.parent
    try:
        code, text = read_end(folder / END)
    except UserError:
        code, text = -1, END_TEXTS[-1]
    log = read_log(folder / LOG) if (folder / LOG).exists() else PedeLog()
    solved = code in GOOD_CODES + DOUBTFUL_CODES
    result = read_result(folder / RESULT) if solved else {}
    if code in GOOD_CODES:
        message = ""
    elif code < 0:
        message = f"pede crashed or was stopped (exit status {status}); read {folder / OUTPUT}"
    else:
        message = f"pede ended with code {code}: {text}; read {folder / LOG}"
    fixed = tuple(label for label, row in result.items() if row.difference is None and row.presigma >= 0)
    return Solution(
        end_code=code,
        end_text=text,
        message=message,
        result=result,
        records=log.records,
        rejects=log.rejects,
        chi2=log.chi2,
        ndf=log.ndf,
        n_variable=log.n_variable,
        n_fit=log.n_fit,
        expected_decrease=log.expected_decrease,
        entries_fixed=fixed,
        iterations=log.iterations,
        memory_mb=log.memory_mb,
    )
