"""Collect a campaign's failed attempts and holds from the state database and HTCondor's log."""

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm import exit_codes
from faser_align.pages.troubles import shown_log
from faser_align.state import queries
from faser_align.state.logends import LogEnd

# A failed attempt or a hold: when and where it happened, why, its kind and the fix, and the node's present state.
FailedAttempt = TypedDict(
    "FailedAttempt",
    {
        "node": str,
        "attempt": int,
        "utc": str,
        "job_id": str,
        "state": str,
        "why": str,
        "name": str,
        "cure": str,
        "return": int | None,
        "host": str,
    },
)

# Words of the reason why HTCondor held a job -> what helps; the first that applies.
_HOLDS = (
    ("memory", "give the job more memory, then release it; with memory_max_mb HTCondor does both by itself"),
    ("", "remove the cause, then release the job"),
)
_PAST = "the job is not on hold any more; to avoid further holds, remove the cause"


class Failure(NamedTuple):
    """A kind of failure: its name, the fix, and the attempts with it."""

    name: str
    cure: str
    attempts: tuple[FailedAttempt, ...]


def kinds(attempts: Iterable[FailedAttempt]) -> list[Failure]:
    """Group failed attempts by the name of their failure, most frequent first."""
    groups: dict[tuple[str, str], list[FailedAttempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt["name"], attempt["cure"]), []).append(attempt)
    found = [Failure(name, cure, tuple(group)) for (name, cure), group in groups.items()]
    return sorted(found, key=lambda failure: -len(failure.attempts))


def attempts(folder: str, on_hold: Collection[str]) -> list[FailedAttempt]:
    """Return failed attempts and holds of the campaign in ``folder``, in their order, named by what happened.

    ``on_hold`` has the ids of the jobs that are on hold now. Raises StoreError if the snapshot cannot be read.
    """
    hosts = _hosts(folder)
    with queries.published(folder) as db:
        found = queries.rows(
            db,
            "SELECT h.node, h.attempt, h.utc, h.event, h.job_id, n.state, json_extract(h.facts, '$.return') AS ret, "
            "coalesce(json_extract(h.facts, '$.reason'), '') AS why FROM history AS h JOIN nodes AS n ON n.node = h.subject "
            "WHERE h.event = 'held' OR (h.event IN ('failed', 'lost') AND h.ignored = '') ORDER BY h.id",
        )
    return [named(row, hosts, on_hold) for row in found]


def named(row: queries.Row, hosts: dict[str, str], on_hold: Collection[str]) -> FailedAttempt:
    """Return a failed attempt or a hold with the name of its failure, the fix, and the host, which ``hosts`` has by job."""
    ret = row["ret"]
    if row["event"] == "held":
        word, cure = next(known for known in _HOLDS if known[0] in row["why"].lower())
        name, cure = ("on hold", cure) if row["job_id"] in on_hold else ("was on hold", _PAST)
        name = f"{name}: {word}" if word else name
    elif known := exit_codes.failure(ret):
        name, _, cure = known
    else:
        name, cure = row["why"].partition(":")[0] or f"exit status {ret}", exit_codes.cure(row["why"], ret)
    stored: Any = {key: row[key] for key in ("node", "attempt", "utc", "job_id", "state", "why")}
    attempt: FailedAttempt = stored | {"name": name, "cure": cure, "return": ret, "host": hosts.get(row["job_id"], "")}
    return attempt


def _hosts(folder: str) -> dict[str, str]:
    """Return the last host of each job by its id."""
    from faser_align.state import joblogs

    found = {}
    with contextlib.suppress(OSError), Path(folder, layout.JOB_LOG).open(encoding="utf-8", errors="replace") as log:
        for event in joblogs.job_events(log, (joblogs.EXECUTING,)):
            if slot := next((line for line in event.said if line.startswith("SlotName: ")), ""):
                found[event.job_id] = slot.partition("@")[2]
    return found


def logs(folder: str, kinds: Iterable[Failure]) -> dict[str, LogEnd]:
    """Return the end of the own log of one node of each kind, if there is one."""
    record = read_record(folder)
    found: dict[str, LogEnd] = {}
    for kind in kinds:
        for attempt in kind.attempts:
            end = shown_log(record, folder, attempt["node"], attempt["why"])
            if end.lines:
                found[attempt["node"]] = end
                break
    return found
