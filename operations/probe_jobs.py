"""Define the attempts of the probe's jobs, read their progress from answers and logs, and report it."""

import contextlib
import json
import re
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.schema import Config
from faser_align.config.stored_types import Resources
from faser_align.fsm.reasons import strip_control_characters
from faser_align.operations import checks_places as places
from faser_align.operations.checking import Check, CheckContext
from faser_align.state import joblogs
from faser_align.state.judging import last_line
from faser_align.system.read import text_of

EXECUTE_NODE = "execute node"
ANSWER = "answer.json"
Request = dict[str, Any]


def requests(look: CheckContext, folder: str, *, credential: bool = False) -> dict[str, list[Request]]:
    """Return the attempts of each kind of job in order; ``folder`` is that of the probe.

    ``credential`` says that the pool gives jobs a Kerberos credential.
    """
    config, solver = look.config, look.config.solver
    tickets = [{"name": "credential", "try": "credential"}] if credential else []
    if config.htcondor.pool != "personal":  # its jobs run as the user's own processes
        tickets.append({"name": "Kerberos", "try": "ticket", "tool": "klist"})
        tickets.append({"name": "AFS token", "try": "ticket", "tool": "tokens"})
    folders = [{"name": "campaign folder", "try": "write", "key": "campaign.folder", "folder": folder}]
    if data := config.storage.folder:
        folders.append({"name": "data folder", "try": "write", "key": "storage.data", "folder": data})
    pede = {"name": "pede", "try": "pede", "pede": solver.pede, "environment": solver.environment}
    return {
        "reco": [
            {"name": "Python", "try": "python", "modules": _reco_modules(config)},
            {"name": "scratch space", "try": "scratch", "disk_mb": config.htcondor.reco.disk_mb},
            *tickets,
            *folders,
            *_paths("raw files", _raw_paths(look)),
            *_paths("CVMFS", list(places.cvmfs_paths(config, solver=False).items())),
            *_paths("Calypso", list(places.calypso_paths(config).items())),
            *_programs(config),
        ],
        "mille": [
            {"name": "Python", "try": "python", "modules": ["faser_align.jobs.solve", "faser_align.jobs.validate"]},
            {"name": "scratch space", "try": "scratch", "disk_mb": config.htcondor.mille.disk_mb},
            *tickets,
            *folders,
            *([pede] if solver.backend == "pede" else []),
        ],
    }


def _reco_modules(config: Config) -> list[str]:
    # Includes modules that the job imports only inside functions.
    own = [
        "faser_align.jobs.reconstruct",
        "faser_align.alignment.mille.conversion",
        "faser_align.alignment.quality.momenta",
    ]
    if config.reconstruction.backend == "simulation":
        return [*own, "faser_align.simulation.reconstruct", "faser_align.simulation.kfalignment"]
    return [*own, "faser_align.jobs.inputs", "faser_align.jobs.output", "faser_align.jobs.convert"]


def _raw_paths(look: CheckContext) -> list[tuple[str, str]]:
    pattern = look.config.reconstruction.raw
    paths = places.raw_paths(look) if look.files else [places.raw_top(pattern)]
    return [("reconstruction.raw", path) for path in paths] if pattern else []


def _paths(name: str, paths: list[tuple[str, str]]) -> list[Request]:
    return [{"name": name, "try": "read", "paths": paths}] if paths else []


def _programs(config: Config) -> list[Request]:
    """Return the environment that the wrapper sets up, and the programs that copy tracks."""
    told = config.reconstruction
    if told.backend == "simulation":
        return []
    found: list[Request] = []
    if told.backend == "calypso" or told.environment:
        found.append({"name": "environment", "try": "environment", "script": layout.WRAPPER})
    if told.copy_with == "xrdcp":
        fix = 'set reconstruction.copy_with = "cp"'
        found.append({"name": "copying", "try": "tool", "tools": ["xrdcp", "xrdfs"], "fix": fix})
    return found


class Progress(NamedTuple):
    """Progress of a job.

    ``entries`` are the finished attempts, ``running`` the present one; ``held`` is HTCondor's reason, ``value``
    the exit status as DAGMan's $RETURN has it.
    """

    entries: list[dict[str, str]]
    running: str
    answered: bool
    submitted: bool
    executes: bool
    held: str
    value: int | None
    said: str

    @property
    def over(self) -> bool:
        """Whether further waiting is useless."""
        return self.answered or bool(self.held) or self.value is not None


