"""Group the nodes that failed, are held or were dropped by reason, each group with the fix and the end of a log.

Logs and reasons are without the secrets of the user's targets, on pages and terminals.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.data import by_run
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import format_files
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import UserError
from faser_align.fsm.reasons import normalise_reason
from faser_align.notifiers.targets import Target, load_targets, redact
from faser_align.state.logends import LogEnd, log_end

LOGS_MAX = 8  # groups that have the end of a log
WORDS_MAX = 400  # characters of a list of files


class Trouble(NamedTuple):
    """Nodes with the same kind of reason.

    Attributes:
        nodes: their names.
        words: their files and iterations.
        reason: of the first one, without the secrets of the user's targets.
        fix: what to do; empty if unknown.
        log: the end of the first one's own log; empty without any.
    """

    nodes: list[str]
    words: str
    reason: str
    fix: str
    log: LogEnd


def troubles(
    record: Manifest, folder: str, rows: Iterable[tuple[str, str, int | None]], *, logs: bool = True
) -> list[Trouble]:
    """Return the groups of nodes, the largest first.

    ``rows`` are name, reason and exit status of each node; the ``logs`` of jobs that have ended explain the reason.
    """
    groups: dict[str, list[tuple[str, str, int | None]]] = {}
    for row in rows:
        groups.setdefault(normalise_reason(row[1]), []).append(row)
    found: list[Trouble] = []
    for group in sorted(groups.values(), key=lambda group: -len(group)):
        node, why, status = group[0]
        nodes = [name for name, _, _ in group]
        log = shown_log(record, folder, node, why) if logs and len(found) < LOGS_MAX else LogEnd()
        found.append(
            Trouble(
                nodes, node_words(record, nodes), redact(why, _targets(record) or []), exit_codes.cure(why, status), log
            )
        )
    return found


def node_words(record: Manifest, nodes: Sequence[str]) -> str:
    """Describe nodes by their files and iterations."""
    places: dict[tuple[str, int, int], list[int]] = {}
    for node in nodes:
        kind, stage, iteration, file = layout.parse_node(node)
        places.setdefault((kind, stage, 0 if stage == layout.VALIDATION else iteration), []).append(file)
    words = "; ".join(_place(record, *place, files) for place, files in places.items())
    return words if len(words) <= WORDS_MAX else f"{words[: WORDS_MAX - 1]}…"


def _place(record: Manifest, kind: str, stage: int, iteration: int, files: Sequence[int]) -> str:
    where = "the validation" if stage == layout.VALIDATION else f"iteration {iteration}"
    where += f" of stage {stage}" if stage != layout.VALIDATION and len(record["stages"]) > 1 else ""
    if kind != "reco":
        return f"{'Millepede' if kind == 'mille' else 'the comparison'} in {where}"
    if len(set(files)) == 1:
        return f"file {layout.raw_name(files[0])} in {where}"
    runs = by_run(record["run"], files)
    named = "; ".join(f"run {run} files {format_files(of)}" for run, of in runs.items())
    return f"{len(set(files)):,} files in {where} ({named})"


def shown_log(record: Manifest, folder: str, node: str, why: str) -> LogEnd:
    """Return the end of the job's own log of a node that failed for the reason ``why``.

    Returns nothing if the file of targets exists and cannot be read, because its secrets are then unknown.
    """
    targets = _targets(record)
    if targets is None:
        return LogEnd()
    end = log_end(folder, node, why)
    return LogEnd(end.path, tuple(redact(line, targets) for line in end.lines), redact(end.error, targets))


def _targets(record: Manifest) -> list[Target] | None:
    """Return the user's targets; none without a file, None if it cannot be read."""
    file = record["targets_file"]
    try:
        return list(load_targets(file).values()) if file and os.path.lexists(os.path.expanduser(file)) else []
    except UserError:
        return None
