"""A folder of published reports: one page for each campaign, and an index over all that anybody has put there."""

import html
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faser_align.config.atomic import write_text
from faser_align.config.contents import Format, Key
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.pages.collect import Facts, collect
from faser_align.pages.report import environment, render

INDEX = "index.html"
MARK = re.compile(r'<meta name="faser-align-campaign" content="([^"]*)">')
HEAD_BYTES = 2000
ENTRY_FORMAT = Format(
    "Published pages",
    "`report.publish` has `NAME.html`, the report; `NAME.json`, from which `index.html` is made:",
    (
        Key("faser-align", "version of the format: 1"),
        Key("name", "the campaign's"),
        Key("state", "where it stands"),
        Key("reason", "why, in words"),
        Key("year", "of the data"),
        Key("run", "likewise"),
        Key("files", "how many raw files"),
        Key("iterations", "how many were solved"),
        Key("chi2_per_ndf", "of the last one"),
        Key("effect_um", "of the last one"),
        Key("created_utc", "when the campaign was submitted"),
        Key("written_utc", "when the page was written"),
    ),
)


def write_report(path: str, found: Facts, *, written_utc: str, force: bool = False) -> None:
    """Write a campaign's page to ``path``; an older page of the same campaign is replaced.

    Raises:
        UserError: something else is there (and not ``force``), or the file cannot be written.
    """
    if os.path.lexists(path) and not force and _campaign_of(path) != found.record["name"]:
        raise UserError(
            f"{path} exists already and is no report of this campaign; name another with -o, or give --force"
        )
    try:
        write_text(path, render(found, written_utc=written_utc))
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror}; name another file with -o") from None


def _campaign_of(path: str) -> str:
    """Whose report a file is; empty for any other file."""
    try:
        with open(path, "rb") as file:
            found = MARK.search(file.read(HEAD_BYTES).decode("utf-8", "replace"))
    except OSError:
        return ""
    return html.unescape(found[1]) if found else ""


def publish(campaign: str, folder: str, *, written_utc: str) -> str:
    """Write the page of a campaign into the folder of published ones, and the index anew; returns the page's path.

    Each file is replaced at once. What the index says of a campaign lies beside its page, so that several accounts can
    publish to one folder.

    Args:
        campaign: the campaign's folder.
        folder: where pages are published.
        written_utc: now.

    Raises:
        CampaignError: the campaign cannot be read, or the folder cannot be written.
    """
    found = collect(campaign)
    name = found.record["name"]
    path = os.path.join(folder, f"{name}.html")
    try:
        os.makedirs(folder, exist_ok=True)
        write_text(path, render(found, written_utc=written_utc))
        write_text(os.path.join(folder, f"{name}.json"), json.dumps(_entry(found, written_utc), allow_nan=False))
        write_text(os.path.join(folder, INDEX), index(entries(folder), written_utc=written_utc))
    except OSError as problem:
        raise CampaignError(f"report.publish = {folder} cannot be written: {problem.strerror}") from None
    return path


def _entry(found: Facts, written_utc: str) -> dict[str, Any]:
    """What the index says of a campaign."""
    solved = [row for row in found.iterations if row["metrics"]]
    last = solved[-1] if solved else {}
    return {
        "faser-align": 1,
        "name": found.record["name"],
        "state": found.campaign["state"],
        "reason": found.reason,
        "year": found.record["year"],
        "run": found.record["run"],
        "files": len(found.record["files"]),
        "iterations": len(solved),
        "chi2_per_ndf": last.get("chi2_per_ndf"),
        "effect_um": last.get("effect_um"),
        "created_utc": found.campaign["created_utc"],
        "written_utc": written_utc,
    }


def entries(folder: str) -> list[dict[str, Any]]:
    """What is published in a folder, newest campaign first; files that are none of ours are passed over."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(entry, dict) and entry.get("faser-align") == 1:
            found.append({**entry, "page": quote(f"{path.stem}.html")})
    return sorted(found, key=lambda entry: str(entry["created_utc"]), reverse=True)


def index(published: list[dict[str, Any]], *, written_utc: str) -> str:
    """The page that leads to all published campaigns."""
    return environment().get_template("index.html.j2").render(entries=published, written_utc=written_utc)
