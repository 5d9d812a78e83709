"""Try on an execute node what the jobs of a campaign need.

``python -I -m faser_align.jobs.probe FOLDER KIND``: FOLDER holds KIND.request.json, which lists what to try. The answer
is written to KIND.answer.json there, anew before each attempt, so that it names an attempt that does not return.
"""

import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from faser_align.fsm.errors import UserError
from faser_align.system import kerberos
from faser_align.system.atomic import write_text
from faser_align.system.attempt import Entry, attempt
from faser_align.system.site_tools import AbsentError, ticket

MB = 1_000_000
FIXES = {
    "/cvmfs/": "require machines with CVMFS in htcondor.{kind}.requirements",
    "/afs/": "see whether the job has an AFS token, and whether `fs listacl` gives you access",
    "/eos/": "see whether the job has a Kerberos ticket, or require machines with EOS in htcondor.{kind}.requirements",
    "": "name a path that execute nodes see, too",
}
Request = dict[str, Any]


def main(folder: str, kind: str) -> int:
    """Try everything in the request and write the answer; return the exit status 0."""
    with open(f"{folder}/{kind}.request.json", encoding="utf-8") as file:
        requests: list[Request] = json.load(file)
    entries: list[Entry] = []
    for request in requests:
        _write(folder, kind, entries, running=request["name"])
        look = partial(TRIED[request["try"]], {"folder": folder, **request, "kind": kind})
        entries.append(attempt(request["name"], look))
    _write(folder, kind, entries, running="")
    return 0


def _write(folder: str, kind: str, entries: list[Entry], *, running: str) -> None:
    write_text(f"{folder}/{kind}.answer.json", json.dumps({"entries": entries, "running": running}))


def _python(request: Request) -> str:
    """Import what the jobs import; return the path and version of Python."""
    for module in request["modules"]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(
                f"{sys.executable} on {platform.node()} cannot import {module}: {error}; reinstall faser-align for it"
            ) from None
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.platform()
    return f"{sys.executable} {platform.python_version()} runs faser-align on {platform.node()} ({system})"


def _scratch(request: Request) -> str:
    """Compare the free space of the scratch folder with the job's request."""
    folder = os.environ.get("_CONDOR_SCRATCH_DIR") or os.environ.get("TMPDIR") or "/tmp"
    free_mb, wanted_mb = shutil.disk_usage(folder).free / MB, request["disk_mb"]
    sentence = f"{free_mb:,.0f} MB free in {folder} on {platform.node()}; the job requests {wanted_mb:,} MB"
    if free_mb < wanted_mb:
        raise UserWarning(f"{sentence}: jobs there may fail; require more with htcondor.{request['kind']}.disk_mb")
    return sentence


def _read(request: Request) -> str:
    """Read the first byte of each file and the names in each folder."""
    bad = []
    for key, path in request["paths"]:
        try:
            if os.path.isdir(path):
                os.listdir(path)
            else:
                with open(path, "rb") as file:
                    file.read(1)
        except OSError as error:
            bad.append((key, path, error.strerror))
    if bad:
        key, path, why = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{key} = {path} cannot be read on {platform.node()}: {why}{more}; {_fix(request, path)}")
    paths = [path for _, path in request["paths"]]
    return paths[0] if len(paths) == 1 else f"{len(paths)} can be read, the first is {paths[0]}"


def _write_into(request: Request) -> str:
    """Write a file into a folder, read it back and remove it."""
    folder = request["folder"]
    name, content = (
        f"{folder}/.faser-align-probe-{platform.node()}-{os.getpid()}",
        "written by faser-align check --probe",
    )
    try:
        write_text(name, content)
        with open(name, encoding="utf-8") as file:
            same = file.read() == content
        os.unlink(name)
    except OSError as error:
        raise UserError(
            f"{request['key']} = {folder} cannot be written on {platform.node()}: {error.strerror}; {_fix(request, folder)}"
        ) from None
    if not same:
        raise UserError(f"{request['key']} = {folder} returned other content than was written on {platform.node()}")
    return f"a file was written to {folder}, read and removed"


def _fix(request: Request, path: str) -> str:
    return next(fix for start, fix in FIXES.items() if path.startswith(start)).format(kind=request["kind"])


def _environment(request: Request) -> str:
    """Set up the reconstruction's environment with the script of its jobs."""
    started = time.monotonic()
    done = subprocess.run(
        ["/bin/bash", f"{request['folder']}/{request['script']}", "--environment"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it says nothing")
        raise UserError(f"the environment cannot be set up on {platform.node()} (status {done.returncode}): {last}")
    return f"set up on {platform.node()} in {time.monotonic() - started:.0f} s"


def _tool(request: Request) -> str:
    missing = [tool for tool in request["tools"] if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{platform.node()} has no {missing[0]} in {os.environ.get('PATH', '')}; {request['fix']}")
    return ", ".join(str(shutil.which(tool)) for tool in request["tools"])


def _pede(request: Request) -> str:
    from faser_align.alignment.pede.runner import probe, sourced

    environment = sourced(request["environment"])
    program = shutil.which(request["pede"], path=environment.get("PATH"))
    if program is None:
        raise UserError(
            f"solver.pede = {request['pede']} is not a program on {platform.node()}; name a program that is there"
        )
    return f"{program} runs ({probe(program, environment) or 'it does not tell its version'})"


def _ticket(request: Request) -> str:
    try:
        return ticket(request["tool"])
    except AbsentError:
        raise AbsentError(f"{platform.node()} has no `{request['tool']}`") from None


TRIED: dict[str, Callable[[Request], str]] = {
    "python": _python,
    "scratch": _scratch,
    "read": _read,
    "write": _write_into,
    "environment": _environment,
    "tool": _tool,
    "pede": _pede,
    "ticket": _ticket,
    "credential": lambda _: kerberos.received(time.time()),
}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
