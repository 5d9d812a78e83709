"""Provide bad environments for scripts: a small disk, short time limits, a wrong clock, a script that stops half-way."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from campaigns import HOOK


def altered(program: str) -> tuple[str, ...]:
    """Return the hook program with the lines of ``program`` before it.

    They can use ``database``, ``writer``, ``os`` and ``time``.
    """
    head = f"import os, signal, sys, time\nsys.path.insert(0, {str(Path(HOOK).parents[2])!r})\n"
    head += "from faser_align.state import database, writer\n"
    tail = "\nfrom faser_align.hooks import entry\nos._exit(entry.main(sys.argv[1:]))"
    return (sys.executable, "-I", "-S", "-c", head + program + tail)


# No test waits for half a minute.
IMPATIENT = altered("database.QUEUE_S_MAX, database.BUSY_S_MAX = 0.3, 0.3")
# No publish interval, which depends on the disk: each run takes the same course.
PROMPT = altered("from faser_align.state import publish\npublish.SHARE = 1")


class SmallDisk:
    """A disk in memory that covers a folder, in its own mount namespace.

    Attributes:
        path: the folder for every process of this user; SQLite does not follow such a path.
        program: the hook program in that namespace, where the folder has its own name.
    """

    def __init__(self, shell: "subprocess.Popen[str]", where: Path) -> None:
        self._shell = shell
        self._where = where
        self.path = Path(f"/proc/{shell.pid}/root{where}")
        enter = ("nsenter", f"--target={shell.pid}", "--user", "--mount", "--preserve-credentials")
        self.program = (*enter, sys.executable, "-I", "-S", HOOK)

    def say(self, command: str) -> bool:
        """Run a shell command as the disk's root; return whether it succeeded."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}; }} >/dev/null 2>&1; echo $?\n")
        self._shell.stdin.flush()
        return self._shell.stdout.readline() == "0\n"

    def remount(self, how: str) -> None:
        """Make the disk read-only (``ro``) or writable (``rw``)."""
        assert self.say(f"mount -o remount,bind,{how} '{self._where}'")

    def fill(self, leave: int = 0) -> Path:
        """Fill the disk up to ``leave`` bytes; return the file to remove afterwards."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file:
            with suppress(OSError):
                while True:
                    file.write(bytes(4096))
            if leave:
                os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - leave)
        return filler


@contextmanager
def small_disk(where: Path, *, size: str) -> Iterator[SmallDisk | None]:
    """Mount a disk of ``size`` (as for mount) with the content of ``where`` there; return None if not permitted."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, text=True, **pipes) as shell:
        disk = SmallDisk(shell, where)
        try:
            made = disk.say(f"mount -t tmpfs -o size={size},mode=700 tmpfs '{where}'")
        except BrokenPipeError:
            made = False
        if made:
            shutil.copytree(where, disk.path, dirs_exist_ok=True)
        yield disk if made else None
        with suppress(BrokenPipeError):
            assert shell.stdin is not None
            shell.stdin.close()
