"""Write the report of a campaign as plain text, for colleagues who judge or repeat it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.cli.show import figures, history_view, incidents, screens, weak_modes
from faser_align.cli.show.draw import Block, Grid, Item, Line
from faser_align.system import formatting

Row = Mapping[str, Any]

# Tables of the configuration that affect the result; the others are about places and people.
SUMMARY = ("reconstruction", "simulation", "mille", "solver", "convergence", "validation", "htcondor")

MODULES_MAX = 8  # in the table of a validation


def blocks(seen: Row, record: Row, history: Sequence[Row], *, written_utc: str) -> list[Block]:
    """Return the report's lines and tables.

    Args:
        seen: a snapshot of the campaign.
        record: its manifest.
        history: its own events (rows of ``queries.history``).
        written_utc: now.
    """
    title = f"Report of {seen['name']}"
    found: list[Block] = [Line(title), Line("=" * len(title)), Line(f"written {_utc(written_utc)} by faser-align")]
    sections = (
        ("Outcome", _outcome(seen)),
        ("Quality", _quality(seen)),
        ("Convergence", _convergence(seen)),
        ("Decision", _verdict(seen)),
        ("Validation", _validation(seen)),
        ("Files", _files(seen)),
        ("Unusual", incidents.blocks(seen)),
        ("Constants", _constants(seen, record)),
        ("Configuration", _configuration(record)),
        ("History of the campaign", history_view.lines(history, formatting.zone(utc=True))),
    )
    for heading, content in sections:
        if content:
            found += [Line(), Line(heading), Line("-" * len(heading)), *content]
    return found


def _quality(seen: Row) -> list[Block]:
    """Return the quality block with the criterion of each line; empty before the first constants."""
    found = seen.get("quality")
    if not found:
        return []
    blocks: list[Block] = [Line(found["sentence"])] if found["sentence"] else []
    for line in found["lines"]:
        grade = Item(screens.GRADES[line["grade"]], line["grade"], f"{line['title']}: {line['text']}")
        blocks += [grade, Line(f"          {line['criterion']}")]
    return blocks


def _utc(text: str) -> str:
    return f"{formatting.day_and_time(text, formatting.zone(utc=True))} UTC"


def _outcome(seen: Row) -> list[Block]:
    solved = sum(1 for row in seen["iterations"] if row["verdict"])
    recipients = ", ".join(seen["told"]) or "none"
    return [
        Line(f"state: {seen['state']}"),
        Line(f"reason: {seen['reason'] or 'none was recorded'}"),
        Line(f"data: {seen['year']} run {seen['run']}, {formatting.count(seen['files'], 'file')}"),
        Line(f"iterations solved: {solved} (at most {seen['limit']}{' in this stage' if seen['stages'] > 1 else ''})"),
        Line(f"begun {_utc(seen['created_utc'])}, last event {_utc(seen['updated_utc'])}"),
        Line(f"wall time: {formatting.duration(seen['elapsed_s'])}"),
        Line(f"recipients: {recipients}"),
    ]


def _convergence(seen: Row) -> list[Block]:
    if not seen["iterations"]:
        return [Line("no iteration has begun")]
    found: list[Block] = [screens.iterations(seen)]
    if any(row["metrics"] for row in seen["iterations"]):
        found += [Line(), *figures.tables(seen)]
    return found


def _verdict(seen: Row) -> list[Block]:
    """Return the last decision, criterion by criterion."""
    judged = [row for row in seen["iterations"] if row["verdict"]]
    if not judged:
        return [Line("no iteration has been judged")]
    last = judged[-1]
    stage = f"stage {last['stage']}, " if seen["stages"] > 1 else ""
    found: list[Block] = [
        Line(f"{stage}iteration {last['iteration']}: {last['verdict'].replace('_', ' ')}: {last['reason']}")
    ]
    for criterion in last["criteria"]:
        found.append(Line(f"  {'passed' if criterion['passed'] else 'not   '}  {criterion['text']}"))
    found += [Line(f"solver: {last['solver']}")] if last["solver"] else []
    for row in _ends_of_stages(judged):
        stage = f"stage {row['stage']} " if seen["stages"] > 1 else ""
        held = weak_modes.held_fixed(row, f"{stage}{row['verdict'].replace('_', ' ')} in iteration {row['iteration']}")
        found += [Line(), *held] if held else []
    return found


def _validation(seen: Row) -> list[Block]:
    """Compare the first and last constants: chi2/ndf, momenta, modules that changed most, every criterion."""
    found = seen["validation"]
    groups = found.get("metrics", {}).get("groups", {})
    if not groups:
        return []
    blocks = screens.validation(seen)[1:]
    blocks += [Line(f"  {'passed' if c['passed'] else 'not   '}  {c['text']}") for c in found["criteria"]]
    shown = groups["unused" if "unused" in groups else "all"]
    momentum = shown.get("momentum", {})
    changes = [momentum.get(f"momentum_change_{sign}") for sign in ("plus", "minus")]
    if None not in changes:
        plus, minus = (formatting.in_percent(change, 2, "+") for change in changes)
        blocks.append(Line(f"median momentum of the same tracks: positive {plus}, negative {minus}"))
    before, after = (shown[when]["modules"] for when in screens.WHEN)
    common = sorted(before.keys() & after.keys(), key=lambda key: -abs(after[key]["rms_um"] - before[key]["rms_um"]))
    columns = ("module", ">hits", ">mean before\num", ">mean after\num", ">rms before\num", ">rms after\num")
    lines = [
        (
            *(key, formatting.number(after[key]["hits"], ",")),
            *(formatting.size(half[key][what]) for what in ("mean_um", "rms_um") for half in (before, after)),
        )
        for key in common[:MODULES_MAX]
    ]
    said = f"the {len(lines)} of {len(common)} modules whose residuals changed most:"
    return [*blocks, Line(), Line(said), Grid(columns, lines)]


def _ends_of_stages(judged: Sequence[Row]) -> list[Row]:
    """Return the last iteration of each stage that is over."""
    last = {row["stage"]: row for row in judged}
    return [row for row in last.values() if row["verdict"] != "go_on"]


def _files(seen: Row) -> list[Block]:
    return [Line(f"{seen['files']} requested, {len(seen['lost'])} dropped; at most {seen['lost_max']} may be dropped")]


def _constants(seen: Row, record: Row) -> list[Block]:
    start = record["constants"]
    return [
        Line(f"started from: {start['source']}"),
        Line(f"  sha256 {start['sha256']}"),
        Line(f"found: {seen['constants'] or 'none yet'}"),
    ]


def _configuration(record: Row) -> list[Block]:
    imported = record.get("imported")
    program = f"imported from {imported['from']}" if imported else f"faser-align {record['version']}"
    found: list[Block] = [Line(f"{program}, {record['stations'] or 'an unknown number of'} stations")]
    for number, stage in enumerate(record["stages"], start=1):
        found.append(
            Line(f"stage {number}: {stage['name']}, at most {formatting.count(stage['iterations'], 'iteration')}")
        )
        for step in stage["steps"]:
            found.append(
                Line(f"  step {step['name']}: fixed {', '.join(str(item) for item in step['fix']) or 'nothing'}")
            )
    for table in (name for name in SUMMARY if name in record["config"]):
        values = record["config"][table]
        found.append(Line(f"[{table}]"))
        found += [
            Line(f"  {key} = {json.dumps(value)}") for key, value in values.items() if not isinstance(value, dict)
        ]
    return found
