"""Turn an event's payload into the view of its message: all choices of words.

Templates only arrange the view, so that text, HTML and Markdown have the same content.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from faser_align.campaign.layout import raw_name
from faser_align.campaign.message_facts import Entry, Facts, Row
from faser_align.campaign.next_steps import Step
from faser_align.fsm.plural import first_of
from faser_align.fsm.reasons import normalise_reason
from faser_align.notifiers.formats import LINE_MAX, above_zero, count, cut, duration, line, printable, size, with_unit
from faser_align.notifiers.view import Change, Item, Limits, Listing, Table, View, Words
from faser_align.system.formatting import NONE, number, shift, significant, symbols, value

Listed = TypeVar("Listed")

ROWS_MAX = 12  # iterations in the table
NAMED_MAX = 3  # nodes named if several have the same problem
ALIKE = " (reason of the first; the others are similar)"
_PATH_MAX = 500
_SENTENCE_MAX = 1000  # characters of the quality sentence
_NOTES_MAX = 4
_WEAK_UM_MIN = 0.05  # moves along a weak mode below this would be shown as 0.0
_LIGHTS = {"success": "\N{LARGE GREEN CIRCLE}", "warning": "\N{LARGE ORANGE CIRCLE}", "failure": "\N{LARGE RED CIRCLE}"}
_LIGHT = "\N{LARGE BLUE CIRCLE}"


def names(facts: Facts) -> dict[str, Any]:
    """Return the variables of an event's template; ``count`` is the number of jobs held or files dropped."""
    event, (at, after) = line(facts.get("event")) or "test", _at_and_after(facts)
    many = len(_entries(facts.get("files_lost") if event == "lost" else facts.get("held")))
    return {
        "campaign": line(facts.get("campaign")) or "campaign",
        "event": event,
        "state": line(facts.get("state")) or event,
        "reason": line(facts.get("reason")),
        "at": at,
        "after": after,
        "count": count(facts.get("count")) or max(1, many),
    }


def view(facts: Facts, limits: Limits, words: Words) -> View:
    """Return a message's data of an event; missing fields of the payload are omitted."""
    known, steps = names(facts), _steps(facts)
    reason = line(facts.get("reason"), limits.sentence).rstrip(".").removeprefix("the DAG ended: ")
    rows = _entries(facts.get("rows"))
    urgent = _listings(limits, (("Failed", facts.get("failed")), ("Held", facts.get("held"))))
    losses = _listings(limits, (("Dropped files", facts.get("files_lost")),))
    if any(item.why.removesuffix(ALIKE) in reason for listing in (*urgent, *losses) for item in listing.items):
        reason = ""  # the list shows it with the node
    return View(
        campaign=known["campaign"],
        headline=(line(words.subject) or known["campaign"]) + _of_stage(facts),
        state=known["state"],
        tone=words.tone,
        quality=symbols(line(_mapping(facts.get("quality")).get("sentence"), _SENTENCE_MAX)),
        grades=_grades(facts),
        sentence=f"{line(words.meaning)}: {symbols(reason)}." if reason else f"{line(words.meaning)}.",
        progress=_progress(facts),
        changes=_changes(rows),
        validation=_validation(facts.get("validation")),
        table=_table(rows, count(facts.get("stages")) > 1),
        urgent=urgent,
        losses=losses,
        weak=_weak(facts, limits),
        details=_details(facts),
        page=line(facts.get("page"), _PATH_MAX),
        steps=steps,
        next=next((step.command for step in steps if step.command), ""),
        footer=" · ".join(part for part in (line(facts.get("key")), line(facts.get("utc"))) if part),
        parts=words.parts,
        light=_LIGHTS.get(words.tone, _LIGHT),
    )


def _steps(facts: Facts) -> tuple[Step, ...]:
    """Return what to do: at most one command is the next one. None is cut, so that it can be pasted.

    Its output names the commands that follow it.
    """
    listed = facts.get("steps")
    steps = [
        Step(line(words), " ".join(printable(command).split("\n")))
        for words, command in (listed if isinstance(listed, list | tuple) else ())
    ]
    first = next((at for at, step in enumerate(steps) if step.words.startswith("next")), len(steps))
    return tuple(step for at, step in enumerate(steps) if at <= first or not step.command)


def _entries(listed: Sequence[Listed] | None) -> list[Listed]:
    tables: list[Any] = listed if isinstance(listed, list) else list(listed) if isinstance(listed, tuple) else []
    return list(filter(lambda entry: isinstance(entry, Mapping), tables))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at_and_after(facts: Facts) -> tuple[str, str]:
    """Return ``in iteration 3 of 10`` and ``after 3 of 10 iterations``; both empty before the first."""
    done, allowed = count(facts.get("iteration")), count(facts.get("iterations"))
    if not done:
        return "", ""
    of = f" of {allowed}" if allowed else ""
    return f"in iteration {done}{of}", f"after {done}{of} iteration{'s' * ((allowed or done) > 1)}"


