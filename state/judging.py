"""What a hook makes of an ended job: the verdict on an iteration, and why a job failed.

A function of the record and of the campaign's files alone, so that it is the same with and without the store, and the
same again when a store is rebuilt.
"""

import json
import os
from pathlib import Path
from typing import Any

from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import exit_codes, table, validation, verdict
from faser_align.fsm.criteria import Rules

Event = dict[str, Any]
LOG_BYTES = 4096
REASON_CHARS_MAX = 400


def judge(record: Manifest, event: Event) -> None:
    """Add to ``event``, the POST of a Millepede job that succeeded or of the validation's last, what its metrics say."""
    _, stage, iteration, _ = layout.parse_node(event["node"])
    try:
        history = read_metrics(record["folder"], stage, iteration)
    except (OSError, ValueError) as problem:
        event["outcome"], event["exit"] = "failed", exit_codes.FATAL
        event["reason"] = f"the metrics cannot be read: {problem}"
        return
    said, event["moves"] = judged(record, stage, history)
    event["verdict"], event["verdict_reason"] = said.name, said.reason
    event["criteria"] = json.dumps([criterion._asdict() for criterion in said.criteria])
    event["metrics"] = json.dumps(history[-1])
    event["exit"] = exit_codes.verdict_exit(event["moves"], last=stage == len(record["stages"]))


def judged(record: Manifest, stage: int, history: list[dict[str, Any]]) -> tuple[verdict.Verdict, str]:
    """The verdict on the last iteration of ``history``, and the campaign's event that it becomes."""
    if stage == layout.VALIDATION:
        said = validation.confirm(validation.Limits.from_config(record["config"].get("validation", {})), history[-1])
        return said, said.name
    this = record["stages"][stage - 1]
    rules = Rules.from_config(convergence_of(record, stage))
    said = verdict.judge(rules, history, limit=this["iterations"])
    return said, table.after_verdict(
        said.name,
        last=stage == len(record["stages"]),
        validated="validation" in record,
        at_limit=this.get("at_limit", "continue"),
    )


def read_metrics(folder: str, stage: int, iteration: int) -> list[dict[str, Any]]:
    """``metrics.json`` of iterations 1 to ``iteration`` of a stage, or the validation's; numbers that are not finite become None.

    Raises:
        OSError, ValueError: one of them is missing or malformed.
    """
    found = []
    for i in range(iteration if stage == layout.VALIDATION else 1, iteration + 1):
        path = layout.metrics_file(folder, stage, i)
        value = parse_metrics(Path(path).read_text(encoding="utf-8", errors="replace"), path)
        if (value.get("stage"), value.get("iteration")) != (stage, i):
            raise ValueError(f"{path} is not the metrics of stage {stage}, iteration {i}")
        found.append(value)
    return found


def why(ret: int, folder: str, name: str) -> str:
    """Return why a job failed, in one line: the meaning of ``ret`` (DAGMan's $RETURN), and the job's last line."""
    known = exit_codes.failure(ret)
    if ret < 0:
        return known[0] if known else f"the job was killed by signal {-ret}"
    meaning = known[0] if known else f"exit status {ret}"
    said = last_line(layout.job_log(folder, name, "err"))
    return f"{meaning}: {said}"[:REASON_CHARS_MAX] if said else meaning


def last_line(path: str) -> str:
    """The last line of a log that is not empty, or an empty string."""
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
