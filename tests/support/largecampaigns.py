"""Fill a state database by SQL with a campaign of any size, as scripts would."""

import dataclasses
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

from campaigns import make_campaign, metrics

from faser_align.alignment.parameters.constants import write_constants
from faser_align.alignment.parameters.labels import KEYS, PARAMETERS
from faser_align.alignment.pede.results import Row, write_result
from faser_align.alignment.quality.figure_data import ROWS_MAX, FigureData, write_figures
from faser_align.campaign import layout
from faser_align.state import publish

BEGIN_S = 1_795_000_000  # Unix time of the campaign's submission
RECO_S, MILLE_S, WAIT_S = 600, 240, 90  # typical durations and waiting time of jobs
LAYERS = [key for key in KEYS if len(key) == 2]
MODULES = [key for key in KEYS if len(key) == 3]
TIME = "strftime('%Y-%m-%dT%H:%M:%S.000Z', ?, 'unixepoch')"


def make_large(
    folder: Path,
    *,
    files: int,
    iterations: int,
    ended: bool = True,
    name: str = "large",
    lost: int = 0,
    first: int = 400,
    like: tuple[dict[str, Any], FigureData] | None = None,
) -> dict[str, Any]:
    """Make a campaign whose nodes are all done in one attempt; return its manifest.

    Args:
        folder: where to make it.
        files, iterations: its size; it has ``files * iterations`` reconstruction nodes.
        ended: whether it is exhausted; otherwise half of the last iteration's nodes are running.
        name: name of the campaign.
        lost: files dropped in the first iteration.
        first: number of the first file.
        like: metrics and data of figures that each iteration has; without, its metrics are short and no figures are drawn.
    """
    record = make_campaign(folder, files=files, first=first, config={"campaign": {"iterations": iterations}}, name=name)
    db = sqlite3.connect(f"{folder}/{layout.STATE}", isolation_level=None)
    db.execute("BEGIN")
    at = BEGIN_S
    for iteration in range(1, iterations + 1):
        at = _iteration(db, record, iteration, at, running=not ended and iteration == iterations, like=like)
    state = "exhausted" if ended else "reconstructing"
    _campaign_event(db, at, ("solving", "limit", state) if ended else ("solving", "noted", state), iterations)
    db.execute(
        f"UPDATE campaign SET state = ?, stage = 1, iteration = ?, dag_id = '12.0', updated_utc = {TIME}, created_utc = {TIME}",
        (state, iterations, at, BEGIN_S),
    )
    db.execute(
        "UPDATE nodes SET state = 'lost', reason = 'raw file missing or unreadable' WHERE node IN "
        "(SELECT node FROM nodes WHERE kind = 'reco' ORDER BY iteration, file LIMIT ?)",
        (lost,),
    )
    db.execute("COMMIT")
    db.close()
    _job_log(folder)
    publish.publish(str(folder))
    return record


def _iteration(
    db: sqlite3.Connection,
    record: dict[str, Any],
    iteration: int,
    at: int,
    *,
    running: bool,
    like: tuple[dict[str, Any], FigureData] | None,
) -> int:
    """Write all nodes of an iteration that begins at Unix time ``at``; return the time of its solution."""
    files = record["files"]
    chance = random.Random(iteration)
    _campaign_event(db, at, ("solving", "reconstruction_started", "reconstructing"), iteration)
    for number, file in enumerate(files):
        node = layout.reco_node(1, iteration, file)
        took = WAIT_S + int(RECO_S * chance.uniform(0.8, 1.2))
        _node(db, node, f"{iteration}{number:06d}.0", iteration, at, None if running and number % 2 else at + took)
    at += WAIT_S + int(RECO_S * 1.2)
    started = at - WAIT_S - int(RECO_S * 1.2)
    if running:
        db.execute(f"INSERT INTO iterations VALUES (1, ?, {TIME}, '', '', '', '[]', '{{}}')", (iteration, started))
        return at
    _campaign_event(db, at, ("reconstructing", "solving_started", "solving"), iteration)
    _node(db, layout.mille_node(1, iteration), f"{900 + iteration}.0", iteration, at, at + MILLE_S)
    at += MILLE_S
    value = (like[0] if like else {}) | _metrics(iteration, len(files))
    if like:
        value |= {key: like[0][key] for key in ("corrections", "hits", "residuals", "steps")}
    criteria = [
        {
            "name": "effect",
            "value": value["effect_um"],
            "threshold": 0.5,
            "passed": False,
            "text": "effect above 0.5 um",
        }
    ]
    db.execute(
        f"INSERT INTO iterations VALUES (1, ?, {TIME}, {TIME}, ?, 'effect 0.9 um is above 0.5 um', ?, ?)",
        (iteration, started, at, "go_on", json.dumps(criteria), json.dumps(value)),
    )
    _campaign_event(db, at, ("solving", "go_on", "solving"), iteration)
    _files(record, iteration, value)
    if like:
        _figures(record, iteration, like[1])
    return at