def _of_stage(facts: Facts) -> str:
    stage, stages = count(facts.get("stage")), count(facts.get("stages"))
    return f" (stage {stage} of {stages})" if stage and stages > 1 else ""


def _progress(facts: Facts) -> str:
    text = _at_and_after(facts)[0].removeprefix("in ")
    return text + _of_stage(facts) if text else ""


def _changes(rows: Sequence[Row]) -> tuple[Change, ...]:
    if not rows:
        return ()
    two = (rows[-1], rows[-2] if len(rows) > 1 else Row())
    shown = {
        "χ²/ndf": [number(row.get("chi2_per_ndf"), ".3f") for row in two],
        "Expected residual shift": [with_unit(shift(row.get("effect_um")), "µm") for row in two],
        "Expected Δχ² per parameter": [value(row.get("significance")) for row in two],
        "Largest correction": [_largest(row.get("largest")) for row in two],
    }
    return tuple(
        Change(label, now, "" if before == NONE else before) for label, (now, before) in shown.items() if now != NONE
    )


def _validation(groups: object) -> Table:
    """Return the table of the validation, as `status` shows it; without rows if there was none."""
    rows = [
        (
            label,
            number(_mapping(group.get("after")).get("tracks"), ","),
            *(number(_mapping(group.get(when)).get("chi2_per_ndf"), ".3f") for when in ("before", "after")),
        )
        for name, label in (("all", "all files"), ("unused", "files not used"))
        if isinstance(group := _mapping(groups).get(name), Mapping)
    ]
    note = "Before: with the campaign's first constants; after: with its last ones."
    return Table(("files", "tracks", "χ²/ndf before", "χ²/ndf after"), tuple(rows), note)


def _grades(facts: Facts) -> tuple[Listing, ...]:
    """Return the lines of the quality block that are not good, the bad ones first."""
    lines = _entries(_mapping(facts.get("quality")).get("lines"))
    doubtful = [(grade, of) for grade in ("bad", "look") for of in lines if of.get("grade") == grade]
    items = tuple(
        Item(
            f"{line(of.get('title'), 80)} ({grade})",
            symbols(line(of.get("text"), _PATH_MAX)),
            symbols(line(of.get("advice"), _PATH_MAX)),
        )
        for grade, of in doubtful
    )
    return (Listing("Quality, not good", items, len(items), literal=False),) if items else ()


def _largest(value: object) -> str:
    if not isinstance(value, Mapping):
        return NONE
    error, unit = above_zero(value.get("error")), symbols(line(value.get("unit"), 12))
    known = error and number(value.get("value")) != NONE
    shown = significant(value["value"], error, unit) if known else with_unit(size(value.get("value"), ".1f"), unit)
    place = " ".join(part for part in (line(value.get("dof"), 24), line(value.get("where"), 24)) if part)
    return f"{shown} of {place}" if place else shown


def _table(rows: Sequence[Row], staged: bool) -> Table:
    columns = ("iteration", "files", "tracks", "χ²/ndf", "residual shift [µm]", "largest correction")
    hidden = max(0, len(rows) - ROWS_MAX)
    before = "iteration before these is" if hidden == 1 else "iterations before these are"
    note = f"The {hidden:,} {before} not shown." if hidden else ""
    return Table(columns, tuple(_row(row, staged) for row in rows[hidden:]), note, words=len(columns) - 1)


def _row(row: Row, staged: bool) -> tuple[str, ...]:
    iteration = number(row.get("iteration"), "d") if count(row.get("iteration")) else NONE
    used, expected = (number(row.get(key), ",") for key in ("files_used", "files_expected"))
    return (
        f"{line(row.get('stage'), 6)}.{iteration}" if staged else iteration,
        used if expected == NONE else f"{used}/{expected}",
        number(row.get("tracks"), ","),
        number(row.get("chi2_per_ndf"), ".3f"),
        shift(row.get("effect_um")),
        _largest(row.get("largest")),
    )


def _listings(limits: Limits, wanted: Sequence[tuple[str, Sequence[Entry] | None]]) -> tuple[Listing, ...]:
    listings = []
    for title, listed in wanted:
        if entries := _entries(listed):
            groups = _grouped(entries, limits)[: limits.items]
            listings.append(Listing(title, tuple(_item(group, limits) for group in groups), len(entries)))
    return tuple(listings)


