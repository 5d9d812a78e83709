"""Write the report of a campaign: as a page, as JSON, or as plain text for colleagues who judge or repeat it."""

import json
import os
from collections.abc import Mapping
from typing import Any

from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign.layout import raw_name
from faser_align.campaign.manifest import read_record
from faser_align.cli.show import figures, history_view, incidents, screens
from faser_align.cli.show.draw import Block, Grid, Item, Line
from faser_align.operations import outputs, selection, snapshot
from faser_align.state import database
from faser_align.system import formatting

Row = Mapping[str, Any]

# Tables of the configuration that affect the result; the others are about places and people.
SUMMARY = ("reconstruction", "simulation", "mille", "solver", "convergence", "validation", "htcondor")

MODULES_MAX = 8  # in the table of a validation


def blocks(folder: str) -> list[Block]:
    """Return the report of the campaign in ``folder`` as lines and tables."""
    seen, record, history = _read(folder)
    title = f"Report of {seen['name']}"
    found: list[Block] = [Line(title), Line("=" * len(title)), Line(f"written {_utc(database.utc())} by faser-align")]
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


def as_json(folder: str) -> str:
    """Return the report as JSON."""
    told = dict(zip(("campaign", "record", "history"), _read(folder), strict=True))
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def _read(folder: str) -> tuple[Row, Row, list[dict[str, Any]]]:
    """Return the snapshot of the campaign, its manifest, and its own events."""
    return snapshot.take(folder), read_record(folder), selection.history(folder, nodes=False)[0]


def write_page(folder: str, output: str, *, force: bool, reference: str = "") -> str:
    """Write the page of the campaign in ``folder``, with the difference to the file ``reference``; return its path.

    The default is ``NAME.html`` in the current folder, or in the home folder if the current one is not writable.
    """
    from faser_align.pages.collect import collect
    from faser_align.pages.publish import write_report

    outputs.refuse_standard_output(output)
    other = (os.path.basename(reference), read_constants(reference)) if reference else None
    found = collect(folder)
    here = "" if os.access(".", os.W_OK) else os.path.expanduser("~")
    path = output or os.path.join(here, f"{found.record['name']}.html")
    write_report(path, found, written_utc=database.utc(), force=force, reference=other)
    return path


def _quality(seen: Row) -> list[Block]:
    """Return the quality block with the criterion of each line, and what to do; empty before the first constants."""
    found = seen.get("quality")
    if not found:
        return []
    blocks: list[Block] = [Line(found["sentence"])] if found["sentence"] else []
    for line in found["lines"]:
        grade = Item(screens.mark(line["grade"]), line["grade"], f"{line['title']}: {line['text']}")
        blocks += [grade, Line(f"          {line['criterion']}")]
        if line["grade"] != "good" and line.get("advice"):
            blocks.append(Line(f"          what to do: {line['advice']}"))
    return blocks


def _utc(text: str) -> str:
    return f"{formatting.day_and_time(text, formatting.zone(utc=True))} UTC"


def _outcome(seen: Row) -> list[Block]:
    solved = sum(1 for row in seen["iterations"] if row["verdict"])
    recipients = ", ".join(seen["told"]) or "none"
    return [
        Line(f"state: {seen['state']}"),
        Line(f"reason: {seen['reason'] or 'none was recorded'}"),
        Line(f"data: {seen['year']} run {seen['run']}, {screens.files(seen)}"),
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
    said = f"{stage}iteration {last['iteration']}: {last['verdict'].replace('_', ' ')}: {last['reason']}"
    found: list[Block] = [Line(said), *_criteria(last)]
    found += [Line(f"solver: {last['solver']}")] if last["solver"] else []
    for row in {row["stage"]: row for row in judged}.values():  # the last iteration of each stage
        if row["verdict"] == "go_on":
            continue
        stage = f"stage {row['stage']} " if seen["stages"] > 1 else ""
        held = figures.held_fixed(row, f"{stage}{row['verdict'].replace('_', ' ')} in iteration {row['iteration']}")
        found += [Line(), *held] if held else []
    return found


def _validation(seen: Row) -> list[Block]:
    """Compare the first and last constants: chi2/ndf, momenta, modules that changed most, every criterion."""
    found = seen["validation"]
    groups = found.get("metrics", {}).get("groups", {})
    if not groups:
        return []
    blocks = screens.validation(seen)[1:]
    blocks += _criteria(found)
    shown = groups["unused" if "unused" in groups else "all"]
    momentum = shown.get("momentum", {})
    changes = [momentum.get(f"momentum_change_{sign}") for sign in ("plus", "minus")]
    if None not in changes:
        plus, minus = (formatting.in_percent(change, 2, "+") for change in changes)
        blocks.append(
            Line(
                f"median momentum of the same tracks, last constants against the first: positive {plus}, negative {minus}"
            )
        )
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


def _criteria(row: Row) -> list[Line]:
    return [Line(f"  {'passed' if c['passed'] else 'not   '}  {c['text']}") for c in row["criteria"]]


def _files(seen: Row) -> list[Block]:
    dropped = f"{len(seen['lost'])} dropped; at most {seen['lost_max']} may be dropped"
    if not (held_back := seen["held_back"]):
        return [Line(f"{seen['files']} requested, {dropped}")]
    names = ", ".join(map(raw_name, held_back))
    return [
        Line(
            f"{seen['files'] + len(held_back)} requested, {len(held_back)} held back for the validation ({names}), {dropped}"
        )
    ]


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
        most = formatting.count(stage["iterations"], "iteration")
        found.append(Line(f"stage {number}: {stage['name']}, at most {most}"))
        found += [
            Line(f"  step {s['name']}: fixed {', '.join(map(str, s['fix'])) or 'nothing'}") for s in stage["steps"]
        ]
    for table in (name for name in SUMMARY if name in record["config"]):
        values = record["config"][table]
        found.append(Line(f"[{table}]"))
        found += [Line(f"  {key} = {json.dumps(of)}") for key, of in values.items() if not isinstance(of, dict)]
    return found
