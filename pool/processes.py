"""Find the daemons of a personal pool from the kernel's data instead of files, which can be stale.

HTCondor's master passes CONDOR_CONFIG to its daemons, so their environment identifies their pool. Reads /proc (Linux).
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faser_align.system.attempt import wait_until

# The kernel shows at most 15 characters. Tools (condor_q, ...) have the same variable but are not daemons.
_NAMES = "master procd shared_port collector negotiator startd starter schedd credd shadow scheduniv_exec dagman"
_DAEMONS = frozenset(f"condor_{name}"[:15] for name in _NAMES.split())
_POLL_S = 0.1
_KILLED_S = 60.0  # for a killed process to end


class Daemon(NamedTuple):
    """A running daemon: its process id and its name as the kernel shows it."""

    pid: int
    name: str


def daemons(config: Path) -> list[Daemon]:
    """Return this user's daemons that run with the HTCondor configuration file ``config``."""
    mark = b"CONDOR_CONFIG=" + os.fsencode(config)
    return [
        Daemon(int(entry.name), name)
        for entry, name in _processes()
        if name in _DAEMONS and mark in _fields(entry / "environ")
    ]


def launchers(config: Path) -> list[Daemon]:
    """Return the processes that are starting a pool with that configuration (``faser_align.pool.launch``).

    They outlive the command that started them if that is killed.
    """
    wanted = {b"faser_align.pool.launch", os.fsencode(config.parent)}
    return [
        Daemon(int(entry.name), name)
        for entry, name in _processes()
        if name.startswith("python") and wanted <= set(_fields(entry / "cmdline"))
    ]


def master(config: Path) -> int | None:
    """Return the process id of the pool's condor_master, or None."""
    return next((daemon.pid for daemon in daemons(config) if daemon.name == "condor_master"), None)


def end(config: Path) -> None:
    """End every daemon of a pool and wait until the last has ended.

    The master is asked to shut down, then to shut down fast; remaining processes are killed. Raises TimeoutError if a
    killed process does not end.
    """
    until = time.monotonic() + _KILLED_S
    while (starting := launchers(config)) and time.monotonic() < until:  # first, so that no new master can follow
        for launcher in starting:
            _send(launcher.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    for request, wait_s in ((signal.SIGTERM, 15.0), (signal.SIGQUIT, 10.0)):
        chief = master(config)
        if chief is None:
            break
        _send(chief, request)
        if wait_until(lambda: not daemons(config), wait_s, _POLL_S):
            return
    for daemon in daemons(config):
        _send(daemon.pid, signal.SIGKILL)
    if not wait_until(lambda: not daemons(config), _KILLED_S, _POLL_S):
        raise TimeoutError(", ".join(f"{daemon.name} ({daemon.pid})" for daemon in daemons(config)))


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # already ended
        os.kill(pid, number)


def _processes() -> Iterator[tuple[Path, str]]:
    """Yield folder in /proc and name of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                yield entry, (entry / "comm").read_text(errors="replace").strip()


def _fields(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or another user's
        return []
