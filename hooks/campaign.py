"""The rarer hooks: a Millepede node's PRE and POST, HOLD of any job, FINAL, and why a job failed.

They move the campaign as a whole and deliver messages, because they delay nobody's reconstruction.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

from faser_align.config import layout
from faser_align.config.atomic import write_text
from faser_align.config.libraries import site_packages
from faser_align.config.record import read_record
from faser_align.fsm import statuses, table, validation, verdict
from faser_align.hooks import delivery, node
from faser_align.state import database, writer

Event = dict[str, Any]
LOG_BYTES = 4096
REASON_CHARS_MAX = 400


def run(folder: str, event: Event, macros: list[str]) -> int:
    """Take in an event of a Millepede node, of a held job, or of FINAL; then deliver what waits.

    Args:
        folder: the campaign.
        event: phase, node, and what ``node.run`` has filled in.
        macros: DAGMan's macros behind the node's name.

    Returns:
        The exit status for DAGMan.
    """
    site_packages()
    phase = event["phase"]
    if phase == "pre":
        event["retry"] = int(macros[0])
        status = writer.record(folder, event)
        if status == 0:
            _name_lost_files(folder, event["node"])
    elif phase == "post":
        status = _solved(folder, event, macros)
    elif phase == "hold":
        event["job_id"] = macros[0]
        event["hold_time"], event["reason"] = hold_reason(folder, macros[0])
        status = writer.record(folder, event)
    elif phase == "final":
        event["dag_status"] = int(macros[0])
        event["failed_count"] = int(macros[1])
        status = writer.record(folder, event)
    else:
        raise ValueError(f"{phase!r} is no phase of a hook")
    delivery.deliver(folder, final=phase == "final")
    return status


def _solved(folder: str, event: Event, macros: list[str]) -> int:
    """POST of a Millepede node or of the validation's last: judge its metrics, whatever state the store is in."""
    node.after_job(event, macros)
    _, stage, iteration, _ = layout.parse_node(event["node"])
    record = read_record(folder)
    if event["ret"] != 0:
        event["reason"] = why(event["ret"], folder, event["node"])
        return writer.record(folder, event)
    try:
        history = read_metrics(record, stage, iteration)
    except (OSError, ValueError) as problem:
        event["outcome"], event["exit"] = "failed", statuses.FATAL
        event["reason"] = f"the metrics cannot be read: {problem}"
        return writer.record(folder, event)
    said, event["moves"] = judged(record, stage, history)
    event["verdict"], event["verdict_reason"] = said.name, said.reason
    event["criteria"] = json.dumps([criterion._asdict() for criterion in said.criteria])
    event["metrics"] = json.dumps(history[-1])
    event["exit"] = statuses.verdict_exit(event["moves"], last=stage == len(record["stages"]))
    return writer.record(folder, event)


def judged(record: dict[str, Any], stage: int, history: list[dict[str, Any]]) -> tuple[verdict.Verdict, str]:
    """The verdict on the last iteration of ``history``, and the campaign's event that it becomes."""
    if stage == layout.VALIDATION:
        said = validation.confirm(validation.Limits.from_config(record["config"].get("validation", {})), history[-1])
        return said, said.name
    this = record["stages"][stage - 1]
    rules = verdict.Rules.from_config(record["config"]["convergence"] | this.get("convergence", {}))
    said = verdict.judge(rules, history, limit=this["iterations"])
    return said, table.after_verdict(
        said.name,
        last=stage == len(record["stages"]),
        validated="validation" in record,
        at_limit=this.get("at_limit", "continue"),
    )


def read_metrics(record: dict[str, Any], stage: int, iteration: int) -> list[dict[str, Any]]:
    """``metrics.json`` of iterations 1 to ``iteration`` of a stage, or the validation's; numbers that are not finite become None.

    Raises:
        OSError, ValueError: one of them is missing or malformed.
    """
    found = []
    for i in range(iteration if stage == layout.VALIDATION else 1, iteration + 1):
        path = layout.metrics_file(record["folder"], stage, i)
        value = _finite(json.loads(Path(path).read_text(encoding="utf-8")))
        if not isinstance(value, dict) or (value.get("stage"), value.get("iteration")) != (stage, i):
            raise ValueError(f"{path} is not the metrics of stage {stage}, iteration {i}")
        found.append(value)
    return found


def _finite(value: Any) -> Any:
    """``value`` without NaN and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name_lost_files(folder: str, name: str) -> None:
    """Tell the Millepede job which raw files it must not wait for."""
    db = database.connect(folder)
    try:
        lost = [row[0] for row in db.execute("SELECT DISTINCT file FROM nodes WHERE state = 'lost' ORDER BY file")]
    finally:
        db.close()
    if lost:
        _, stage, iteration, _ = layout.parse_node(name)
        path = layout.lost_file(folder, stage, iteration)
        write_text(path, json.dumps(lost))


def hold_reason(folder: str, job_id: str) -> tuple[str, str]:
    """When and why a job went on hold, from the last event 012 of the job in the nodes log.

    Returns:
        (time as it stands in the log, reason in one line); both empty if the log does not say.
    """
    cluster, _, proc = job_id.partition(".")
    try:
        lines = Path(folder, layout.NODES_LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return ("", "")
    head = f"012 ({int(cluster):03d}.{int(proc or 0):03d}."
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith(head):
            when = lines[at].partition(") ")[2].split(" Job ")[0].strip()
            why_lines = []
            for line in lines[at + 1 :]:
                if not line.startswith("\t") or line.startswith("\tCode "):
                    break
                why_lines.append(line.strip())
            return (when, " ".join(why_lines)[:REASON_CHARS_MAX])
    return ("", "")


def why(ret: int, folder: str, name: str) -> str:
    """Why a job failed, in one line: what its exit status means, and its own last word."""
    if ret == -1002:
        return "the job was removed"
    if ret < 0:
        return f"the job was killed by signal {-ret}"
    meaning = statuses.JOB_FAILURES.get(ret, (f"exit status {ret}", False, ""))[0]
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
