"""Show the incidents of a campaign: held jobs, failed or slow nodes, pending messages.

Each has its reason and the fix; equal problems of several nodes are shown once.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from faser_align.alignment.quality.notes import changed_by_hand
from faser_align.campaign.layout import raw_name
from faser_align.campaign.next_steps import Step
from faser_align.cli.show import draw
from faser_align.cli.show.draw import Block, Line
from faser_align.fsm import table
from faser_align.fsm.reasons import normalise_reason
from faser_align.system import formatting

Row = Mapping[str, Any]

ITEMS_MAX = 6  # per list, unless there is no room for as many
SLOW_MAX = 3  # slow nodes: their lines say the same


def blocks(seen: Row, program: str = "faser-align", most: int = ITEMS_MAX) -> list[Block]:
    """Return the incidents of a campaign, at most ``most`` items per list and the number of others; 0: only numbers."""
    found: list[Block] = []
    found += _listing("on hold", "job", _held(seen), draw.DOUBT, count=len(seen["held"]), most=most)
    found += release(seen, "  ")
    found += _vanished(seen, program, most)
    found += _disconnected(seen, most)
    found += _listing("failed", "node", _failures(seen["failed"]), draw.BAD, count=len(seen["failed"]), most=most)
    lost = [
        (f"file {raw_name(item['file'])} ({item['node']}): {item['why'] or 'no reason known'}",)
        for item in seen["lost"]
    ]
    found += _listing("dropped", "file", lost, draw.DOUBT, most=most)
    retried = seen.get("retried", ())
    found += _listing("retried", "node", _again(retried), draw.DOUBT, count=len(retried), most=most)
    found += _slow(seen, most)
    judged = [*seen["iterations"], seen.get("validation", {})]
    by_hand = (changed_by_hand(row.get("metrics", {})) for row in judged)
    found += [_marked(sentence, draw.DOUBT) for sentence in by_hand if sentence]
    unsent = seen["undelivered"]
    found += _listing(
        "not delivered", "message", _messages(unsent), draw.DOUBT, count=len(unsent), more="other target", most=most
    )
    if unsent:
        again = f"{program} notify retry {shlex.quote(seen['name'])}"
        found.append(Line(f"  try the targets with `{program} notify test`, then `{again}`"))
    if seen["spool_waiting"] and not seen["pending"]:
        waiting = formatting.count(seen["spool_waiting"], "event")
        found.append(_marked(f"{waiting} in the fallback event queue until the next script", draw.DOUBT))
    if seen["spool_aside"]:
        aside = formatting.count(seen["spool_aside"], "event")
        told = f"{aside} of the fallback event queue could not be read: see {seen['folder']}/spool/aside"
        found.append(_marked(told, draw.DOUBT))
    return found


def _listing(
    what: str,
    noun: str,
    items: Sequence[Iterable[str]],
    mark: draw.Mark,
    *,
    count: int | None = None,
    more: str = "other reason",
    most: int = ITEMS_MAX,
) -> list[Block]:
    """Return a list, cut if it is long, with its full length first (``count`` if items stand for several)."""
    if not items:
        return []
    blocks: list[Block] = [_marked(f"{formatting.count(len(items) if count is None else count, noun)} {what}", mark)]
    blocks += [Line(f"  {text}") for item in items[:most] for text in item if text]
    if len(items) > most > 0:
        hidden = len(items) - most
        rest = f"{hidden:,} more" if count is None else formatting.count(hidden, more)
        blocks.append(Line(f"  and {rest}"))
    return blocks


def _marked(text: str, mark: draw.Mark) -> Line:
    return Line(text, mark.style, symbol=mark.symbol)


def _held(seen: Row) -> list[tuple[str, ...]]:
    """Return held jobs, grouped by equal or similar reasons."""
    groups = _grouped(seen["held"], lambda item: normalise_reason(item["why"]))
    return [(f"{_and_others(items, 'job')}: {items[0]['why'] or 'no reason known'}",) for items in groups]


def _grouped(items: Iterable[Row], kind: Callable[[Row], object]) -> list[list[Row]]:
    """Return items of the same kind together, in order of the first of each."""
    groups: dict[object, list[Row]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return list(groups.values())


def _and_others(items: Sequence[Row], noun: str) -> str:
    """Return the first one's node, and how many others have the same problem or a similar one."""
    first, others = items[0], len(items) - 1
    if not others:
        return str(first["node"])
    if all(item["why"] == first["why"] for item in items):
        return f"{first['node']} and {formatting.count(others, f'other {noun}')}"
    return f"{first['node']} and {formatting.count(others, 'other')} like it"


