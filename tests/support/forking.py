"""Run programs in forks of a process that has already loaded them.

Each is a process of its own with its own arguments, environment, folder and streams, as if a new interpreter had started
it. Starting Python and importing the program takes half a second of CPU time, the fork some milliseconds. Scripts of DAGMan
have a server without site-packages, as they are started.
"""

import atexit
import ctypes
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOOK = Path(__file__).parents[2] / "src" / "faser_align" / "hooks" / "run.py"
COMMAND_LINE = "faser_align.cli"
# What the server loads before the first fork for a program: packages with all modules, and modules.
_PACKAGES = ("alignment", "campaign", "cli", "config", "notifiers", "operations", "pages", "state")
_LIBRARIES = ("matplotlib.backends.backend_agg", "matplotlib.figure", "uproot", "faser_align.jobs.solve")
_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1  # prctl(2)
_THREADED = ("pandas", "pyarrow")  # libraries load them if they are there, and they start threads
_HOOKS, _MODULES = "hooks", "modules"
_STREAMS = ("stdin", "stdout", "stderr")


class _Server:
    """The process that forks for the program ``kind``; it ends with this process."""

    def __init__(self, kind: str) -> None:
        options = ("-I", "-S") if kind == _HOOKS else ()
        self._process = subprocess.Popen(
            [sys.executable, *options, __file__, kind],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # otherwise NumPy starts threads
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.close)

    def ask(self, question: dict[str, Any], timeout_s: float) -> int:
        """Run a program; return its exit status as ``subprocess`` does."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired(question["words"], timeout_s)
        return int(process.stdout.readline())

    def close(self) -> None:
        """End the server, and the program that it waits for."""
        with self._process:
            self._process.terminate()


_free: dict[str, list[_Server]] = {_HOOKS: [], _MODULES: []}  # several after programs that ran at the same time


def run(
    words: list[str],
    *,
    module: str = COMMAND_LINE,
    folder: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
    closed: tuple[int, ...] = (),
    timeout_s: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m module`` with arguments, and return what ``subprocess.run`` returns for text.

    Args:
        words: the arguments.
        module: the program; empty: the scripts of DAGMan.
        folder: the current folder; this process's by default.
        environment: the environment; this process's by default.
        encoding: encoding of its standard streams.
        closed: numbers of the standard streams that are closed.
        timeout_s: time limit (s).
    """
    os.umask(mask := os.umask(0o022))
    kind = _MODULES if module else _HOOKS
    with io.FileIO(os.memfd_create("out"), "r") as out, io.FileIO(os.memfd_create("err"), "r") as err:
        server = _free[kind].pop() if _free[kind] else _Server(kind)
        question = {
            "module": module,
            "words": words,
            "folder": str(folder or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "streams": ["/dev/null", *(f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err))],
            "umask": mask,
            "encoding": encoding,
            "closed": closed,
        }
        try:
            status = server.ask(question, timeout_s)
        except BaseException:
            server.close()
            raise
        _free[kind].append(server)
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in (out, err)]
    said = [text.decode(errors="replace").replace("\r\n", "\n") for text in texts]
    return subprocess.CompletedProcess([module, *words], status, *said)


def _serve(kind: str) -> None:
    if kind == _HOOKS:
        sys.path.insert(0, str(HOOK.parents[2]))
        _load(_modules("hooks", but=("hooks.run", "hooks.probe")))
    else:
        del sys.path[0]  # the folder of this file
        sys.modules |= dict.fromkeys(_THREADED)  # as if they were not installed
        _load([name for package in _PACKAGES for name in _modules(package)])
        assert "htcondor2" not in sys.modules, "each process reads HTCondor's configuration when it loads htcondor2"
    for line in sys.stdin:
        question = json.loads(line)
        if question["module"].startswith("faser_align.jobs."):
            _load(_LIBRARIES)
        assert len(os.listdir("/proc/self/task")) == 1, "forking a process with threads is unsafe"
        child = os.fork()
        if not child:
            os._exit(_run(question))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _modules(package: str, but: tuple[str, ...] = ()) -> list[str]:
    name = f"faser_align.{package}"
    found = pkgutil.walk_packages([str(HOOK.parents[1] / package)], f"{name}.")
    return [name, *(module.name for module in found if not module.name.endswith(("__main__", *but)))]


def _load(names: "tuple[str, ...] | list[str]") -> None:
    for name in names:
        importlib.import_module(name)


def _run(question: dict[str, Any]) -> int:
    """Run a program as a new interpreter would: a closed stream is None."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, (name, path) in enumerate(zip(_STREAMS, question["streams"], strict=True)):
        made = os.open(path, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(made, number)
        os.close(made)
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = open(number, "w" if number else "r", encoding=question["encoding"], errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    for number in question["closed"]:
        os.close(number)
        setattr(sys, _STREAMS[number], None)
    os.umask(question["umask"])
    os.chdir(question["folder"])
    os.environ.clear()
    os.environ.update(question["environment"])
    sys.argv = ["", *question["words"]]
    sys.modules.pop(question["module"], None)  # `-m` runs what nothing has imported
    status: Any = 0
    try:
        if question["module"]:
            runpy.run_module(question["module"], run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = str(HOOK)
            runpy.run_path(str(HOOK), run_name="__main__")
    except SystemExit as left:
        status = left.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:  # noqa: BLE001 - as an interpreter ends
        traceback.print_exc()
        status = 1
    for kept in (sys.stdout, sys.stderr):
        if kept is not None:
            kept.flush()
    return int(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
