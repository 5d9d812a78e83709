"""Read all data of a report once: snapshot, manifest, and the files of the iterations.

Reading does not disturb a campaign. ``missing`` names what could not be read, and the page shows it.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from faser_align.alignment.parameters.constants import (
    ZERO,
    Constants,
    Six,
    correction_from_parameters,
    errors_from_parameters,
    read_constants,
)
from faser_align.alignment.pede.results import Result, read_result
from faser_align.alignment.quality.figure_data import FigureData, read_figures
from faser_align.alignment.quality.metrics_file import fault, parse_metrics
from faser_align.campaign import layout
from faser_align.campaign.manifest import moved_from, read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.campaign.next_steps import Step, next_steps
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.metrics import Quality
from faser_align.pages import nodetimes
from faser_align.pages.troubles import Trouble, troubles
from faser_align.pool.tools import release_held
from faser_align.state import facts, queries
from faser_align.system.read import text_of

Row = dict[str, Any]
Found = TypeVar("Found")
TEXT_BYTES_MAX = 20_000  # of each steering text on the page
_PER_UM_URAD = (1e-3, 1e-3, 1e-3, 1e-6, 1e-6, 1e-6)  # mm and rad of the six constants


class Solution(NamedTuple):
    """The result of an iteration (mm, rad): the correction, its errors, and the resulting constants.

    ``errors`` has only constants that the solver moved; ``all_errors`` also those that earlier stages moved, from the
    last iteration that moved them.
    """

    correction: Constants
    errors: Constants
    constants: Constants
    all_errors: Constants


class Facts(NamedTuple):
    """A campaign as a page shows it."""

    record: Manifest
    campaign: Row
    reason: str
    iterations: list[Row]
    validation: Row
    quality: Quality | None
    latest: Row
    failed: list[Trouble]
    held: list[Trouble]
    dropped: list[Trouble]
    release: list[Step]
    history: list[Row]
    nodes: list[nodetimes.Node]
    solutions: dict[tuple[int, int], Solution]
    figures: dict[tuple[int, int], FigureData]
    start: Constants | None
    start_text: str
    found: Constants | None
    found_path: str
    truth: Constants | None
    errors: Constants
    steering: list[tuple[str, str]]
    next: list[Step]
    missing: list[str]

    @property
    def ended(self) -> bool:
        """Whether the campaign has ended."""
        return self.campaign["state"] in table.ENDS

    @property
    def files_dropped(self) -> int:
        """How many raw files were dropped; those of an imported campaign are only in its metrics."""
        if "imported" in self.record:
            solved = [row["metrics"] for row in self.judged if row["ended_utc"]]
            return len(solved[-1].get("files", {}).get("lost", ())) if solved else 0
        return sum(len(trouble.nodes) for trouble in self.dropped)

    @property
    def judged(self) -> list[Row]:
        """The iterations that have metrics."""
        return [row for row in self.iterations if row["metrics"]]

    @property
    def staged(self) -> bool:
        """Whether the campaign has several stages, so that an iteration's number alone is ambiguous."""
        return len(self.record["stages"]) > 1

    def name_of(self, stage: int, iteration: int) -> str:
        """Return an iteration's name: its number, after its stage's number if there are several."""
        return f"{stage}.{iteration}" if self.staged else str(iteration)


