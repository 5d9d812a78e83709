"""Run ``check --probe``: a DAG that tries on the real machines what a campaign's scripts and jobs need.

A NOOP node has a PRE script, which runs on the access point. One job of each kind runs on an execute node with the
submit description of the campaign's jobs.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faser_align
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.dag import queue
from faser_align.dag.render import PROBED, render_probe
from faser_align.dag.wrapper import has_wrapper, render_wrapper
from faser_align.fsm.errors import CampaignError
from faser_align.operations import probe_jobs
from faser_align.operations.checking import Check, CheckContext
from faser_align.state import dagmanlogs
from faser_align.system import interrupts
from faser_align.system.attempt import wait_until
from faser_align.system.read import text_of

REQUEST, ANSWER = "request.json", "answer.json"
SEND = "SendCredential"
SCRIPT_FAILED = re.compile(
    r"Failed to execute PRE for Node probe|PRE Script of (?:Job|Node) probe (?:failed|died)", re.IGNORECASE
)
ANSWER_S_MAX, LEAVE_S_MAX, REMOVE_S_MAX, LOOK_S = 120.0, 30.0, 10.0, 0.25


def run(look: CheckContext, wait_s: float) -> list[Check]:
    """Submit the probe, wait for its answers, and remove it.

    Args:
        look: the configuration, and the data if given.
        wait_s: how long to wait for the jobs (s).

    Returns:
        What was tried; names begin with ``there:`` for the access point and ``execute node:`` for the jobs. A probe
            that cannot be submitted is one entry, ``there: DAGMan``.
    """
    from faser_align.pool import machine
    from faser_align.pool.schedd import schedd

    where = look.config.campaign.folder
    try:
        machine.refuse_root()
        found = schedd(look.config.htcondor.pool)
        with _folder(where) as folder:
            record = _fill(folder, look)
            try:
                return _ask(found, record, wait_s)
            finally:
                _clear(found, folder)
    except CampaignError as problem:
        why = str(problem)
    except OSError as error:
        why = f"campaign.folder = {where}: {error.strerror}; name a folder that you may write to"
    return [Check("there: DAGMan", "failed", why)]


@contextlib.contextmanager
def _folder(parent: str) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="faser-align-probe-", dir=parent)
    try:
        yield folder
    finally:
        # The schedd may still write the last event of DAGMan's job, which would recreate files in the folder.
        wait_until(lambda: _removed(folder), REMOVE_S_MAX, LOOK_S)


def _removed(folder: str) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.exists(folder)


def _fill(folder: str, look: CheckContext) -> Manifest:
    """Write the DAG and the requests; return the manifest that the DAG was made from."""
    from faser_align.dag import credentials

    config, credential = look.config, credentials.wanted()
    record = make_record(
        config,
        name="faser-align check --probe",
        year=look.year,
        run=look.run,
        files=list(look.files),
        folder=folder,
        constants="",
        sha256="",
        created_utc="",
    )
    script = os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "probe.py")
    wanted = {
        kind: json.dumps(request) for kind, request in probe_jobs.requests(look, folder, credential=credential).items()
    }
    files = {
        layout.DAG: render_probe(record, script),
        REQUEST: json.dumps(
            {"targets": config.notify.targets, "targets_file": config.notify.file, "credential": credential}
        ),
        **{f"{kind}.{REQUEST}": text for kind, text in wanted.items()},
        **({layout.WRAPPER: render_wrapper(record)} if has_wrapper(record) else {}),
    }
    for name, content in files.items():
        Path(folder, name).write_text(content, encoding="utf-8")
    return record


def _ask(schedd: Any, record: Manifest, wait_s: float) -> list[Check]:
    """Submit, and collect the answers of the access point and of the execute nodes."""
    from faser_align.dag.submit import submit_dag

    started, folder = time.monotonic(), record["folder"]
    with interrupts.delayed():
        cluster = submit_dag(schedd, folder)
    found = [Check(f"there: {entry['name']}", entry["result"], entry["text"]) for entry in _access_point(record)]

    def jobs() -> dict[str, probe_jobs.Progress]:
        return {kind: probe_jobs.progress(folder, kind) for kind in PROBED}

    wait_until(lambda: all(job.over for job in jobs().values()) or _has_left(folder), wait_s, LOOK_S)
    waited_s, state = time.monotonic() - started, jobs()
    for kind, job in state.items():
        rejected = "" if job.over else _rejection(schedd, cluster, kind)
        found += probe_jobs.report(kind, job, record, waited_s, rejected)
    found += _marks(schedd, cluster)
    if all(job.answered for job in state.values()):
        wait_until(lambda: _has_left(folder), LEAVE_S_MAX, LOOK_S)
        found.append(Check("there: DAGMan", "ok", f"a DAG finished in {time.monotonic() - started:.1f} s"))
    return found


def _marks(schedd: Any, cluster: int) -> list[Check]:
    """Check that DAGMan's job and the node jobs have SendCredential; nothing on a pool without credentials."""
    import htcondor2

    from faser_align.dag import credentials

    if not credentials.wanted():
        return []
    name, jobs = "there: SendCredential", f"ClusterId == {cluster} || DAGManJobId == {cluster}"
    try:
        found = [*schedd.query(jobs, ["ClusterId", SEND]), *schedd.history(jobs, ["ClusterId", SEND], 1 + len(PROBED))]
    except htcondor2.HTCondorException as error:
        return [Check(name, "skipped", f"the schedd does not answer ({error})")]
    ads = {ad["ClusterId"]: ad for ad in found}.values()  # a leaving job is in the queue and in the history
    lacking = sum(ad.get(SEND) is not True for ad in ads)
    if lacking or not ads:
        why = f"{lacking} of {len(ads)} jobs have no SendCredential, so HTCondor gives them no credential"
        return [Check(name, "failed", why)]
    return [Check(name, "ok", f"set for all {len(ads)} jobs, DAGMan's included")]