def _node(db: sqlite3.Connection, node: str, job: str, iteration: int, begin: int, end: int | None) -> None:
    """Write a node with its only attempt, which is open without an ``end``."""
    state = "running" if end is None else "done"
    db.execute("UPDATE nodes SET state = ?, attempts = 1 WHERE node = ?", (state, node))
    db.execute(
        f"INSERT INTO attempts VALUES (?, 1, '12.0', {TIME}, coalesce({TIME}, ''), ?, ?, ?, ?, 'ap01')",
        (
            *(node, begin, end, "" if end is None else job, "" if end is None else "succeeded"),
            *(None if end is None else 0, None if end is None else 0),
        ),
    )
    changes = [(begin, "waiting", "started", "running")] + (
        [(end, "running", "succeeded", "done")] if end is not None else []
    )
    for at, source, event, destination in changes:
        db.execute(
            f"INSERT INTO history VALUES (NULL, {TIME}, ?, ?, ?, ?, '', 1, ?, ?, 1, ?, '12.0', 'ap01', '{{}}')",
            (at, node, source, event, destination, iteration, node, job),
        )


def _campaign_event(db: sqlite3.Connection, at: int, change: tuple[str, str, str], iteration: int) -> None:
    db.execute(
        f"INSERT INTO history VALUES (NULL, {TIME}, 'campaign', ?, ?, ?, '', 1, ?, ?, 1, '', '12.0', 'ap01', ?)",
        (at, *change, iteration, layout.mille_node(1, iteration), json.dumps({"reason": "the allowed iterations"})),
    )


def _metrics(iteration: int, files: int) -> dict[str, Any]:
    """Return metrics of a typical size."""
    dofs = {"module.x": "um", "module.y": "um", "module.rz": "urad", "layer.x": "um", "layer.ry": "urad"}
    return metrics(
        iteration,
        files=files,
        tracks={"read": 400 * files, "used": 360 * files, "cut": {"chi2": 0, "pz": 30 * files, "hits": 10 * files}},
        hits={"read": 9000 * files, "kept": 8900 * files, "modules": {key: [90 * files, files] for key in MODULES}},
        residuals={key: {"median_um": 0.5 / iteration, "width_um": 24.0} for key in LAYERS},
        corrections={
            dof: {"rms": 30.0 / iteration, "largest": -120.5 / iteration, "where": "003", "unit": unit}
            for dof, unit in dofs.items()
        },
        effect_um=9.0 / iteration,
        significance=5.0 / iteration,
        chi2_per_ndf=1.0 + 0.2 / iteration,
    )


def _files(record: dict[str, Any], iteration: int, value: dict[str, Any]) -> None:
    """Write what the Millepede job of an iteration writes, and its initial constants."""
    folder = record["folder"]
    six = {key: tuple(0.001 * iteration / (1 + n) for n in range(6)) for key in KEYS}
    write_constants(layout.constants_file(folder, 1, iteration), six)  # type: ignore[arg-type]
    write_constants(layout.result_file(folder, 1, iteration), six)  # type: ignore[arg-type]
    Path(layout.metrics_file(folder, 1, iteration)).write_text(json.dumps(value))


def _figures(record: dict[str, Any], iteration: int, like: FigureData) -> None:
    """Write pede's result and the data of an iteration's figures, with as many rows over raw files as the Millepede job writes."""
    steps = record["stages"][0]["steps"]
    place = Path(layout.metrics_file(record["folder"], 1, iteration)).parent
    place = place / f"step{len(steps)}" if len(steps) > 1 else place
    place.mkdir(exist_ok=True)
    write_result(place / "millepede.res", {label: Row(0.001 / iteration, 0.0, 0.001, 0.0002) for label in PARAMETERS})
    row, rows = like.files[0], min(len(record["files"]), ROWS_MAX)
    files = [row._replace(first=str(at), last=str(at)) for at in record["files"][:rows]]
    data = dataclasses.replace(like, stage=1, iteration=iteration, files=files)
    write_figures(layout.figures_file(record["folder"], 1, iteration), data)


def _job_log(folder: Path) -> None:
    """Write HTCondor's log of all jobs: submitted, executing, terminated."""
    db = sqlite3.connect(f"{folder}/{layout.STATE}")
    with open(folder / layout.JOB_LOG, "w", encoding="utf-8") as log:
        for node, job, begin, end in db.execute(
            "SELECT node, job_id, strftime('%s', opened_utc), strftime('%s', closed_utc) FROM attempts WHERE job_id != ''"
        ):
            cluster = int(job.partition(".")[0])
            for code, at, words in (
                ("000", int(begin), "Job submitted from host: <127.0.0.1:9618?addrs=127.0.0.1-9618&alias=ap01>"),
                ("001", int(begin) + WAIT_S, "Job executing on host: <127.0.0.1:9618?addrs=127.0.0.1-9618&alias=wn01>"),
                ("005", int(end), "Job terminated."),
            ):
                log.write(f"{code} ({cluster:03d}.000.000) {_log_time(at)} {words}\n")
                log.write(DETAILS[code].format(node=node))
                log.write("...\n")
    db.close()


def _log_time(at: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


DETAILS = {
    "000": "    DAG Node: {node}\n",
    "001": "\tSlotName: slot1_1@wn01\n\tCpusProvisioned = 1\n",
    "005": "\t(1) Normal termination (return value 0)\n\t\tUsr 0 00:09:58, Sys 0 00:00:02  -  Run Remote Usage\n"
    "\t123456  -  Run Bytes Sent By Job\n\t654321  -  Run Bytes Received By Job\n",
}