def release(seen: Row, indent: str = "") -> list[Block]:
    """Return the commands that let held jobs continue, one per line."""
    return typed((Step(**step) for step in seen.get("release", ())), indent)


def typed(steps: Iterable[Step], indent: str = "") -> list[Block]:
    """Return commands to type, one per line, each below its words."""
    shown: list[Block] = []
    for step in steps:
        shown.append(Line(f"{indent}{step.words}:" if step.command else f"{indent}{step.words}"))
        shown += [Line(f"{indent}  {step.command}", whole=True)] if step.command else []
    return shown


def _vanished(seen: Row, program: str, most: int) -> list[Block]:
    """Return nodes whose job left the queue without DAGMan having seen its end, and the command that reruns them."""
    items = seen.get("vanished", ())
    told = [(f"{item['node']} (job {item['job_id']})",) for item in items]
    found = _listing("vanished from HTCondor's queue: DAGMan waits in vain", "job", told, draw.BAD, most=most)
    if items:
        name = shlex.quote(seen["name"])
        found.append(Line(f"  run the remaining nodes again: {program} stop {name}, then {program} resume {name}"))
    return found


def _disconnected(seen: Row, most: int) -> list[Block]:
    """Return jobs whose machine HTCondor has lost, until when it tries to reconnect, and the command that reruns them."""
    again = "HTCondor runs it again within"
    told = [
        (f"{i['node']} (job {i['job_id']}): {again} {formatting.duration(i['lease_s'])}, or reconnects",)
        for i in seen.get("disconnected", ())
    ]
    return _listing("disconnected from the execute machine", "job", told, draw.DOUBT, most=most)


def _failures(items: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return failed nodes, grouped by equal or similar problems."""
    found: list[tuple[str, ...]] = []
    for group in _grouped(items, lambda item: (normalise_reason(item["why"]), item["attempts"])):
        item = group[0]
        times = f" ({item['attempts']} attempts)" if item["attempts"] > 1 else ""
        fix = f"  fix: {item['cure']}" if item["cure"] else ""
        found.append((f"{_and_others(group, 'node')}{times}: {item['why'] or 'no reason known'}", fix))
    return found


def _again(items: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return nodes that needed another attempt, grouped by equal problems, with their present state."""
    found: list[tuple[str, ...]] = []
    for group in _grouped(items, lambda item: item["why"]):
        now = Counter("in HTCondor" if item["state"] == "running" else item["state"] for item in group)
        states = ", ".join(f"{n:,} {state}" if len(group) > 1 else state for state, n in now.items())
        found.append((f"{_and_others(group, 'node')}: {group[0]['why']}; now {states}",))
    return found


def _slow(seen: Row, most: int) -> list[Block]:
    """Return nodes that run for much longer than others of their kind, and the fix."""
    items = seen.get("slow", ())
    told = [
        f"{i['node']}: for {formatting.duration(i['since_s'])} in HTCondor, where {formatting.duration(i['median_s'])} is usual"
        for i in items
    ]
    blocks = _listing("slow", "node", [(line,) for line in told], draw.DOUBT, most=min(most, SLOW_MAX))
    if items and most:
        cluster, tools = seen["dag_id"].partition(".")[0], seen["to_pool"]
        chosen = f"-constraint 'DAGManJobId == {cluster} && FaserNode == \"{items[0]['node']}\"'"
        look = Step("see where one runs", f"{tools}condor_q -run {chosen}")
        blocks += typed((look, Step("restart it on another machine", f"{tools}condor_vacate_job {chosen}")), "  ")
    return blocks


def _messages(items: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return messages by target: the end's or else the newest one in full, and a count of the others by kind."""
    groups = _grouped(items, lambda item: item["target"])
    for group in groups:
        group.reverse()
    return [_to_target(sorted(group, key=lambda item: item["kind"] not in table.ENDS)) for group in groups]


def _to_target(items: Sequence[Row]) -> tuple[str, ...]:
    first, *others = items
    given_up = ", given up" if first["state"] == "failed" else ""
    tries = f"after {formatting.count(first['tries'], 'try', 'tries')}{given_up}" if first["tries"] else "never tried"
    counts = Counter(item["kind"] for item in others)
    return (
        f"{first['kind']} to {first['target']}, {tries}{': ' if first['error'] else ''}{first['error']}",
        f"  and others: {', '.join(f'{n} {kind}' for kind, n in counts.items())}" if others else "",
    )