def _access_point(record: Manifest) -> list[dict[str, str]]:
    """Return the PRE script's answer; raise CampaignError without one."""
    folder = record["folder"]
    answer = os.path.join(folder, ANSWER)
    answered = wait_until(
        lambda: os.path.exists(answer) or _script_failed(folder) or _has_left(folder), ANSWER_S_MAX, LOOK_S
    )
    if not os.path.exists(answer):
        if _script_failed(folder):
            said = text_of(f"{folder}/{layout.SCRIPTS_LOG}").strip().splitlines()
            why = f"{layout.SCRIPTS_LOG} ends with: {said[-1].strip()}" if said else "DAGMan could not execute it"
            raise CampaignError(
                f"{record['python']} did not run the probe's script on the access point; {why}; "
                "set python.hooks to a Python that exists on the access point"
            )
        how = "DAGMan ended too early" if answered else f"no script of the probe ran within {ANSWER_S_MAX:.0f} s"
        raise CampaignError(f"{how}{_last_words(folder)}")
    entries: list[dict[str, str]] = json.loads(Path(answer).read_text(encoding="utf-8"))
    return entries


def _script_failed(folder: str) -> bool:
    # Only dagman.out, not scripts.log, mentions a script that could not be executed.
    return any(
        script.kind == "PRE" and script.status
        for script in dagmanlogs.scripts(text_of(f"{folder}/{layout.SCRIPTS_LOG}"))
    ) or bool(SCRIPT_FAILED.search(text_of(f"{folder}/{layout.DAGMAN_OUT}")))


def _rejection(schedd: Any, cluster: int, kind: str) -> str:
    """Return why the negotiator found no machine for a job; empty if unknown."""
    import htcondor2

    try:
        ads = schedd.query(f'DAGManJobId == {cluster} && FaserNode =?= "{kind}"', ["LastRejMatchReason"])
    except htcondor2.HTCondorException:
        return ""
    return next((str(ad["LastRejMatchReason"]).strip() for ad in ads if ad.get("LastRejMatchReason")), "")


def _clear(schedd: Any, folder: str) -> None:
    """Remove the probe's jobs from the queue, and wait until DAGMan has left."""
    import htcondor2

    constraint = queue.of_campaign(folder)
    with contextlib.suppress(htcondor2.HTCondorException):
        if not _has_left(folder):
            schedd.act(htcondor2.JobAction.Remove, constraint, reason="faser-align check --probe")
        wait_until(lambda: not schedd.query(constraint, ["ClusterId"]), LEAVE_S_MAX, LOOK_S)


def _has_left(folder: str) -> bool:
    return "EXITING WITH STATUS" in text_of(f"{folder}/{layout.DAGMAN_OUT}")


def _last_words(folder: str) -> str:
    """Return the last output of the script or DAGMan."""
    for name in (layout.SCRIPTS_LOG, layout.DAGMAN_OUT):
        lines = text_of(f"{folder}/{name}").strip().splitlines()
        if lines:
            return f"; {name} ends with: {lines[-1].strip()}"
    return "; DAGMan has not started: see `condor_q`"
