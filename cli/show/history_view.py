"""Describe the history, event by event with its payload. Pure: no terminal, no clock."""

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from faser_align.cli.show.draw import Block, Line
from faser_align.fsm import exit_codes, table
from faser_align.fsm.rules import NAMES
from faser_align.system import formatting

Row = Mapping[str, Any]

EVENTS_MAX = 1000  # shown unless all are requested
INDENT = " " * 10
# Fields of the payload that other parts of the line contain already.
SILENT = ("reason", "retry", "return", "verdict", "dag_status", "failed_nodes", "dagman")
# Events of nodes whose resulting state says the same.
_SAME = (("started", "running"), ("succeeded", "done"), ("passed_over", "skipped"))
# Ends that a decision causes by failing its node, including a stage that must not continue at its limit.
_STOPS_DAG = ("rejected", "exhausted", "diverged", "stalled", "starved")
_ENDS_BADLY = frozenset(table.ENDS) - set(table.SUCCESSES)


def lines(rows: Sequence[Row], where: tzinfo | None = None) -> list[Block]:
    """Return rows of ``queries.history`` in order, each day under its date; ``where`` is the zone, None this machine's."""
    blocks: list[Block] = []
    today = None
    for row in rows:
        when = formatting.moment(row["utc"], where)
        if when is not None and when.date() != today:
            today = when.date()
            blocks += [Line()] if blocks else []
            blocks.append(Line(f"{when:%Y-%m-%d}, times in {when.tzname()}", "bold"))
        blocks += entry(row, where)
    return blocks


def left_out(count: int) -> list[Block]:
    """Return a sentence with the number of hidden events and how to see them; empty if there are none."""
    if not count:
        return []
    what = f"{formatting.count(count, 'event')} of nodes, ordinary or old, are not shown"
    return [Line(f"{what}; --all shows every event, --node NODE those of one node"), Line()]


def entry(row: Row, where: tzinfo | None = None) -> list[Line]:
    """Describe one event: time, campaign or node, from, to and event; below it the payload."""
    when = formatting.moment(row["utc"], where)
    campaign = row["subject"] == "campaign"
    if campaign:
        head = f"campaign  {_change(row)}"
        head += "" if row["event"] == row["destination"] else f"  {_event(row)}"
    else:
        head = f"{row['subject']:<17} {row['attempt'] or '-':>2}  {_change(row):<18}  {_event(row)}"
    head += "  (ignored)" if row["ignored"] and not _expected(row) else ""
    ignored = f"ignored: {row['ignored']}" if row["ignored"] and not _expected(row) else ""
    about = "; ".join(filter(None, (_whence(row) if campaign else "", facts(row), ignored)))
    found = [Line(f"{when:%H:%M:%S}  {head.rstrip()}", _style(row))]
    return [*found, Line(f"{INDENT}{about}")] if about else found


def brief(row: Row, where: tzinfo | None = None) -> Line:
    """Describe one event in one line, for a log that is followed."""
    head, *about = entry(row, where)
    return Line("".join([head.text, *(f": {line.text.strip()}" for line in about)]), head.style)


def _change(row: Row) -> str:
    source, destination = row["source"], row["destination"]
    if not source or source == destination:
        return str(destination)
    return f"{source} -> {destination}"


def _event(row: Row) -> str:
    """Return the event's name, empty if its resulting state says the same."""
    if _expected(row):
        return f"DAGMan ended, as expected after {row['source']}"
    said = row["event"] == row["destination"] or (row["event"], row["destination"]) in _SAME
    return "" if said and row["source"] != row["destination"] else str(row["event"])


def _expected(row: Row) -> bool:
    """Return whether DAGMan failed because a decision ended the campaign, which stops the DAG in this way."""
    return bool(row["ignored"]) and row["event"] == "final_failed" and row["source"] in _STOPS_DAG


