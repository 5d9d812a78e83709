"""Run campaigns of short nodes on a real pool, with our scripts and a stub for each job, and read their results."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import forking
import htcondor2
import pytest
from campaigns import make_campaign, metrics
from nowhere import until
from stored import seen

from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.dag.render import render
from faser_align.dag.submit import DagmanJob, dagman_jobs, submit_dag
from faser_align.fsm.errors import CampaignError
from faser_align.pool import personal
from faser_align.state import create, queries, registry, verify

# Called as `job -I -m faser_align.jobs.KIND . STAGE ITERATION [FILE]` in the campaign's folder.
JOB = f"""#!/bin/sh
case $3 in
    *reconstruct) node=$(printf 'reco_s%d_i%02d_%05d' "$5" "$6" "$7") ;;
    faser_align.jobs.*) node=$(printf 'mille_s%d_i%02d' "$5" "$6") ;;
    *) exec {sys.executable} "$@" ;; # a check of the interpreter
esac
exec {sys.executable} -I -S {Path(__file__).with_name("stub.py")} "${{0%/*}}/orders" "$node"
"""
MORE = 6  # iterations by which a campaign may be extended
RETRIES = 12  # a fault costs an attempt; none may fail a campaign
WAIT_S = 240.0  # enough for a busy machine

# The pool's waits after a daemon's death, shortened: by default 10 s until a schedd returns, minutes until its claimed
# slots are free, 40 min until a job whose shadow has lost contact restarts.
SETTINGS = """
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_FACTOR = 1
ALIVE_INTERVAL = 4
MAX_CLAIM_ALIVES_MISSED = 3
STARTD_SENDS_ALIVES = False
JOB_DEFAULT_LEASE_DURATION = 20
SCHEDULER_UNIVERSE_COOL_DOWN_DURATION = 2
"""


@contextlib.contextmanager
def own_pool(folder: Path, processors: int, more: str = "") -> Iterator[Path]:
    """Provide a pool of its own in ``folder``, used by commands meanwhile, whose daemons may be killed.

    ``more`` is added to its configuration.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONDOR_CONFIG", "PATH"):
            patch.setenv(name, os.environ.get(name, ""))  # restores what personal.use sets
        if not os.environ["CONDOR_CONFIG"]:
            patch.delenv("CONDOR_CONFIG")
        patch.setenv("FASER_ALIGN_POOL", str(folder))
        try:
            personal.start(folder, cpus=processors)
            personal.use(folder)
            with open(folder / "condor_config", "a") as config:
                config.write(SETTINGS + more)
            subprocess.run(["condor_reconfig"], check=True, capture_output=True)
            htcondor2.reload_config()
            yield folder
        finally:
            personal.stop(folder)
    if "CONDOR_CONFIG" in os.environ:
        htcondor2.reload_config()


def make_stub(folder: Path, files: int, iterations: int, quiet_from: int = 99) -> Path:
    """Write the program ``job``, which replaces the Python of jobs of a campaign; return the folder of its orders.

    The metrics of its iterations are below the limits from ``quiet_from`` on.
    """
    orders, job = folder / "orders", folder / "job"
    orders.mkdir(parents=True)
    (orders / "wait_s").write_text("0.1")
    for i in range(1, iterations + 1):
        value = metrics(3 if i >= quiet_from else 2, files=files) | {"iteration": i, "residual_max_final": True}
        if i < quiet_from:
            value["effect_um"] = 20.0 / i
        (orders / f"metrics_{i}.json").write_text(json.dumps(value))
    job.write_text(JOB)
    job.chmod(0o755)
    return orders


class Picture(NamedTuple):
    """A campaign's result without times, ids and attempts: the same however often it was disturbed."""

    state: str
    nodes: dict[str, str]
    path: list[tuple[str, int, int]]
    verdicts: list[tuple[int, str]]
    lost: list[int]


