"""Run programs in forks of a process that has already loaded them.

Each is a process of its own with its own arguments, environment, folder and streams, as if a new interpreter had started
it. Starting Python and importing the program takes half a second of CPU time, the fork some milliseconds. Scripts of DAGMan
have a server without site-packages, as they are started.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
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
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    """The process that forks for the programs ``kind``, several at a time; it ends with this process."""

    def __init__(self, kind: str) -> None:
        options = ("-I", "-S") if kind == _HOOKS else ()
        self._process = subprocess.Popen(
            [sys.executable, *options, __file__, kind],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # otherwise NumPy starts threads
            stdin=subprocess.PIPE,
        )
        self._end = os.pidfd_open(self._process.pid)
        self._asking = threading.Lock()
        atexit.register(self._close)

    def ask(self, question: dict[str, Any], timeout_s: float) -> int:
        """Run a program; return its exit status as ``subprocess`` does. The server kills it if nobody waits any more."""
        answer, written = os.pipe()
        with io.FileIO(answer) as reading, io.FileIO(written, "w"):
            path = f"/proc/{os.getpid()}/fd/{written}"
            with self._asking:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(question | {"answer": path}).encode() + b"\n")
                self._process.stdin.flush()
            ready = select.select([reading, self._end], [], [], timeout_s)[0]
            if not ready:
                raise subprocess.TimeoutExpired(question["words"], timeout_s)
            assert reading in ready, "the server ended"
            return int(reading.readline())

    def _close(self) -> None:
        with self._process:
            self._process.terminate()


@functools.cache
def _server(kind: str) -> _Server:
    return _Server(kind)


_starting = threading.Lock()


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
        with _starting:
            server = _server(kind)
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
        status = server.ask(question, timeout_s)
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in (out, err)]
    said = [text.decode(errors="replace").replace("\r\n", "\n") for text in texts]
    return subprocess.CompletedProcess([module, *words], status, *said)


def _serve(kind: str) -> None:
    if kind == _HOOKS:
        sys.path.insert(0, str(HOOK.parents[2]))
        # hooks.message runs in a process of its own.
        _load(_modules("hooks", but=("hooks.run", "hooks.probe", "hooks.message")))
        _load_machine()
    else:
        del sys.path[0]  # the folder of this file
        sys.modules |= dict.fromkeys(_THREADED)  # as if they were not installed
        importlib.import_module(f"{COMMAND_LINE}.main").root()  # making commands takes longer than most of them
        _load([name for package in _PACKAGES for name in _modules(package)])
        assert "htcondor2" not in sys.modules, "each process reads HTCondor's configuration when it loads htcondor2"
    requests, poll = sys.stdin.fileno(), select.poll()
    poll.register(requests, select.POLLIN)
    programs: dict[int, _Program] = {}  # by both descriptors
    received = b""
    while True:
        for descriptor in sorted((descriptor for descriptor, _ in poll.poll()), reverse=True):  # requests come last
            if descriptor == requests:
                if not (read := os.read(requests, 2**16)):
                    return
                *lines, received = (received + read).split(b"\n")
                for line in lines:
                    if (program := _begin(json.loads(line), list(programs))) is None:
                        continue
                    programs |= {program.end: program, program.answer: program}
                    poll.register(program.end, select.POLLIN)
                    poll.register(program.answer, 0)  # an error: its reader is gone
            elif program := programs.get(descriptor):
                if descriptor == program.answer:
                    os.kill(program.process, signal.SIGKILL)
                    poll.unregister(descriptor)
                    continue
                _report(program, poll)
                del programs[program.end], programs[program.answer]


class _Program(NamedTuple):
    """A program that runs: its process, the descriptor of its end, and the one for its exit status."""

    process: int
    end: int
    answer: int


def _begin(question: dict[str, Any], others: list[int]) -> _Program | None:
    """Fork a program, which gets none of the descriptors of ``others``; return None if nobody waits for it any more."""
    if question["module"].startswith("faser_align.jobs."):
        _load(_LIBRARIES)
    assert len(os.listdir("/proc/self/task")) == 1, "forking a process with threads is unsafe"
    try:
        answer = os.open(question["answer"], os.O_WRONLY)
    except FileNotFoundError:
        return None
    child = os.fork()
    if not child:
        try:
            for descriptor in (answer, *others):
                os.close(descriptor)
            os._exit(_run(question))
        finally:
            os._exit(70)  # an exception must not return a child to the server's code
    return _Program(child, os.pidfd_open(child), answer)


def _report(program: _Program, poll: "select.poll") -> None:
    """Write the exit status of a program that has ended, and close its descriptors."""
    _, status = os.waitpid(program.process, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(program.answer, b"%d\n" % os.waitstatus_to_exitcode(status))
    for used in (program.end, program.answer):
        with contextlib.suppress(KeyError):
            poll.unregister(used)
        os.close(used)


def _load_machine() -> None:
    """Load what scripts of Millepede nodes import later, and then hide site-packages again, which each script asks for."""
    from faser_align.system import libraries

    path = list(sys.path)
    libraries.site_packages()
    _load(("faser_align.fsm.machine", "faser_align.fsm.reduce_campaign", "faser_align.state.write.load_campaign"))
    sys.path[:] = path
    del sys.modules["site"]


def _modules(package: str, but: tuple[str, ...] = ()) -> list[str]:
    name = f"faser_align.{package}"
    found = pkgutil.walk_packages([str(HOOK.parents[1] / package)], f"{name}.")
    return [name, *(module.name for module in found if not module.name.endswith(("__main__", *but)))]


def _load(names: "tuple[str, ...] | list[str]") -> None:
    for name in names:
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would touch, and so copy, everything


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
