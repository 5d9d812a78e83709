"""How an event changes the store: the transaction's inside, for every event of a node.

An event is a dictionary of strings and numbers (it may have waited in the spool as JSON): ``phase`` pre,
post, hold, final or control, ``dag_id``, ``node``, ``utc``, ``host``, and what the phase adds. Taking an
event in twice changes nothing and gives the same answer. Hot: standard library only, SQLite's JSON
functions instead of json; what moves a campaign as a whole is in ``state.advance``, imported when needed.
"""

import _sqlite3 as sqlite3

from faser_align.campaign import layout
from faser_align.fsm import exit_codes, table
from faser_align.state import history
from faser_align.state.history import Campaign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from faser_align.state.history import Event


def apply(db: sqlite3.Connection, event: "Event") -> int:
    """Take ``event`` in and return the exit status that answers it.

    Raises:
        sqlite3.Error: the transaction must be rolled back.
        KeyError, ValueError: it is not an event of ours.
    """
    campaign = Campaign(db, event)
    phase = event["phase"]
    if phase == "control":
        return int(_advance().control(campaign))
    if campaign.dag_id != event["dag_id"]:
        _advance().new_dagman(campaign)
    if phase == "pre":
        return _pre(campaign)
    if phase == "post":
        return _post(campaign)
    if phase == "hold":
        return _hold(campaign)
    if phase == "final":
        return int(_advance().final(campaign))
    raise ValueError(f"{phase!r} is no phase of an event")


def _advance() -> "ModuleType":
    """The module that moves campaigns; it needs a library, which hooks start without."""
    from faser_align.system.libraries import site_packages

    site_packages()
    from faser_align.state import advance

    return advance


def _pre(campaign: Campaign) -> int:
    """The first, a repeated or the next attempt of a node begins, or the node is passed over."""
    db, event = campaign.db, campaign.event
    node = event["node"]
    kind, stage, iteration, file, state, attempts = _node(db, node)
    latest = _latest(db, node)
    if latest and latest[1] == event["dag_id"] and not latest[2]:
        return 0  # open: this script is a repeat of the one that opened it
    if _is_over(campaign, stage, file):
        if state not in ("done", "skipped", "lost"):
            _abandon(campaign, node, latest)
            history.node_event(campaign, node, state, "passed_over", attempts, "json_object()", ())
        return exit_codes.SKIP
    _open(campaign, node, state, attempts + 1, latest)
    if campaign.state in ("failed", "removed"):
        _advance().goes_on(campaign)
    if stage == layout.VALIDATION:
        if campaign.state == "submitted":
            history.campaign_event(campaign, "validation_asked", campaign.stage, campaign.iteration)
    elif kind == "mille":
        history.campaign_event(campaign, "solving_started", stage, iteration)
    elif campaign.state not in ("reconstructing", "solving") or (campaign.stage, campaign.iteration) != (
        stage,
        iteration,
    ):
        history.campaign_event(campaign, "reconstruction_started", stage, iteration)
    return 0


def _post(campaign: Campaign) -> int:
    """An attempt ends: the node succeeded, failed, or its file is lost for good."""
    db, event = campaign.db, campaign.event
    node, job_id = event["node"], event["job_id"]
    kind, stage, iteration, file, state, attempts = _node(db, node)
    latest = _latest(db, node)
    answered = _answered(db, event)
    if answered is not None:
        return answered  # also where the node has gone on since: a script that slept comes late
    if latest is None or latest[1] != event["dag_id"] or latest[2]:
        if _is_over(campaign, stage, file):
            return 0  # it was passed over, and had a job all the same (hooks.skip_guard)
        # Its PRE could not be recorded at all; the attempt is known from its end alone.
        attempts += 1
        state = _open(campaign, node, state, attempts, latest)
    answer, outcome, reason = event["exit"], event["outcome"], event["reason"]
    if outcome == "failed" and kind == "reco" and _affordable(campaign, file):
        answer, outcome = 0, "lost"
    db.execute(
        "UPDATE attempts SET closed_utc = ?, job_id = ?, outcome = ?, return_value = ?, exit_status = ? "
        "WHERE node = ? AND attempt = ?",
        (event["utc"], job_id, outcome, event["ret"], answer, node, attempts),
    )
    facts = (event["ret"], reason)
    row = history.node_event(campaign, node, state, outcome, attempts, "json_object('return', ?, 'reason', ?)", facts)
    db.execute("UPDATE nodes SET reason = ? WHERE node = ?", (reason, node))
    if outcome == "lost":
        db.execute("UPDATE campaign SET lost = (SELECT count(DISTINCT file) FROM nodes WHERE state = 'lost')")
        history.enqueue(campaign, row, "lost")
    if kind != "reco" and "verdict" in event:
        answer = _advance().verdict(campaign, stage, iteration, attempts)
    elif kind == "mille" and event["ret"] in exit_codes.CAMPAIGN_EVENTS:
        _advance().unsolved(campaign, stage, iteration, attempts)
    _took(campaign, node, attempts, "post", job_id, "", answer)
    return int(answer)


def _answered(db: sqlite3.Connection, event: "Event") -> int | None:
    """What POST of this job was answered, if it was taken in already.

    A job that could not be submitted has no id of its own: its POST is known while no other attempt has begun.
    """
    job_id = event["job_id"]
    known = db.execute(
        "SELECT exit_status FROM events WHERE dag_id = ? AND node = ? AND phase = 'post' AND job_id = ? "
        "AND (? OR attempt = (SELECT max(attempt) FROM attempts WHERE node = events.node))",
        (event["dag_id"], event["node"], job_id, "1" <= job_id[:1] <= "9"),
    ).fetchone()
    return None if known is None else int(known[0])


