"""Find out which machines have the configured interpreters: a virtual environment needs the Python it was made from."""

import os

from faser_align.system.read import text_of

# A Python for public HTCondor jobs on AlmaLinux 9 that needs no setup.sh; profile and page for lxplus name it, too.
ON_CVMFS = "/cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt/bin/python3"
SHARED = ("/afs/", "/cvmfs/", "/eos/")  # file systems; only the probe shows whether the access point has them


def base_of(path: str) -> str:
    """Return the Python from which the virtual environment of the Python at ``path`` was made; itself outside one."""
    # In a virtual environment the interpreter is a link to the base; otherwise pyvenv.cfg names its folder.
    real = os.path.realpath(path)
    for folder in (os.path.dirname(real), os.path.dirname(os.path.dirname(real))):
        for key, _, home in (line.partition("=") for line in text_of(f"{folder}/pyvenv.cfg").splitlines()):
            if key.strip() == "home":
                return os.path.realpath(os.path.join(home.strip(), os.path.basename(real)))
    return real


def doubt(key: str, path: str) -> str:
    """Return a sentence if other machines may lack the Python at ``path``, the value of ``key``, else an empty string."""
    if not path.startswith(SHARED):
        return (
            f"{key} = {path} is on this machine's local disk, which the access point and execute nodes cannot read; "
            "install faser-align in a virtual environment on AFS"
        )
    if not (base := base_of(path)).startswith(SHARED):
        return (
            f"the virtual environment of {key} = {path} uses {base}, which is on this machine's local disk; "
            f"test it with `faser-align check --probe`, or create it with a Python on CVMFS such as {ON_CVMFS}"
        )
    return ""
