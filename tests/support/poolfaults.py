"""Plan faults on a real pool from a seed, and inject them into a campaign.

The same seed gives the same plan. Whether a fault hits anything (a running job, a script) depends on the moment, and only
faults that did are counted.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import htcondor2
from poolcampaigns import PoolCampaign, children, is_hook, kill

from faser_align.pool import processes

# Relative frequency of each kind.
KINDS = {
    "dagman killed": 5,
    "hook killed": 6,
    "job killed": 4,
    "schedd killed": 1,
    "dagman held": 3,
    "job held": 3,
    "job removed": 3,
    "job evicted": 3,
    "stopped": 2,
    "dagman removed": 1,
}
# Actions of a user, and worse faults, for tests without a fixed end.
ROUGH_KINDS = {**KINDS, "stopped": 4, "dagman removed": 4, "dagman forced out": 3, "changed": 3, "pool killed": 1}
FAULTS_MIN, FAULTS_MAX = 3, 6
SPAN_S = 14.0  # duration of an undisturbed campaign, in which faults begin
MEET_S = 3.0  # how long a fault waits for its target


class Fault(NamedTuple):
    """A fault: its start (s after submission), its kind, a random choice, and how long a hold lasts (s)."""

    at_s: float
    kind: str
    choice: float
    hold_s: float

    def __str__(self) -> str:
        return f"{self.at_s:5.1f} s  {self.kind}" + (f" for {self.hold_s:.1f} s" if "held" in self.kind else "")


def plan(seed: int, kinds: dict[str, int] = KINDS) -> list[Fault]:
    """Return the faults of a trial, in order."""
    numbers = random.Random(seed)
    faults = [
        Fault(
            numbers.uniform(0.5, SPAN_S),
            numbers.choices(list(kinds), list(kinds.values()))[0],
            numbers.random(),
            numbers.uniform(0.5, 3.0),
        )
        for _ in range(numbers.randint(FAULTS_MIN, FAULTS_MAX))
    ]
    return sorted(faults)


class Injector:
    """Injects faults into one campaign, and counts those that hit something."""

    campaign: PoolCampaign

    def __init__(self, pool: Path) -> None:
        self.pool = pool
        self.done: Counter[str] = Counter()
        self.told: list[str] = []  # output of our commands

    def do(self, fault: Fault) -> None:
        """Inject a fault; it is counted if it hit something within its time."""
        if getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault):
            self.done[fault.kind] += 1

    def release(self) -> None:
        """Release all held jobs of the campaign, as its user would."""
        for job in self.campaign.jobs(status=5):
            self.campaign.act(htcondor2.JobAction.Release, f"{job['ClusterId']}.{job['ProcId']}")
        for dagman in self.campaign.dagmans() or []:
            if dagman.status == 5:
                self.campaign.act(htcondor2.JobAction.Release, f"{dagman.cluster}.0")

    def _dagman_killed(self, fault: Fault) -> bool:
        return _meet(lambda: kill(*self.campaign.dagman_pids()))

    def _hook_killed(self, fault: Fault) -> bool:
        """Kill the next script at a random moment; polling must not take the CPU that it needs."""
        dagmans = self.campaign.dagman_pids()

        def meet() -> bool:
            hooks = [pid for dagman in dagmans for pid in children(dagman) if is_hook(pid)]
            if hooks:
                time.sleep(0.08 * fault.choice)
            return kill(*(pid for pid in hooks if is_hook(pid)))

        return _meet(meet, poll_s=0.01)

    def _job_killed(self, fault: Fault) -> bool:
        def meet() -> bool:
            pids = self.campaign.job_pids()
            return bool(pids) and kill(_one(pids, fault))

        return _meet(meet)

    def _schedd_killed(self, fault: Fault) -> bool:
        daemons = processes.daemons(self.pool / "condor_config")
        return kill(*(daemon.pid for daemon in daemons if daemon.name == "condor_schedd"))

    def _dagman_held(self, fault: Fault) -> bool:
        dagmans = self.campaign.dagmans()
        if not dagmans or not self.campaign.act(htcondor2.JobAction.Hold, f"{dagmans[0].cluster}.0"):
            return False
        time.sleep(fault.hold_s)
        self.campaign.act(htcondor2.JobAction.Release, f"{dagmans[0].cluster}.0")
        return True

    def _job_held(self, fault: Fault) -> bool:
        job = self._act_on_a_job(htcondor2.JobAction.Hold, fault)
        if job:
            time.sleep(fault.hold_s)
            self.campaign.act(htcondor2.JobAction.Release, job)
        return bool(job)

    def _job_removed(self, fault: Fault) -> bool:
        return bool(self._act_on_a_job(htcondor2.JobAction.Remove, fault))

    def _job_evicted(self, fault: Fault) -> bool:
        return bool(self._act_on_a_job(htcondor2.JobAction.Vacate, fault, status=2))

    def _act_on_a_job(self, action: Any, fault: Fault, status: int | None = None) -> str:
        """Act on one of the campaign's jobs; return its id, empty if there was none."""
        found = ""

        def meet() -> bool:
            nonlocal found
            jobs = self.campaign.jobs(status=status)
            found = "{ClusterId}.{ProcId}".format(**_one(jobs, fault)) if jobs else ""
            return bool(found) and self.campaign.act(action, found)

        return found if _meet(meet) else ""

    def _stopped(self, fault: Fault) -> bool:
        return self._accepted("stop", "--yes")

    def _accepted(self, *words: str) -> bool:
        said = self.campaign.command(*words)
        self.told.append(f"{words[0]}: {said.returncode} {said.stdout}{said.stderr}")
        return said.returncode == 0

    def _dagman_removed(self, fault: Fault) -> bool:
        dagmans = self.campaign.dagmans()
        return bool(dagmans) and self.campaign.act(htcondor2.JobAction.Remove, f"{dagmans[0].cluster}.0")

    def _dagman_forced_out(self, fault: Fault) -> bool:
        """Run condor_rm -forcex after condor_rm: DAGMan vanishes without FINAL, as if its machine were lost."""
        dagmans = self.campaign.dagmans()
        if not dagmans:
            return False
        pids = self.campaign.dagman_pids()
        job = f"{dagmans[0].cluster}.0"
        if not self.campaign.act(htcondor2.JobAction.Remove, job):
            return False
        kill(*pids)
        return self.campaign.act(htcondor2.JobAction.RemoveX, job)

    def _changed(self, fault: Fault) -> bool:
        values = ("convergence.patience=1", "convergence.patience=2", "reconstruction.min_files=0.5")
        return self._accepted("set", values[int(fault.choice * len(values))])

    def _pool_killed(self, fault: Fault) -> bool:
        """Kill the daemons of jobs; the master restarts them.

        The collector stays, because the others would not learn its new port, and the procd, because all others would
        end with it.
        """
        daemons = processes.daemons(self.pool / "condor_config")
        names = ("condor_master", "condor_collector", "condor_shared_port", "condor_procd")
        spared = [name[:15] for name in names]  # the kernel shows at most 15 characters
        return kill(*(daemon.pid for daemon in daemons if daemon.name not in spared))


def _meet(what: Callable[[], bool], poll_s: float = 0.1) -> bool:
    end = time.monotonic() + MEET_S
    while not (met := what()) and time.monotonic() < end:
        time.sleep(poll_s)
    return met


def _one(found: list[Any], fault: Fault) -> Any:
    return found[int(fault.choice * len(found))]