class PoolCampaign:
    """A campaign with real scripts and DAG, and stubs as jobs.

    Args:
        folder: where to make it; its name is that of the campaign.
        files, iterations: its size.
        wait_s: duration of a job (s).
        fails: exit status of nodes that always fail, by name.
        config: further configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: int = 4,
        iterations: int = 3,
        quiet_from: int = 99,
        wait_s: float = 0.1,
        fails: dict[str, int] | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        values: dict[str, Any] = {"convergence": {"patience": 1}, **(config or {})}
        values["campaign"] = {"iterations": iterations}
        values["htcondor"] = {
            "retries": RETRIES,
            "scan_interval_s": 1,
            "reco": {"memory_mb": 64, "disk_mb": 1},
            "mille": {"memory_mb": 64, "disk_mb": 1},
            **values.get("htcondor", {}),
        }
        self.record = make_campaign(folder, files=files, config=values, name=folder.name)
        self.folder, self.name, self.files = folder, folder.name, files
        self.orders = make_stub(folder, files, iterations + MORE, quiet_from)
        (self.orders / "wait_s").write_text(str(wait_s))
        for node, status in (fails or {}).items():
            (self.orders / node).write_text(str(status))
        self.record["job_python"] = str(folder / "job")
        write_record(str(folder / layout.RECORD), self.record)
        (folder / layout.DAG).write_text(render(self.record))
        self.schedd = until(self._schedd)
        registry.add(self.name, str(folder))

    def submit(self) -> int:
        """Submit the DAG as ``submit`` does; return the cluster."""
        cluster = submit_dag(self.schedd, str(self.folder))
        create.record_submitted(str(self.folder), cluster)
        return cluster

    def command(self, *words: str, status: int | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command about this campaign, which must have this exit status, if given."""
        first, *rest = words
        done = forking.run([first, str(self.folder), *rest], timeout_s=600)
        assert status in (None, done.returncode), f"{self.name}: {done.stdout}{done.stderr}"
        return done

    def dagmans(self) -> list[DagmanJob] | None:
        """Return the campaign's DAGMan jobs in the queue, or None while the schedd does not answer."""
        try:
            return dagman_jobs(self.schedd, str(self.folder))
        except CampaignError:
            self.schedd = self._schedd() or self.schedd
            return None

    @staticmethod
    def _schedd() -> Any:
        """Return the schedd, None while it is unavailable: a restarted one has another port."""
        try:
            return htcondor2.Schedd()
        except (htcondor2.HTCondorException, KeyError):  # KeyError: the collector has an ad without an address
            return None

    def jobs(self, *wanted: str, status: int | None = None) -> list[Any]:
        """Return the ads of the campaign's jobs; none while the schedd does not answer."""
        constraint = f'FaserCampaign =?= "{self.name}" && JobUniverse != 7'
        if status is not None:
            constraint += f" && JobStatus == {status}"
        try:
            return list(self.schedd.query(constraint, ["ClusterId", "ProcId", "JobStatus", "FaserNode", *wanted]))
        except htcondor2.HTCondorException:
            self.schedd = self._schedd() or self.schedd
            return []

    def act(self, action: Any, ids: str) -> bool:
        """Run condor_hold, condor_release, condor_rm or condor_vacate_job; return whether the schedd did it."""
        try:
            return int(self.schedd.act(action, ids).get("TotalSuccess", 0)) > 0
        except htcondor2.HTCondorException:
            self.schedd = self._schedd() or self.schedd
            return False

    def hold(self, job: str, reason: str) -> None:
        """Hold jobs with a reason."""
        subprocess.run(["condor_hold", "-reason", reason, job], check=True, capture_output=True)

    def state(self) -> str:
        return str(seen(self.folder, queries.campaign_now, str(self.folder))["state"])

    def history(self) -> list[dict[str, Any]]:
        return seen(self.folder, queries.history)

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {row["node"]: row for row in seen(self.folder, queries.nodes)}

    def wait(self, what: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
        """Wait until a condition is true; return its value."""
        end = time.monotonic() + wait_s
        while not (found := what()):
            if time.monotonic() > end:
                dagman = self.folder / layout.DAGMAN_OUT
                told = dagman.read_text()[-3000:] if dagman.exists() else "no DAGMan began"
                raise AssertionError(f"not within {wait_s:.0f} s; {self.state()}: {told}")
            time.sleep(0.25)
        return found

    def wait_end(self, wait_s: float = WAIT_S) -> str:
        """Wait until its DAGMan has left the queue; return the campaign's state."""
        self.wait(lambda: self.dagmans() == [], wait_s)
        return self.state()

    def ends(self, state: str) -> None:
        """Wait for the end, which must be this state with a valid database."""
        assert self.wait_end() == state, self.name
        assert self.unsound() == [], self.name

    def dagman_pids(self) -> list[int]:
        """Return the condor_dagman processes in the campaign's folder."""
        return [pid for pid, name in processes_in(self.folder) if name.startswith(("condor_dagman", "condor_schedun"))]

    def processes(self) -> list[str]:
        """Return all processes in the campaign's folder."""
        return [f"{name} ({pid})" for pid, name in processes_in(self.folder)]

    def job_pids(self) -> list[int]:
        """Return the processes of jobs."""
        return [pid for pid, name in processes_in(self.folder) if name.startswith("python") and not is_hook(pid)]

    def hook_pids(self) -> list[int]:
        """Return running scripts: children of DAGMan."""
        return [child for pid in self.dagman_pids() for child in children(pid)]

    def picture(self) -> Picture:
        """Return the campaign's result."""
        with queries.published(str(self.folder)) as db:
            campaign, told = queries.campaign(db), queries.history(db, nodes=False)
            return Picture(
                campaign["state"],
                {row["node"]: row["state"] for row in queries.nodes(db)},
                _path(told),
                [(row["iteration"], row["verdict"]) for row in queries.iterations(db) if row["ended_utc"]],
                [row["file"] for row in queries.lost_files(db)],
            )

    def unsound(self) -> list[str]:
        """Return what ``verify`` finds, and quarantined events."""
        found = verify.check(str(self.folder)).findings
        aside = self.folder / layout.SPOOL / "aside"
        return found + ([f"set aside: {sorted(p.name for p in aside.iterdir())}"] if aside.exists() else [])


@contextlib.contextmanager
def making(folder: Path, test: str, **usual: Any) -> Iterator[Callable[..., PoolCampaign]]:
    """Provide a function that makes campaigns named after a test, with a changed DAG; remove their DAGMans at the end."""
    made: list[PoolCampaign] = []

    def make(change: Callable[[str], str] = str, **how: Any) -> PoolCampaign:
        name = re.sub("[^a-z]+", "-", test[5:]) + (f"-{len(made)}" if made else "")
        config = {**usual.get("config", {}), **how.pop("config", {})}
        made.append(PoolCampaign(folder / name, **(usual | how | {"config": config})))
        dag = made[-1].folder / layout.DAG
        dag.write_text(change(dag.read_text()))
        return made[-1]

    yield make
    for campaign in made:
        for job in campaign.dagmans() or []:
            campaign.act(htcondor2.JobAction.Remove, f"{job.cluster}.0")


def _path(told: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Return the states in order as (state, stage, iteration), without stops or failures that were resumed."""
    moves = [row for row in told if not row["ignored"] and row["source"] != row["destination"]]
    path: list[tuple[str, int, int]] = []
    for row in moves:
        at = (row["destination"], row["stage"], row["iteration"])
        if row["event"] == "resumed":
            path.pop()  # the resumed end
            continue
        if not path or path[-1] != at:
            path.append(at)
    return path


def processes_in(folder: Path) -> list[tuple[int, str]]:
    """Return id and name of every process in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "cwd") == str(folder):
                found.append((int(process.name), (process / "comm").read_text().strip()))
    return found


def kill(*pids: int, by: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal to processes; return whether one of them still existed.

    A script that DAGMan has just forked has DAGMan's name for an instant.
    """
    met = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, by)
            met = True
    return met


def is_hook(pid: int) -> bool:
    try:
        return b"/hooks/run.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the child processes from the kernel, cheaply enough for polling."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
