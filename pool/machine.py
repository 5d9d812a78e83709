"""Check what this machine provides for a personal pool: HTCondor's programs, processors, a non-root user.

The checks raise UserError with the fix, so that every command reports the same problem in the same words.
"""

import os
import shutil
from pathlib import Path

from faser_align.fsm.errors import UserError

# HTCondor's daemons are often outside an ordinary user's PATH; its tools may be missing, too.
_SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin", "/bin")
_NEEDED = ("condor_master", "condor_who")  # the bindings call these to start a pool, and to see that it is ready


def search_path() -> str:
    """Return PATH of this process with the folders of system programs added."""
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    return os.pathsep.join(folders + [folder for folder in _SYSTEM if folder not in folders])


def condor_master() -> Path:
    """Return the program that starts a pool; raise UserError if HTCondor is missing or incomplete."""
    found = {name: shutil.which(name, path=search_path()) for name in _NEEDED}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        whole = "not" if len(missing) == len(_NEEDED) else "only partly"
        raise UserError(
            f"HTCondor is {whole} installed on this machine (no {' and no '.join(missing)} in PATH or the system's folders); "
            f"{_how_to_install()}"
        )
    return Path(str(found["condor_master"]))


def refuse_root() -> None:
    """Raise UserError for root, whose jobs HTCondor refuses to run."""
    if os.geteuid() == 0:
        raise UserError(
            "HTCondor refuses jobs of root; work as an ordinary user (`su - NAME`), "
            "or run `make demo`, which creates the user faser-align and the command build/faser-align for root"
        )


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def _how_to_install() -> str:
    if shutil.which("apt-get", path=search_path()):
        return "install it with `sudo apt-get install minicondor`"
    if shutil.which("dnf", path=search_path()):
        return (
            "install it with `sudo dnf install minicondor` from HTCondor's repository (https://htcondor.org/downloads)"
        )
    return "install it as described at https://htcondor.org/downloads"
