"""Load the command line once, and run each command in a fork of that process, with chosen streams.

Starting Python and importing the program takes a second of CPU time, the fork some milliseconds.
"""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import faser_align


class Result(NamedTuple):
    """Exit status, standard output and standard error of a command."""

    status: int
    out: str
    err: str


class Forks:
    """Runs commands, one after the other.

    Args:
        server: the process that has loaded the program.
        folder: where commands run.
        scratch: folder for their output.
    """

    def __init__(self, server: "subprocess.Popen[str]", folder: Path, scratch: Path) -> None:
        self.server, self.folder, self.scratch = server, folder, scratch

    def __call__(self, words: list[str], *, encoding: str = "utf-8", closed: tuple[int, ...] = ()) -> Result:
        """Run a command whose standard streams have an encoding; those of the numbers in ``closed`` are closed."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        streams = ["/dev/null", str(self.scratch / "out"), str(self.scratch / "err")]
        for path in streams[1:]:
            Path(path).write_bytes(b"")
        asked = {"words": words, "folder": str(self.folder), "environment": dict(os.environ), "streams": streams}
        print(json.dumps(asked | {"encoding": encoding, "closed": closed}), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        return Result(status, *(Path(path).read_bytes().decode(errors="replace") for path in streams[1:]))


@contextmanager
def forks(folder: Path, scratch: Path) -> Iterator[Forks]:
    """Run commands in forks of a process that has loaded the program, while the context is open."""
    with subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # forking a process with threads is unsafe
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield Forks(server, folder, scratch)
        assert server.stdin is not None
        server.stdin.close()


def _serve() -> None:
    for package in ("alignment", "cli", "config", "notifiers", "operations", "pages", "state"):
        folder = f"{os.path.dirname(faser_align.__file__)}/{package}"
        for module in pkgutil.walk_packages([folder], f"faser_align.{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(asked: dict[str, Any]) -> int:
    """Run a command as a new interpreter would: a closed stream is None."""
    from faser_align.cli import main

    for number, (name, path) in enumerate(zip(("stdin", "stdout", "stderr"), asked["streams"], strict=True)):
        made = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(made, number)
        os.close(made)
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = open(number, "w" if number else "r", encoding=asked["encoding"], errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    for number in asked["closed"]:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["faser-align", *asked["words"]]
    try:
        main.main()
        status: Any = 0
    except SystemExit as left:
        status = left.code or 0
    except BaseException:  # noqa: BLE001 - as an interpreter ends
        traceback.print_exc()
        status = 1
    for kept in (sys.stdout, sys.stderr):
        if kept is not None:
            kept.flush()
    return int(status)


if __name__ == "__main__":
    _serve()
