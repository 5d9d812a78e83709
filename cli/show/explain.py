"""Explain decisions on iterations, and failures, as lines and grids. Pure: no terminal, no files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faser_align.cli.show import draw, incidents
from faser_align.cli.show.draw import Block, Grid, Line
from faser_align.fsm.errors import UserError
from faser_align.fsm.plural import first_of
from faser_align.fsm.reasons import normalise_reason
from faser_align.system import formatting

if TYPE_CHECKING:
    from faser_align.operations.checking import Check
    from faser_align.operations.failures import Failure
    from faser_align.state.logends import LogEnd

Row = Mapping[str, Any]

NODES_MAX, TEXTS_MAX, LOGS_MAX = 6, 3, 1  # per kind of failure
WORDS_MIN = 40  # columns of a criterion in words


def verdict_of(seen: Mapping[str, Any], stage: int, iteration: int) -> dict[str, Any]:
    """Return the requested judged iteration; 0 is the latest.

    Raises UserError, which names those that exist, if there is none or it has not been judged.
    """
    judged: list[dict[str, Any]] = [row for row in seen["iterations"] if row["verdict"]]
    if not judged:
        raise UserError(f"no iteration of {seen['name']} has a decision yet; the campaign is {seen['state']}")
    wanted = stage or (judged[-1]["stage"] if not iteration or seen["stages"] == 1 else seen["stage"])
    found = [row for row in judged if row["stage"] == wanted and iteration in (0, row["iteration"])]
    if not found:
        there = ", ".join(_name(row, seen) for row in judged)
        asked = f"iteration {iteration}" if iteration else "an iteration"
        raise UserError(f"{asked} of stage {wanted} has no decision in {seen['name']}; those with one are {there}")
    return found[-1]


def latest(seen: Mapping[str, Any]) -> list[Block]:
    """Explain the latest decision; for a rejected campaign that of the validation first, then that on the iteration."""
    blocks = why(seen, verdict_of(seen, 0, 0))
    return [*why(seen, seen["validation"]), Line(), *blocks] if seen["state"] == "rejected" else blocks


def why(seen: Row, row: Row) -> list[Block]:
    """Explain the decision on an iteration or validation, criterion by criterion, with remarks."""
    place = f"iteration {_name(row, seen)}" if row.get("stage") else "validation"
    blocks: list[Block] = [
        Line(f"{seen['name']}, {place}: {row['verdict'].replace('_', ' ')}", "bold"),
        Line(f"  {row['reason']}"),
        Line(),
    ]
    columns = ("criterion", ">value", ">limit", "met", "in words")
    marks = {(at, 3): draw.GOOD if one["passed"] else draw.BAD for at, one in enumerate(row["criteria"])}
    met, asked = sum(bool(one["passed"]) for one in row["criteria"]), len(row["criteria"])
    rows = [_criterion(criterion) for criterion in row["criteria"]]
    # The words have value and limit.
    blocks.append(Grid(columns, rows, narrow=(0, 3, 4), marks=marks, wrapped=WORDS_MIN))
    if asked:
        blocks += [Line(), Line(f"{met} of {formatting.count(asked, 'criterion', 'criteria')} met")]
    notes = row.get("metrics", {}).get("notes", ())
    if notes:
        blocks += [Line(), Line("remarks", "bold"), *(Line(f"  {note}") for note in notes)]
    return blocks


def _criterion(criterion: Row) -> tuple[str, ...]:
    value, limit = (
        formatting.criterion_value(number, criterion["name"]) for number in (criterion["value"], criterion["threshold"])
    )
    met = "yes" if criterion["passed"] else "no"
    return criterion["name"].replace("_", " "), value, limit, met, criterion["text"]


def _name(row: Row, seen: Row) -> str:
    return f"{row['iteration']} of stage {row['stage']}" if seen["stages"] > 1 else str(row["iteration"])


def checks(found: "Sequence[Check]") -> list[Block]:
    """Show the results of ``check``, and count them by kind."""
    marks = {"ok": draw.GOOD, "warning": draw.DOUBT, "failed": draw.BAD, "skipped": draw.NOTHING}
    rows = [(one.name, one.result, one.text) for one in found]
    counts = Counter(one.result for one in found)
    ends = ", ".join(f"{counts[result]} {result}" for result in marks if counts[result])
    marked = {(at, 1): marks[one.result] for at, one in enumerate(found)}
    return [
        Grid(("check", "result", "finding and fix"), rows, marks=marked),
        Line(),
        Line(f"{formatting.count(len(found), 'check')}: {ends}", "red" if counts["failed"] else ""),
    ]


def analysis(seen: Row, failures: "Sequence[Failure]", logs: "Mapping[str, LogEnd]") -> list[Block]:
    """Show failures by kind: how often, where, the messages, and the fix.

    ``logs`` are the ends of the logs of some nodes, by the node's name.
    """
    blocks: list[Block] = [Line(f"{seen['name']}  {seen['state']}", "bold")]
    blocks += [Line(f"  {seen['reason']}")] if seen["reason"] else []
    if not failures:
        return [*blocks, Line(), Line("no attempt of any node has failed")]
    for failure in failures:
        blocks += _kind(failure, logs)
    release = incidents.release(seen)
    return [*blocks, Line(), *release] if release else blocks


def _kind(failure: "Failure", logs: "Mapping[str, LogEnd]") -> list[Block]:
    attempts = failure.attempts
    nodes = list(dict.fromkeys(attempt["node"] for attempt in attempts))
    states = {attempt["node"]: attempt["state"] for attempt in attempts}
    passed = sum(state in ("done", "skipped") for state in states.values())
    counted = Counter(attempt["host"] or "unknown host" for attempt in attempts).most_common()
    hosts = first_of([f"{name} ({count})" if count > 1 else name for name, count in counted], NODES_MAX)
    counts = f"{formatting.count(len(attempts), 'attempt')} of {formatting.count(len(nodes), 'node')}"
    blocks: list[Block] = [
        Line(),
        Line(f"{failure.name}: {counts}", "bold"),
        Line(f"  nodes: {first_of(nodes, NODES_MAX)}"),
        Line(f"  hosts: {hosts}"),
    ]
    if passed:
        blocks.append(Line(f"  {passed:,} of these nodes succeeded in another attempt"))
    said: dict[str, str] = {}
    for attempt in attempts:
        said.setdefault(normalise_reason(attempt["why"]), attempt["why"])
    texts = list(filter(None, said.values()))
    more = [f"... and {len(texts) - TEXTS_MAX:,} other texts"] if len(texts) > TEXTS_MAX else []
    blocks += [Line(f"  said: {text}") for text in (*texts[:TEXTS_MAX], *more)]
    for node in [name for name in nodes if name in logs][:LOGS_MAX]:
        left = len(nodes) - 1
        others = f" (those of {formatting.count(left, 'other node')} are left out)" if left else ""
        end = logs[node]
        if end.error and end.error not in (line.strip() for line in end.lines):
            blocks.append(Line(f"  last error in the log of {node}: {end.error}"))
        blocks.append(Line(f"  end of the log of {node}{others}, {end.path}:"))
        blocks += [Line(f"    | {line}") for line in end.lines]
    return [*blocks, Line(f"  fix: {failure.cure}")] if failure.cure else blocks
