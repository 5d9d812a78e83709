"""Kill a program at one of its system calls, with strace."""

import shutil
import subprocess
from pathlib import Path

STRACE = shutil.which("strace")


def may_trace(folder: Path) -> bool:
    """Return whether strace may trace and kill a process of ours; tried in ``folder``."""
    if STRACE is None:
        return False
    try:
        return subprocess.run(killing_at("exit_group", 1, "true"), cwd=folder, check=False).returncode == -9
    except OSError:
        return False


def killing_at(name: str, number: int, *program: str, children: bool = False) -> tuple[str, ...]:
    """Return a command prefix that kills a program, or also a child of it, before its call ``number`` of ``name``."""
    return (str(STRACE), *(["-f"] if children else []), "-qq", "-o", "/dev/null", *fault_at(name, number), *program)


def fault_at(name: str, number: int | str, fault: str = "signal=KILL") -> tuple[str, ...]:
    """Return strace's options for a fault at call ``number`` of the system call ``name``."""
    calls = "link,linkat" if name == "link" else name  # os.link calls linkat since Python 3.14
    return ("-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={number}")
