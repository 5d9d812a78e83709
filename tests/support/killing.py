"""Killing a program at one of its system calls, by strace."""

import shutil
import subprocess
from pathlib import Path

STRACE = shutil.which("strace")


def may_trace(folder: Path) -> bool:
    """Whether strace is here and may trace a process of ours, and kill it; tried in ``folder``."""
    if STRACE is None:
        return False
    try:
        return subprocess.run(killing_at("exit_group", 1, "true"), cwd=folder, check=False).returncode == -9
    except OSError:
        return False


def killing_at(name: str, number: int, *program: str) -> tuple[str, ...]:
    """Words that run a program and kill it before its call ``number`` of the system call ``name``."""
    return (str(STRACE), "-f", "-qq", "-o", "/dev/null", *fault_at(name, number), *program)


def fault_at(name: str, number: int | str, fault: str = "signal=KILL") -> tuple[str, ...]:
    """Options of strace for a fault at call ``number`` of the system call ``name``."""
    calls = "link,linkat" if name == "link" else name  # os.link calls linkat from Python 3.14
    return ("-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={number}")
