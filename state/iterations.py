"""Compare the decisions, metrics and constants of a state database with the files of each iteration."""

import copy
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_submitted
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.fsm.metrics import Metrics
from faser_align.state import judging

Findings = Iterator[str]
AS_TOLD = "as DAGMan was told"  # beginning of a decision's reason that ``repair`` took from DAGMan's logs


def findings(db: sqlite3.Connection, folder: str) -> Findings:
    """Yield differences between ``db`` and the files of the campaign in ``folder``."""
    yield from _metrics(db, folder)
    yield from _constants(db, folder)


def _metrics(db: sqlite3.Connection, folder: str) -> Findings:
    """Check that decisions follow from the metrics on disk, except where a Millepede node runs again."""
    try:
        submitted = read_submitted(folder)
        changed = changes.read(folder)
    except (CampaignError, UserError) as problem:
        yield str(problem)
        return
    missing: dict[str, str] = {}  # the first decision that each unreadable file concerns
    for stage, iteration, verdict, reason, text in db.execute(
        "SELECT i.stage, i.iteration, i.verdict, i.reason, i.metrics FROM iterations AS i JOIN nodes AS n "
        "ON n.stage = i.stage AND n.iteration = i.iteration AND n.kind NOT IN ('reco') "
        "WHERE i.ended_utc != '' AND n.state = 'done' ORDER BY i.stage, i.iteration"
    ):
        of = f"iteration {iteration} of stage {stage}" if stage != layout.VALIDATION else "the validation"
        try:
            history = judging.read_metrics(folder, stage, iteration)
        except OSError as problem:
            missing.setdefault(_unreadable(problem), of)  # a decision needs the metrics of all iterations before it
            continue
        except ValueError as problem:
            yield f"the metrics of {of} cannot be read: {problem}"
            continue
        known = json.loads(text)
        if known != history[-1]:
            keys = [key for key in sorted({*known, *history[-1]}) if known.get(key) != history[-1].get(key)]
            path = layout.metrics_file(folder, stage, iteration)
            yield f"the metrics of {of} are not those in {path}: {', '.join(keys)}"
        elif "imported" not in submitted and not reason.startswith(AS_TOLD):
            allowed = _allowed(submitted, changed, stage, history)
            if verdict not in allowed:
                yield f"the decision on {of} is {verdict}; its metrics say {' or '.join(sorted(allowed))}"
    for sentence, of in missing.items():
        yield f"the decision on {of} cannot be checked: {sentence}"


def _allowed(submitted: Manifest, changed: list[changes.Change], stage: int, history: list[Metrics]) -> set[str]:
    """Return the decisions on the metrics with the limits at submission, and after each change."""
    names = set()
    for number in range(len(changed) + 1):
        record = changes.apply(copy.deepcopy(submitted), changed[:number])
        names.add(judging.decide(record, stage, history)[0].name)
    return names


def _constants(db: sqlite3.Connection, folder: str) -> Findings:
    """Check that the constants of each iteration are on disk unchanged, and follow from those before.

    Those of the validation are copies, which an extension replaces.
    """
    handed: str | None = None
    for stage, iteration, text in db.execute(
        "SELECT stage, iteration, metrics FROM iterations WHERE ended_utc != '' AND stage != ? ORDER BY stage, iteration",
        (layout.VALIDATION,),
    ):
        known = json.loads(text).get("constants")
        if not known:  # of an older program
            handed = None
            continue
        of = f"iteration {iteration} of stage {stage}"
        start, result = known["start_sha256"], known["result_sha256"]
        if handed not in (None, start) and not known["changed_by_hand"]:
            yield f"{of} did not start from what the iteration before it found, and nobody changed that by hand"
        yield from _file(layout.constants_file(folder, stage, iteration), start, f"what {of} started from")
        if result:
            yield from _file(layout.result_file(folder, stage, iteration), result, f"what {of} found")
        handed = result


def _file(path: str, expected: str, what: str) -> Findings:
    try:
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
    except OSError as problem:
        yield _unreadable(problem)
        return
    if found != expected:
        yield f"{path} is not {what}: its checksum differs"


def _unreadable(problem: OSError) -> str:
    path = problem.filename
    return f"{path} cannot be read: {problem.strerror}" if os.path.lexists(path) else f"{path} is gone"
