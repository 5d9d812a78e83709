"""Publish reports to a folder: one page per campaign, and an index of all pages in the folder."""

import html
import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from faser_align.alignment.quality.metrics_file import NUMBER, Whole, fault, finite
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.pages.charts import number
from faser_align.pages.collect import Facts, Row, collect
from faser_align.pages.figures.source import Reference
from faser_align.pages.report import render
from faser_align.pages.templating import rendered
from faser_align.system.atomic import write_text

INDEX = "index.html"
INDEX_MARK = b"<title>Alignment campaigns</title>"
MARK = re.compile(r'<meta name="faser-align-campaign" content="([^"]*)">')
HEAD_BYTES = 2000


def write_report(
    path: str, facts: Facts, *, written_utc: str, force: bool = False, reference: Reference = None
) -> None:
    """Write a campaign's page to ``path``; an older page of the same campaign is replaced.

    ``reference`` are constants to draw the difference to.

    Raises:
        UserError: another file exists there (without ``force``), or the file cannot be written.
    """
    if os.path.lexists(path) and not force and _campaign_of(path) != facts.record["name"]:
        raise UserError(
            f"{path} already exists and is not a report of this campaign; name another with -o, or give --force"
        )
    try:
        write_text(path, render(facts, written_utc=written_utc, reference=reference))
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror}; name another file with -o") from None


def _campaign_of(path: str) -> str:
    """Return the name of the campaign whose report a file is; empty for any other file."""
    match = MARK.search(_head(path).decode("utf-8", "replace"))
    return html.unescape(match[1]) if match else ""


def _head(path: str) -> bytes:
    """Return the beginning of a file; empty if it is unreadable or not a regular file."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def publish(campaign: str, folder: str, written_utc: str) -> None:
    """Write a campaign's page into the folder of published pages, and update the index.

    Each file is replaced atomically. The index entry of a campaign is in a file beside its page, so that several
    accounts can publish to one folder. Pages of other campaigns and foreign files stay.

    Raises:
        CampaignError: the campaign cannot be read, the folder cannot be written, or another file is in the way.
    """
    facts = collect(campaign)
    name = facts.record["name"]
    path, entry = os.path.join(folder, f"{name}.html"), os.path.join(folder, f"{name}.json")
    _look_out(facts, folder, path, entry)
    try:
        os.makedirs(folder, exist_ok=True)
        write_text(path, render(facts, written_utc=written_utc))
        write_text(entry, json.dumps(_entry(facts, written_utc), allow_nan=False))
        if _other_index(folder):
            raise CampaignError(f"{path} is written, but {_other_index(folder)}")
        write_text(os.path.join(folder, INDEX), index(entries(folder), written_utc=written_utc))
    except OSError as problem:
        raise CampaignError(f"report.publish = {folder} cannot be written: {problem.strerror}") from None


def in_the_way(folder: str) -> str:
    """Return why pages cannot be published to a folder; empty if they can."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written"
    return _other_index(folder)


def _other_index(folder: str) -> str:
    path = os.path.join(folder, INDEX)
    if not os.path.lexists(path) or INDEX_MARK in _head(path):
        return ""
    return f"{path} is not an index of faser-align and was not changed; publish to another folder"


def _look_out(facts: Facts, folder: str, path: str, entry: str) -> None:
    """Raise CampaignError if the campaign's page would replace something else."""
    if os.path.basename(path) == INDEX:
        raise CampaignError(f"a campaign with the name index cannot be published: {path} is the index of {folder}")
    if os.path.lexists(path) and _campaign_of(path) != facts.record["name"]:
        raise CampaignError(f"{path} is not a page of this campaign and was not changed; publish to another folder")
    there = _read(Path(entry))
    owner = there.get("folder", facts.record["folder"])
    # A campaign submitted again has the same folder, a moved one the same creation time.
    if owner != facts.record["folder"] and there["created_utc"] != facts.campaign["created_utc"]:
        raise CampaignError(
            f"{path} is the page of the campaign in {owner}, which has the same name, and was not changed; "
            "publish to another folder"
        )


