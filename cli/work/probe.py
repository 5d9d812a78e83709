"""``check --probe``: a DAG of one empty node, whose script tries on the access point what hooks need."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import faser_align
from faser_align.cli.work.checking import Check
from faser_align.config import layout
from faser_align.config.load import load_config
from faser_align.config.schema import Config
from faser_align.fsm.errors import CampaignError

REQUEST, ANSWER = "request.json", "answer.json"
ANSWER_S_MAX, LEAVE_S_MAX, LOOK_S = 120.0, 30.0, 0.25
DAG = """\
# Tries what hooks need where they run; made by `faser-align check --probe`, and removed by it.
SET_JOB_ATTR FaserFolder = {folder}
SUBMIT-DESCRIPTION empty {{
    universe = vanilla
    executable = /bin/true
}}
JOB probe empty NOOP
SCRIPT DEBUG {log} ALL PRE probe {python} -I -S {program} {encoded}
"""


def run(path: str) -> list[Check]:
    """Submit the probe and wait for its answer, two minutes at most.

    Args:
        path: the configuration file.

    Returns:
        What was tried there, each with the name that begins with ``there:``.

    Raises:
        UserError: the schedd cannot be used by this user, or a path cannot stand in a DAG.
    """
    from faser_align.pool import machine
    from faser_align.pool.schedd import schedd

    config = load_config(path)
    machine.refuse_root()
    found = schedd(config.htcondor.pool)
    with _folder(config.campaign.folder) as folder:
        _fill(folder, config)
        started = time.monotonic()
        try:
            entries = _ask(found, folder)
        except CampaignError as problem:
            return [Check("there: DAGMan", "failed", str(problem))]
        return [*(_named(entry) for entry in entries), _time(started)]


@contextlib.contextmanager
def _folder(parent: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="faser-align-probe-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: str, config: Config) -> None:
    from faser_align.dag.paths import check_path, encode_argument

    python = config.python.hooks or sys.executable
    program = os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "probe.py")
    check_path(folder, "the campaign's folder (in campaign.folder)")
    check_path(python, "the Python interpreter (python.hooks)", spaces=False)
    check_path(program, "faser-align's own folder", spaces=False)
    text = DAG.format(
        folder=json.dumps(folder, ensure_ascii=False),
        log=layout.SCRIPTS_LOG,
        python=python,
        program=program,
        encoded=encode_argument(folder),
    )
    request = {"targets": config.notify.targets, "targets_file": config.notify.file}
    for name, content in ((layout.DAG, text), (REQUEST, json.dumps(request))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def _ask(schedd: Any, folder: str) -> list[dict[str, str]]:
    """Submit, wait for the answer and then for DAGMan's end; raises CampaignError without an answer."""
    from faser_align.dag.submit import submit_dag

    cluster = submit_dag(schedd, folder)
    answer = os.path.join(folder, ANSWER)
    try:
        answered = _wait(lambda: os.path.exists(answer) or _has_left(folder), ANSWER_S_MAX)
        if not os.path.exists(answer):
            how = "the probe's script failed" if answered else f"no script of the probe ran within {ANSWER_S_MAX:.0f} s"
            raise CampaignError(f"{how}{_last_words(folder)}")
        with open(answer, encoding="utf-8") as file:
            entries: list[dict[str, str]] = json.load(file)
        return entries
    finally:
        if not _wait(lambda: _has_left(folder), LEAVE_S_MAX):
            _remove(schedd, cluster)


def _has_left(folder: str) -> bool:
    return "EXITING WITH STATUS" in _text(folder, layout.DAGMAN_OUT)


def _remove(schedd: Any, cluster: int) -> None:
    import htcondor2

    with contextlib.suppress(htcondor2.HTCondorException):
        schedd.act(htcondor2.JobAction.Remove, f"{cluster}.0", reason="faser-align check --probe")


def _last_words(folder: str) -> str:
    """What the script or DAGMan said last, if anything."""
    for name in (layout.SCRIPTS_LOG, layout.DAGMAN_OUT):
        lines = _text(folder, name).strip().splitlines()
        if lines:
            return f"; {name} ends with: {lines[-1].strip()}"
    return "; DAGMan has not begun: look with `condor_q`"


def _text(folder: str, name: str) -> str:
    with contextlib.suppress(OSError), open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def _wait(condition: Any, wait_s: float) -> bool:
    end = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_S)
    return True


def _named(entry: dict[str, str]) -> Check:
    return Check(f"there: {entry['name']}", entry["result"], entry["text"])


def _time(started: float) -> Check:
    return Check("there: DAGMan", "ok", f"a DAG went through in {time.monotonic() - started:.1f} s")