def _weak(facts: Facts, limits: Limits) -> tuple[Listing, ...]:
    """Return the poorly determined directions along which the last correction moved, largest move first."""
    moved = [
        (mode, move)
        for mode in _entries(facts.get("weak"))
        if (move := above_zero(mode.get("moved_um"))) >= _WEAK_UM_MIN
    ]
    moved.sort(key=lambda one: -one[1])
    shown = []
    for mode, move in moved[: limits.items]:
        error = above_zero(mode.get("error_um"))
        known = f"with an error of {error:.3g} µm" if error else "not determined by the data"
        shown.append(Item(line(mode.get("name"), 80) or "unnamed", f"moved by {move:.3g} µm, {known}"))
    return (
        (Listing("Poorly determined directions that moved", tuple(shown), len(moved), literal=False),) if shown else ()
    )


def _grouped(entries: Sequence[Entry], limits: Limits) -> list[list[Entry]]:
    """Group entries with the same problem, also on other hosts and files: thousands may have failed."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(normalise_reason(_why(entry, limits)), []).append(entry)
    return list(groups.values())


def _why(entry: Entry, limits: Limits) -> str:
    return line(entry.get("why") or entry.get("reason"), limits.sentence).rstrip(".")


def _names(group: Sequence[Entry]) -> str:
    """Return names separated by commas; of many the first ones, and the number of others."""
    named = [_name(entry) for entry in group]
    if len(named) > NAMED_MAX:
        return first_of(named, NAMED_MAX)
    return " and ".join(part for part in (", ".join(named[:-1]), named[-1]) if part)


def _name(entry: Entry) -> str:
    node = line(entry.get("node"), 80)
    raw = entry.get("file")
    file = "" if raw is None else f"file {raw_name(raw) if isinstance(raw, int) else line(raw, 12)}"
    job = line(entry.get("job"), 24)
    if node and job:
        return f"{node} (job {job})"
    return f"{file} ({node})" if file and node else file or node or "unknown node"


def _item(group: Sequence[Entry], limits: Limits) -> Item:
    """Return one item for entries with the same problem, with the first one's fix and log."""
    entry = group[0]
    log = entry.get("log")
    lines = log.splitlines() if isinstance(log, str) else log if isinstance(log, list | tuple) else ()
    why = _why(entry, limits)
    others = "" if all(_why(other, limits) == why for other in group) else ALIKE
    if len(lines) == 1 and line(lines[0], limits.sentence).rstrip(".") in why:
        lines = ()  # the reason is the only line of the log
    shown = tuple(cut(printable(each).rstrip(), LINE_MAX) for each in lines[-limits.log_lines :] if limits.log_lines)
    error = cut(printable(entry.get("error")).rstrip(), LINE_MAX)
    hidden = f"{len(group) - 1:,} logs are" if len(group) > 2 else "log is"
    return Item(
        name=_names(group),
        why=f"{why or 'no reason known'}{others}",
        cure=line(entry.get("cure"), limits.sentence),
        log=shown,
        count=len(group),
        error="" if error in shown else error,
        logged=f"End of the log of {_name(entry)}; the other {hidden} not shown" if shown and len(group) > 1 else "",
    )


def _details(facts: Facts) -> tuple[tuple[str, str], ...]:
    notes = facts.get("notes")
    known = [line(note, _PATH_MAX) for note in notes if note] if isinstance(notes, list | tuple) else []
    details = (
        *(("Note", symbols(note)) for note in known[:_NOTES_MAX]),
        ("Notes", f"and {len(known) - _NOTES_MAX:,} more, which status shows" if len(known) > _NOTES_MAX else ""),
        ("Solver", symbols(line(facts.get("solver"), _PATH_MAX))),
        ("Wall time", duration(facts.get("wall_s"))),
        ("CPU time", duration(facts.get("cpu_s"))),
        ("Saved", _saved(_mapping(facts.get("saved")))),
        (
            "Rejected constants" if facts.get("event") == "rejected" else "Constants",
            line(facts.get("constants"), _PATH_MAX),
        ),
        ("Folder", line(facts.get("folder"), _PATH_MAX)),
        ("Plot", _plot(facts)),
    )
    return tuple((label, value) for label, value in details if value)


def _saved(value: Mapping[str, Any]) -> str:
    """Estimate the cost of the iterations that were not needed, at the mean cost of those that ran."""
    if not (left := count(value.get("iterations"))):
        return ""
    costs = [
        f"{time} of {what}"
        for key, what in (("wall_s", "wall time"), ("cpu_s", "CPU time"))
        if above_zero(value.get(key)) and (time := duration(value.get(key)))
    ]
    not_run = (
        f"{left:,} of the {count(value.get('allowed')):,} allowed iterations {'were' if left > 1 else 'was'} not needed"
    )
    return f"{not_run}: about {' and '.join(costs)} (an estimate by the mean of those that ran)" if costs else not_run


def _plot(facts: Facts) -> str:
    if facts.get("picture"):
        return f"{line(facts.get('plot'), _PATH_MAX)} (shown in e-mails)".lstrip()
    why = line(facts.get("no_plot"), _PATH_MAX)
    return f"none: {why}" if why else ""
