"""Judge an ended job: the decision on an iteration, and the reason of a failure.

Both depend on the manifest and the campaign's files alone, so that they are the same without the state database, and when
it is rebuilt.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import events, exit_codes, table, validation, verdict
from faser_align.fsm.rules import Rules
from faser_align.system.read import end_of

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

LOG_BYTES = 4096
REASON_CHARS_MAX = 400


def judge(record: Manifest, event: "events.Post") -> "events.Post":
    """Return the POST of a Millepede job that succeeded, or of the validation's last job, with the decision on its metrics."""
    _, stage, iteration, _ = layout.parse_node(event["node"])
    try:
        history = read_metrics(record["folder"], stage, iteration)
    except (OSError, ValueError) as problem:
        return events.failed(event, f"the metrics cannot be read: {problem}", exit_codes.FATAL)
    result, moves = decide(record, stage, history)
    decision: events.Decision = {
        "verdict": result.name,
        "verdict_reason": result.reason,
        "moves": moves,
        "criteria": json.dumps([criterion._asdict() for criterion in result.criteria]),
        "metrics": json.dumps(history[-1]),
    }
    return {**event, **decision, "exit": exit_codes.verdict_exit(moves, last=stage == len(record["stages"]))}


def decide(record: Manifest, stage: int, history: "list[Metrics]") -> tuple[verdict.Verdict, str]:
    """Return the decision on the last iteration of ``history``, and the campaign's event that it becomes."""
    if stage == layout.VALIDATION:
        result = validation.confirm(validation.Limits.from_config(record["config"].get("validation", {})), history[-1])
        return result, result.name
    this = record["stages"][stage - 1]
    rules = Rules.from_config(convergence_of(record, stage))
    result = verdict.judge(rules, history, limit=this["iterations"])
    return result, table.after_verdict(
        result.name,
        last=stage == len(record["stages"]),
        validated="validation" in record,
        at_limit=this.get("at_limit", "continue"),
    )


def read_metrics(folder: str, stage: int, iteration: int) -> "list[Metrics]":
    """Return ``metrics.json`` of iterations 1 to ``iteration`` of a stage, or the validation's; None for non-finite numbers.

    Raises:
        OSError, ValueError: one of them is missing or malformed.
    """
    history = []
    for i in range(iteration if stage == layout.VALIDATION else 1, iteration + 1):
        path = layout.metrics_file(folder, stage, i)
        value = parse_metrics(Path(path).read_text(encoding="utf-8", errors="replace"), path)
        if (value.get("stage"), value.get("iteration")) != (stage, i):
            raise ValueError(f"{path} is not the metrics of stage {stage}, iteration {i}")
        history.append(value)
    return history


def why(ret: int, folder: str, name: str) -> str:
    """Return why a job failed, in one line: the meaning of ``ret`` (DAGMan's $RETURN), and the job's last line."""
    known = exit_codes.failure(ret)
    if ret < 0:
        return known[0] if known else f"the job was killed by signal {-ret}"
    meaning = known[0] if known else f"exit status {ret}"
    # The last line of an unexpected error begins with its meaning.
    printed = last_line(layout.job_log(folder, name, "err")).removeprefix(f"{meaning}: ")
    return f"{meaning}: {printed}"[:REASON_CHARS_MAX] if printed else meaning


def last_line(path: str) -> str:
    """Return the last nonblank line of a log; empty without one."""
    lines = end_of(path, LOG_BYTES).decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
