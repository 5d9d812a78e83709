"""Worlds that are bad for hooks: a small disk, impatient hooks, a clock that is wrong, a hook that stops half-way."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from campaigns import HOOK


def altered(program: str) -> tuple[str, ...]:
    """The hook program after the lines of ``program``, for which ``database``, ``history``, ``os``, ``time`` are imported."""
    head = f"import os, signal, sys, time\nsys.path.insert(0, {str(Path(HOOK).parents[2])!r})\n"
    head += "from faser_align.state import database, history\n"
    tail = "\nfrom faser_align.hooks import node\nos._exit(node.main(sys.argv[1:]))"
    return (sys.executable, "-I", "-S", "-c", head + program + tail)


# Nobody waits for half a minute in a test.
IMPATIENT = altered("database.QUEUE_S_MAX, database.BUSY_S_MAX = 0.3, 0.3")
# Nobody waits for the pause after a copy, whose length is that of the disk: each run takes the same way.
PROMPT = altered("from faser_align.state import publish\npublish.SHARE = 1")


class SmallDisk:
    """A disk in memory that covers a folder, in a mount namespace of its own.

    Attributes:
        path: the folder as it is there, for every process of this user; SQLite follows no such path.
        program: the hook program in that namespace, where the folder has its own name.
    """

    def __init__(self, shell: "subprocess.Popen[str]", where: Path) -> None:
        self._shell = shell
        self._where = where
        self.path = Path(f"/proc/{shell.pid}/root{where}")
        enter = ("nsenter", f"--target={shell.pid}", "--user", "--mount", "--preserve-credentials")
        self.program = (*enter, sys.executable, "-I", "-S", HOOK)

    def say(self, command: str) -> bool:
        """Run a line of shell as root of the disk; whether it succeeded."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}; }} >/dev/null 2>&1; echo $?\n")
        self._shell.stdin.flush()
        return self._shell.stdout.readline() == "0\n"

    def remount(self, how: str) -> None:
        """Make the disk read-only (``ro``) or writable (``rw``)."""
        assert self.say(f"mount -o remount,bind,{how} '{self._where}'")

    def fill(self, leave: int = 0) -> Path:
        """Fill the disk up to ``leave`` bytes; returns the file to remove afterwards."""
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
    """A disk of ``size`` (as mount takes it) with what ``where`` holds, mounted there; None where a user may not do that."""
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
