"""Compose a message from the database and the campaign's files, and send it; runs in a process that may be killed."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.campaign.message_facts import Entry, Facts
from faser_align.campaign.next_steps import next_steps
from faser_align.fsm import exit_codes, table
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.reasons import normalise_reason
from faser_align.hooks import log
from faser_align.notifiers import send as notifier
from faser_align.notifiers.message import compose
from faser_align.notifiers.targets import load_targets, redact_all
from faser_align.pool.tools import release_held
from faser_align.state import database
from faser_align.state.facts import facts as about
from faser_align.state.logends import log_end
from faser_align.state.outbox import Claim

FOREIGN = ("reason", "failed", "held", "files_lost", "notes", "no_plot")  # facts with texts of other programs
LOGS_MAX = 8  # one of each kind of failure
PICTURE_BYTES_MAX = 2_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def prepare() -> None:
    """Import what every message needs, before the time of the first one begins."""
    import apprise  # noqa: F401


def send(folder: str, claimed: Claim) -> Iterator[tuple[str, str]]:
    """Compose a message and send it.

    Yields:
        ("reached", recipient or channel) for each that has it; then ("accepted", ""), ("refused", reason) or ("unwanted", "").
    """
    try:
        yield from _send(folder, claimed)
    except CampaignError as problem:
        yield "refused", str(problem)
    except Exception as problem:  # noqa: BLE001 - a library's failure must not become the node's
        # The text of a foreign exception may carry an address with its password.
        yield "refused", f"{type(problem).__name__} while sending"


def _send(folder: str, claimed: Claim) -> Iterator[tuple[str, str]]:
    record = read_record(folder)
    targets = load_targets(Path(record["targets_file"]))
    target = targets.get(claimed.target)
    if target is None:
        raise CampaignError(f"{record['targets_file']} has no target {claimed.target!r}")
    if not target.wants(claimed.kind):
        yield "unwanted", ""
        return
    facts = message_facts(folder, claimed)
    # A program may have printed secrets: remove them from the log, and from the reason, which is its last line.
    foreign = redact_all({key: value for key, value in facts.items() if key in FOREIGN}, targets.values())
    message = compose(facts | foreign, record["config"]["notify"].get("templates", ""), target.forms)
    for problem in message.problems:
        log.write(folder, f"message: {redact_all(problem, targets.values())}")
    for found in notifier.send(target, message, facts["key"], facts["thread"], claimed.reached):
        if isinstance(found, str):
            yield "reached", found
        else:
            yield ("accepted", "") if found.accepted else ("refused", found.words)


def message_facts(folder: str, claimed: Claim) -> Facts:
    """Return a message's contents: payload from the database, ends of failed nodes' logs, and the next command."""
    facts = database.read(folder, lambda db: about(db, claimed))
    _add_logs(folder, [*facts["failed"], *(facts["files_lost"] if claimed.kind == "lost" else ())])
    for failed in facts["failed"]:
        failed["cure"] = exit_codes.cure(failed["why"])
    for lost in facts["files_lost"]:
        # A resumed campaign does not use a dropped file again.
        what, resume, _ = exit_codes.cure(lost["why"]).partition(", then resume")
        lost["cure"] = f"{what}; a new campaign uses it again" if resume else what
    record = read_record(folder)
    facts |= picture(facts)
    if facts["rows"] or claimed.kind in table.ENDS:
        facts["page"] = published_page(record)
    steps = next_steps(
        claimed.kind,
        command=record["command"],
        name=facts["campaign"],
        constants=facts.get("constants"),
        start=record["constants"]["source"],
    )
    if claimed.kind == "held":
        held = ((one["node"], one["job"], one["reason"] or "") for one in facts["held"])
        # DAGMan was submitted to the pool of its own environment.
        steps = release_held(record, held, facts["dag_id"], os.environ.get("CONDOR_CONFIG", "")) or steps
    return facts | {"steps": steps}


def _add_logs(folder: str, failed: list[Entry]) -> None:
    """Add the end of the job's own log to the first node of each kind of failure."""
    first: dict[str, Entry] = {}
    for row in failed:
        first.setdefault(normalise_reason(row["why"]), row)
    for row in list(first.values())[:LOGS_MAX]:
        end = log_end(folder, row["node"], row["why"])
        row |= {"log": list(end.lines), "error": end.error}


def picture(facts: Facts) -> Facts:
    """Return the plot that the last Millepede job drew, or why there is none; neither for iterations of older programs."""
    if facts.get("no_plot") or not facts.get("plot"):
        return {}
    try:
        with open(facts["plot"], "rb") as file:
            picture = file.read(PICTURE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        return {"no_plot": f"{facts['plot']} cannot be read: {problem.strerror}"}
    if not picture.startswith(_PNG) or len(picture) > PICTURE_BYTES_MAX:
        return {"no_plot": f"{facts['plot']} is no picture that the Millepede job drew"}
    return {"picture": picture}


def published_page(record: Manifest) -> str:
    """Return the address of the campaign's published page, or its file if the address is unknown; empty without one."""
    report = record["config"].get("report", {})
    name = f"{record['name']}.html"
    if not report.get("publish"):
        return ""
    return f"{report['url'].rstrip('/')}/{quote(name)}" if report.get("url") else f"{report['publish']}/{name}"
