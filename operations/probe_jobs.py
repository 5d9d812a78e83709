"""Read the progress of the probe's jobs from answers and logs, and report it."""

import contextlib
import json
import re
from typing import Any, NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.stored_types import Resources
from faser_align.fsm.reasons import strip_control_characters
from faser_align.operations.checking import Check
from faser_align.state import joblogs
from faser_align.state.judging import last_line
from faser_align.system.read import text_of

EXECUTE_NODE = "execute node"
ANSWER = "answer.json"


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
    python = record.get("job_python", record["python"])
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