def progress(folder: str, kind: str) -> Progress:
    """Return the progress of the probe's job of a kind; missing files are not an error."""
    answer: dict[str, Any] = {"entries": [], "running": ""}
    with contextlib.suppress(OSError, ValueError), open(f"{folder}/{kind}.{ANSWER}", encoding="utf-8") as file:
        answer = json.load(file)
    of_all = list(joblogs.job_events(text_of(f"{folder}/{layout.JOB_LOG}").splitlines()))
    ids = {event.job_id for event in of_all if event.code == joblogs.SUBMITTED and event.node == kind}
    events = [event for event in of_all if event.job_id in ids]
    state = next((e for e in reversed(events) if e.code in (joblogs.HELD, joblogs.RELEASED, joblogs.EXECUTING)), None)
    return Progress(
        entries=answer["entries"],
        running=answer["running"],
        answered=bool(answer["entries"]) and not answer["running"],
        submitted=bool(events),
        executes=any(event.code == joblogs.EXECUTING for event in events),
        held=state.why_held or "no reason given" if state and state.code == joblogs.HELD else "",
        value=next((event.value for event in events if event.value is not None), None),
        said=last_line(f"{folder}/{kind}.err"),
    )


def report(kind: str, found: Progress, record: Manifest, waited_s: float, rejected: str) -> list[Check]:
    """Return the results of the execute node, one entry for each thing that the job tried.

    Args:
        kind: kind of the job.
        found: its progress.
        record: the manifest from which it was made.
        waited_s: how long the command waited for it (s).
        rejected: why the negotiator found no machine for it, if known.
    """
    checks = [Check(f"{EXECUTE_NODE}: {kind} {one['name']}", one["result"], one["text"]) for one in found.entries]
    if not found.answered:
        result, text = _trouble(kind, found, record, waited_s, rejected)
        checks.append(Check(f"{EXECUTE_NODE}: {kind} job", result, strip_control_characters(text)))
    return checks


def _trouble(kind: str, found: Progress, record: Manifest, waited_s: float, rejected: str) -> tuple[str, str]:
    """Return result and sentence for a job without a complete answer."""
    python = record["job_python"]
    if found.held:
        fix = f"correct htcondor.{kind}, or campaign.folder if execute nodes cannot read it"
        if re.search(r"failed to execute|exec format", found.held, re.IGNORECASE):
            fix = f"{python} does not start there: set python.jobs to a Python that exists on execute nodes"
        return "failed", f"HTCondor holds the job ({found.held.rstrip('.')}); {fix}"
    if found.value == joblogs.REMOVED:
        return "failed", "the job was removed before it answered; try again"
    if found.value is not None:
        ended = f"exit status {found.value}" if found.value >= 0 else f"signal {-found.value}"
        why = f"{ended}: {found.said}" if found.said else ended
        return "failed", (
            f"{python} did not run faser-align ({why}); install faser-align for a Python that exists on execute nodes, "
            "and set python.jobs to it"
        )
    if found.executes:
        at = f'"{found.running}"' if found.running else "its start"
        return "failed", (
            f"the job runs but did not finish {at} within {waited_s:.0f} s; a file server may not respond on that machine"
        )
    if not found.submitted:
        return "failed", f"DAGMan submitted no {kind} job within {waited_s:.0f} s"
    why = f" ({rejected})" if rejected else ""
    return "warning", (
        f"the job did not start within {waited_s:.0f} s{why}, so execute nodes were not tested; "
        f"{_wanted(kind, record)}: see which machines match with `condor_status`, change htcondor.{kind}, "
        "or wait longer with --wait"
    )


def _wanted(kind: str, record: Manifest) -> str:
    htcondor: Any = record["config"]["htcondor"]
    resources: Resources = htcondor[kind]
    needs = f"it requests {resources['cpus']} CPUs, {resources['memory_mb']} MB of memory, {resources['disk_mb']} MB of disk"
    requirements = resources["requirements"]
    return f"{needs} and {requirements}" if requirements else needs