def collect(folder: str) -> Facts:
    """Read everything about the campaign in ``folder``; running jobs are shown as if they ended now.

    Raises:
        UserError, StoreError: there is no campaign, or its snapshot cannot be read.
    """
    record = read_record(folder)
    missing: list[str] = []
    with queries.published(folder) as db:
        campaign = queries.campaign_now(db, folder)
        iterations = [_sound(row, missing) for row in queries.iterations(db)]
        validation = _sound(queries.validation(db), missing)
        history = queries.history(db, nodes=False)
        begun = queries.begun(queries.all_counts(db))
        failed, held = queries.nodes(db, "failed"), queries.held(db)
        lost = queries.lost_files(db)
        outcomes = {
            (node, job): outcome
            for node, job, outcome in db.execute("SELECT node, job_id, outcome FROM attempts WHERE job_id != ''")
        }
        path = queries.latest_constants(db, folder) or ""
        reason = _reason(db, campaign, history)
    _add_unjudged(folder, iterations, missing)
    quality = facts.quality(record, iterations, validation)
    iterations = [_whole_parts(row | facts.summary(row)) for row in iterations]
    figures = _figures(folder, iterations, missing)
    solutions, errors = _solved(folder, record, iterations, figures, missing)
    following = next_steps(
        campaign["state"],
        command=record["command"],
        name=record["name"],
        constants=path or None,
        start=record["constants"]["source"],
        imported="imported" in record,
        copy=folder if moved_from(folder, record) else "",
        reported=True,
    )
    return Facts(
        record=record,
        campaign=campaign,
        reason=reason,
        iterations=iterations,
        validation=validation,
        quality=quality,
        latest=begun[-1] if begun else {},
        failed=troubles(record, folder, [(row["node"], row["reason"], row["return_value"]) for row in failed]),
        held=troubles(record, folder, [(row["node"], row["reason"], None) for row in held], logs=False),
        dropped=troubles(record, folder, [(row["node"], row["why"], None) for row in lost]),
        release=release_held(record, [(row["node"], row["job_id"], row["reason"]) for row in held], campaign["dag_id"]),
        history=history,
        nodes=nodetimes.read(folder, outcomes, None if campaign["state"] in table.ENDS else time.time()),
        solutions=solutions,
        figures=figures,
        start_text=text_of(layout.constants_file(folder, 1, 1)),
        start=_or_none(read_constants, layout.constants_file(folder, 1, 1), missing),
        found=_or_none(read_constants, path, missing) if path else None,
        found_path=path,
        truth=_truth(record),
        errors=errors,
        steering=_steering(folder, iterations, missing),
        next=following,
        missing=missing,
    )


def _or_none(read: Callable[[str], Found], path: str, missing: list[str]) -> Found | None:
    try:
        return read(path)
    except CampaignError as problem:
        missing.append(str(problem))
        return None


def _reason(db: sqlite3.Connection, campaign: Row, history: list[Row]) -> str:
    """Return the reason for the campaign's state, or its last decision."""
    given = [
        row for row in history if row["facts"].get("reason") and not row["ignored"] and row["event"] not in table.NOTES
    ]
    moved = [row for row in given if row["source"] != row["destination"]] if campaign["state"] in table.ENDS else given
    if not moved:
        return ""
    return queries.whole_reason(db, moved[-1]["id"], moved[-1]["event"], str(moved[-1]["facts"]["reason"]))


def _sound(row: Row, missing: list[str]) -> Row:
    """Return an iteration of the state database, without metrics that are malformed."""
    wrong = fault(row.get("metrics", {}))
    if wrong:
        missing.append(f"{_words(row)}: its metrics in the state database are malformed: {wrong}")
    return row | {"metrics": {}} if wrong else row


def _words(row: Row) -> str:
    return f"iteration {row['iteration']} of stage {row['stage']}" if row["stage"] else "the validation"


def _add_unjudged(folder: str, iterations: list[Row], missing: list[str]) -> None:
    """Add the metrics of an iteration whose Millepede job has ended and whose POST script has not judged it yet."""
    for row in iterations:
        path = layout.metrics_file(folder, row["stage"], row["iteration"])
        if not row["metrics"]:
            try:
                row["metrics"] = parse_metrics(Path(path).read_text(encoding="utf-8", errors="replace"), path)
            except FileNotFoundError:
                if row["ended_utc"]:
                    missing.append(f"{_words(row)} has ended, and has no metrics")
            except OSError as problem:
                missing.append(f"{path} cannot be read: {problem.strerror}")
            except ValueError as problem:
                missing.append(str(problem))