def _entry(facts: Facts, written_utc: str) -> dict[str, Any]:
    """Return the index entry of a campaign."""
    solved = facts.judged
    last = solved[-1] if solved else {}
    return {
        "faser-align": 1,
        "name": facts.record["name"],
        "state": facts.campaign["state"],
        "reason": facts.reason,
        "year": facts.record["year"],
        "run": facts.record["run"],
        "folder": facts.record["folder"],
        "files": len(facts.record["files"]),
        "iterations": len(solved),
        "chi2_per_ndf": last.get("chi2_per_ndf"),
        "residual_shift_um": last.get("effect_um"),
        "effect_um": last.get("effect_um"),
        "shifts_um": [row.get("effect_um") for row in solved],
        "created_utc": facts.campaign["created_utc"],
        "updated_utc": facts.campaign["updated_utc"],
        "written_utc": written_utc,
        "grade": facts.quality["grade"] if facts.quality else "",
        "quality": facts.quality["sentence"] if facts.quality else "",
    }


# Required keys of an index entry, with their types.
ENTRY = Whole(
    {"faser-align": int, "name": str, "state": str, "year": (int, str), "run": str, "files": int, "iterations": int}
    | {"chi2_per_ndf": NUMBER, "effect_um": NUMBER, "created_utc": str, "written_utc": str}
)
# Those that older versions did not write.
NEWER = {"reason": str, "shifts_um": [NUMBER], "updated_utc": str, "grade": str, "quality": str}


def entries(folder: str) -> list[Row]:
    """Return the entries in a folder with the addresses of their pages, newest campaign first, without foreign files."""
    read = [(path, _read(path)) for path in sorted(Path(folder).glob("*.json"))]
    published = [{**entry, "page": quote(os.fsencode(f"{path.stem}.html"))} for path, entry in read if entry]
    return sorted(published, key=lambda entry: entry["created_utc"], reverse=True)


def _read(path: Path) -> Row:
    """Return the index entry in a file beside a campaign's page; empty for other or damaged files."""
    if not path.is_file():
        return {}
    try:
        entry: Row = finite(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}
    return {} if fault(entry, ENTRY) or fault(entry, NEWER) or entry["faser-align"] != 1 else entry


def sparkline(values: Sequence[float | None]) -> Markup:
    """Draw positive values in order as a small line on a logarithmic scale; fewer than two give no line."""
    known = [(at, math.log10(value)) for at, value in enumerate(values) if value is not None and value > 0]
    if len(known) < 2:
        return Markup("")
    low, high = min(y for _, y in known), max(y for _, y in known)
    points = [
        f"{2 + 76 * at / (len(values) - 1):.1f},{2 + 16 * (high - y) / ((high - low) or 1.0):.1f}" for at, y in known
    ]
    words = ", ".join("none" if value is None else number(value) for value in values)
    x, y = points[-1].split(",")
    return Markup(
        "<svg class='spark' viewBox='0 0 80 20' role='img' aria-label='{words} µm'><title>{words} µm</title>"
        "<polyline points='{points}'/><circle cx='{x}' cy='{y}' r='2'/></svg>"
    ).format(words=words, points=" ".join(points), x=x, y=y)


def _took(entry: Row) -> float | None:
    """Return how long a campaign has run up to its last event (s)."""
    try:
        begun, last = (datetime.fromisoformat(entry[key]) for key in ("created_utc", "updated_utc"))
    except (KeyError, ValueError):
        return None
    return max((last - begun).total_seconds(), 0.0)


def index(published: list[Row], *, written_utc: str) -> str:
    """Return the page that links to all published campaigns."""
    rows = [(entry, sparkline(entry.get("shifts_um", [])), _took(entry)) for entry in published]
    counts = Counter(entry["state"] for entry in published).most_common()
    return rendered("index.html.j2", rows=rows, counts=counts, written_utc=written_utc)