def _whence(row: Row) -> str:
    """Return the campaign's previous state, and the node whose event changed it."""
    at = f"iteration {row['iteration']}" if row["iteration"] else ""
    at = f"stage {row['stage']}, {at}" if at and row["stage"] > 1 else at
    attempt = f", attempt {row['attempt']}" if row["attempt"] else ""
    return f"{at} ({row['node']}{attempt})" if at and row["node"] else at


def facts(row: Row) -> str:
    """Describe the payload of an event."""
    known = row["facts"]
    event = row["event"]
    if event == "created":
        return _created(known)
    if event == "delivery_failed":
        names = ", ".join(filter(None, known.get("reached") or []))
        also = f"; has reached {names}" if names else ""
        return f"{known.get('message')} to {known.get('target')}, try {known.get('try')}: {known.get('reason')}{also}"
    if event in _BY_HAND:
        return f"{_BY_HAND[event](known)}, by {known.get('who')} on {row['host']}"
    parts = [str(known.get("reason") or ""), _numbers(known), *map(str, known.get("notes") or [])]
    if known.get("retry"):
        parts.append(f"retry {known['retry']}")
    if known.get("return"):
        failure = exit_codes.DAGMAN_FAILURES.get(known["return"])
        parts.append(failure[0] if failure else f"return value {known['return']}")
    parts += [f"DAGMan job {known['dagman']}"] if known.get("dagman") else []
    others = (
        (key, value)
        for key, value in known.items()
        if key not in (*SILENT, *_NUMBERS, "notes") and value not in ("", None)
    )
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in others]
    return "; ".join(dict.fromkeys(filter(None, parts)))


def _changed(known: Row) -> str:
    before, after = (
        ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else value
        for value in (known.get("before"), known.get("after"))
    )
    return f"{known.get('key')}: {before} -> {after}"


# Requests by a command.
_BY_HAND: dict[str, Callable[[Row], str]] = {
    "changed": _changed,
    "extended": lambda known: (
        f"stage {known.get('stage')} may have {formatting.count(int(known.get('after') or 0), 'iteration')}, {known.get('before')} before"
    ),
    "notify_retried": lambda known: (
        f"{formatting.count(int(known.get('messages') or 0), 'message')} to {known.get('target') or 'all'} once more"
    ),
    "stop_asked": lambda known: (
        "to stop after the iteration" if known.get("after") == "iteration" else "not to stop after the iteration"
    ),
}

# Metrics of a decision, each with its name, format and unit.
_NUMBERS: dict[str, tuple[str, Callable[[object], str], str]] = {
    "chi2_per_ndf": ("chi2/ndf", formatting.chi2, ""),
    "effect_um": (NAMES["residual_shift"], formatting.shift, " um"),
    "significance": (NAMES["delta_chi2_per_parameter"], formatting.size, ""),
}


def _numbers(known: Row) -> str:
    """Return the metrics of a decision that its reason does not mention."""
    return ", ".join(
        f"{name} {form(known[key])}{unit}"
        for key, (name, form, unit) in _NUMBERS.items()
        if known.get(key) is not None and name not in str(known.get("reason", ""))
    )


def _created(known: Row) -> str:
    stages = known.get("stages") or []
    at_most = " + ".join(str(n) for n in stages)
    iterations = "iteration" if at_most == "1" else "iterations"
    forked = f", forked from {formatting.origin(known['parent'])}" if known.get("parent") else ""
    return f"{formatting.count(known.get('files', 0), 'file')}, at most {at_most} {iterations}{forked}"


def _style(row: Row) -> str:
    """Return the colour of a row; ``history`` shows the campaign's own events in bold among those of nodes."""
    if row["ignored"]:
        return "dim"
    if row["subject"] == "campaign":
        destination = row["destination"]
        return "bold green" if destination in table.SUCCESSES else "bold red" if destination in _ENDS_BADLY else "bold"
    return "yellow" if row["destination"] in ("held", "failed", "lost") else ""