def _whole_parts(row: Row) -> Row:
    """Drop the decomposition of a correction if one of its parts is missing: the others alone mean nothing."""
    for step in row["metrics"].get("steps", []):
        if not {"significant", "weak", "modes"} <= step.get("parts", {}).keys():
            step["parts"] = {}
    return row


def _solved(
    folder: str,
    record: Manifest,
    iterations: list[Row],
    figures: Mapping[tuple[int, int], FigureData],
    missing: list[str],
) -> tuple[dict[tuple[int, int], Solution], Constants]:
    """Return the solution of each iteration, and for each constant the error of the last one that moved it."""
    solutions: dict[tuple[int, int], Solution] = {}
    errors: Constants = {}
    for row in iterations:
        if row["metrics"]:
            at = row["stage"], row["iteration"]
            place, steps = Path(layout.metrics_file(folder, *at)).parent, len(record["stages"][at[0] - 1]["steps"])
            path = place / f"step{steps}" / "millepede.res" if steps > 1 else place / "millepede.res"
            result = _or_none(read_result, str(path), missing)  # of the last step
            of_row = _errors(row, result, figures.get(at))
            errors = errors | {
                key: cast(Six, tuple(now or before for now, before in zip(six, errors.get(key, ZERO), strict=True)))
                for key, six in of_row.items()
            }
            if result is not None:
                values = {label: of.value for label, of in result.items() if of.difference is not None}
                constants = _or_none(read_constants, layout.result_file(folder, *at), missing)
                solutions[at] = Solution(correction_from_parameters(values), of_row, constants or {}, errors)
    return solutions, errors


def _errors(row: Row, result: Result | None, data: FigureData | None) -> Constants:
    """Return the statistical errors of the constants (mm, rad), 0 for fixed ones; empty without a result.

    Metrics have them for the last iterations, data of figures for all. Older versions have none; the solver's own are then
    propagated.
    """
    stored = row["metrics"].get("constant_errors")
    if not stored and data is not None:
        stored = {key: of.error for key, of in data.corrections.items()}
    if stored:
        return {
            key: cast(Six, tuple((um or 0.0) * factor for um, factor in zip(six, _PER_UM_URAD, strict=True)))
            for key, six in stored.items()
        }
    known = {label: row.error for label, row in (result or {}).items() if row.error}
    return errors_from_parameters(known) if known else {}


def _figures(folder: str, iterations: list[Row], missing: list[str]) -> dict[tuple[int, int], FigureData]:
    """Return the data of figures of each iteration, and of the validation; older campaigns have none."""
    found: dict[tuple[int, int], FigureData] = {}
    places = [(row["stage"], row["iteration"]) for row in iterations if row["metrics"]]
    for at in (*places, (layout.VALIDATION, layout.BEFORE), (layout.VALIDATION, layout.AFTER)):
        if (data := _or_none(read_figures, layout.figures_file(folder, *at), missing)) is not None:
            found[at] = data
    return found


def _truth(record: Manifest) -> Constants | None:
    """Return the simulated detector's constants; None for real data, or if their file cannot be read."""
    config = record["config"]
    if "imported" in record or config["reconstruction"]["backend"] != "simulation":
        return None
    path = config["simulation"]["truth"]
    return _or_none(read_constants, path, []) if path else {}


def _steering(folder: str, iterations: list[Row], missing: list[str]) -> list[tuple[str, str]]:
    """Return the steering texts of the last solved iteration, each cut if it is long."""
    solved = [row for row in iterations if row["metrics"]]
    if not solved:
        return []
    place = Path(layout.metrics_file(folder, solved[-1]["stage"], solved[-1]["iteration"])).parent
    texts = []
    for path in sorted(place.glob("**/*.txt")):
        if path.name in ("str.txt", "par.txt", "con.txt", "own.txt"):
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError as problem:
                missing.append(f"{path} cannot be read: {problem.strerror}")
                continue
            more = f"\n... and {len(text) - TEXT_BYTES_MAX:,} characters more" if len(text) > TEXT_BYTES_MAX else ""
            texts.append((str(path.relative_to(place)), text[:TEXT_BYTES_MAX] + more))
    return texts
