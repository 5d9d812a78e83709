"""Find out which machines have the configured interpreters: a virtual environment needs the Python it was made from."""

import os
from typing import NamedTuple

# A Python for public HTCondor jobs on AlmaLinux 9 that needs no setup.sh; profile and page for lxplus name it, too.
ON_CVMFS = "/cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt/bin/python3"
SHARED = ("/afs/", "/cvmfs/", "/eos/")  # file systems; only the probe shows whether the access point has them


class Interpreter(NamedTuple):
    """A configured Python: its key, its path, and the Python from which its virtual environment was made."""

    key: str
    path: str
    base: str


def interpreter(key: str, path: str) -> Interpreter:
    """Return the Python at ``path`` with its base, which is itself outside a virtual environment."""
    return Interpreter(key, path, _base(path))


def _base(path: str) -> str:
    # In a virtual environment the interpreter is a link to the base; otherwise pyvenv.cfg names its folder.
    real = os.path.realpath(path)
    for folder in (os.path.dirname(real), os.path.dirname(os.path.dirname(real))):
        home = _home(os.path.join(folder, "pyvenv.cfg"))
        if home:
            return os.path.realpath(os.path.join(home, os.path.basename(real)))
    return real


def _home(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as text:
            lines = [line.partition("=") for line in text]
    except OSError:
        return ""
    return next((value.strip() for key, _, value in lines if key.strip() == "home"), "")


def doubt(found: Interpreter) -> str:
    """Return a sentence if other machines may lack the Python, else an empty string."""
    try_it = "test it with `faser-align check --probe`"
    if not found.path.startswith(SHARED):
        return (
            f"{found.key} = {found.path} is on this machine's local disk, which the access point and execute nodes cannot read; "
            "install faser-align in a virtual environment on AFS"
        )
    if not found.base.startswith(SHARED):
        return (
            f"the virtual environment of {found.key} = {found.path} uses {found.base}, which is on this machine's local disk; "
            f"{try_it}, or create it with a Python on CVMFS such as {ON_CVMFS}"
        )
    return ""