def _open(campaign: Campaign, node: str, state: str, attempt: int, latest: "tuple[int, str, str, str] | None") -> str:
    """Open an attempt, and abandon one that an earlier DAGMan left open; returns the node's new state."""
    db, event = campaign.db, campaign.event
    _abandon(campaign, node, latest)
    db.execute(
        "INSERT INTO attempts VALUES (?, ?, ?, ?, '', '', '', NULL, NULL, ?)",
        (node, attempt, event["dag_id"], event["utc"], event["host"]),
    )
    history.node_event(campaign, node, state, "started", attempt, "json_object('retry', ?)", (event["retry"],))
    db.execute("UPDATE nodes SET attempts = ?, reason = '' WHERE node = ?", (attempt, node))
    return table.node_after(state, "started") or state


def _abandon(campaign: Campaign, node: str, latest: "tuple[int, str, str, str] | None") -> None:
    if latest and not latest[2]:
        campaign.db.execute(
            "UPDATE attempts SET closed_utc = ?, outcome = 'abandoned' WHERE node = ? AND attempt = ?",
            (campaign.event["utc"], node, latest[0]),
        )


def _hold(campaign: Campaign) -> int:
    """A job went on hold, which is told; one that comes after its attempt's end changes nothing else.

    DAGMan starts HOLD and POST of a job at the same moment if it was released and has ended by the time DAGMan looks.
    """
    db, event = campaign.db, campaign.event
    node, job_id, hold_time = event["node"], event["job_id"], event["hold_time"]
    state, attempts = _node(db, node)[4:]
    latest = _latest(db, node)
    attempt = latest[0] if latest else 0
    if db.execute(
        "SELECT 1 FROM events WHERE dag_id = ? AND node = ? AND phase = 'hold' AND job_id = ? AND hold_time = ?",
        (event["dag_id"], node, job_id, hold_time),
    ).fetchone():
        return 0
    # An attempt that an earlier DAGMan left open was closed when this one began another, without a job's id.
    late = db.execute(
        "SELECT attempt FROM attempts WHERE node = ? AND closed_utc != '' "
        "AND (job_id = ? OR (dag_id = ? AND dag_id != ?)) ORDER BY attempt DESC LIMIT 1",
        (node, job_id, event["dag_id"], campaign.dag_id),
    ).fetchone()
    facts = "json_object('reason', ?, 'held_at', ?)", (event["reason"], hold_time)
    if late:
        ignored = f"attempt {late[0]}, whose job this was, is over"
        where = (*layout.parse_node(node)[1:3], node, late[0])
        row = history.write(campaign, node, (state, "held", state, ignored), where, *facts)
    else:
        row = history.node_event(campaign, node, state, "held", attempts, *facts)
        if table.node_after(state, "held"):
            db.execute("UPDATE nodes SET reason = ? WHERE node = ?", (event["reason"], node))
    history.enqueue(campaign, row, "held")
    _took(campaign, node, attempt, "hold", job_id, hold_time, 0)
    return 0


def _node(db: sqlite3.Connection, node: str) -> "tuple[str, int, int, int, str, int]":
    row = db.execute(
        "SELECT kind, stage, iteration, file, state, attempts FROM nodes WHERE node = ?", (node,)
    ).fetchone()
    if row is None:
        raise ValueError(f"{node!r} is not a node of this campaign")
    found: tuple[str, int, int, int, str, int] = row
    return found


def _latest(db: sqlite3.Connection, node: str) -> "tuple[int, str, str, str] | None":
    """The node's latest attempt: (attempt, dag_id, closed_utc, job_id)."""
    found: tuple[int, str, str, str] | None = db.execute(
        "SELECT attempt, dag_id, closed_utc, job_id FROM attempts WHERE node = ? ORDER BY attempt DESC LIMIT 1", (node,)
    ).fetchone()
    return found


def _is_over(campaign: Campaign, stage: int, file: int) -> bool:
    """Whether a node has nothing to do: its file is lost, its stage has ended, or there is nothing to validate."""
    if campaign.lost and _lost(campaign.db, file):
        return True
    if stage == layout.VALIDATION:
        return not _validating(campaign)
    return stage <= campaign.stages_done  # and not because it was passed over once: its stage may have been extended


def _validating(campaign: Campaign) -> bool:
    """Whether the last stage has converged, and the campaign has not ended after that."""
    if campaign.state not in ("validating", "submitted"):
        return False
    found = campaign.db.execute(
        "SELECT 1 FROM iterations WHERE stage = ? AND verdict = 'converged' LIMIT 1", (campaign.stages,)
    ).fetchone()
    return bool(found)


def _lost(db: sqlite3.Connection, file: int) -> bool:
    return bool(db.execute("SELECT 1 FROM nodes WHERE file = ? AND state = 'lost' LIMIT 1", (file,)).fetchone())


def _affordable(campaign: Campaign, file: int) -> bool:
    """Whether a failed file may be given up: its attempts are used up, and the quorum still holds or has counted it."""
    event = campaign.event
    last = event["fatal"] or event["retry"] >= event["max_retries"]
    return bool(last and (campaign.lost < campaign.lost_max or _lost(campaign.db, file)))


def _took(campaign: Campaign, node: str, attempt: int, phase: str, job_id: str, hold_time: str, answer: int) -> None:
    campaign.db.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
        (campaign.event["dag_id"], node, attempt, phase, job_id, hold_time, answer),
    )
