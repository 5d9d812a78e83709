"""Run trials: campaigns with faults planned from a seed, several at a time, on a pool of their own.

``make test`` runs a few trials, with the same seeds each time; ``make soak TRIALS=200`` draws new seeds. A failed trial
prints its seed, and FASER_ALIGN_SEED=SEED FASER_ALIGN_TRIALS=1 repeats its plan.
"""

import os
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from poolcampaigns import PoolCampaign, own_pool
from poolfaults import KINDS, Injector, plan
from properties import SOAK
from soaked import Record

from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError

AT_A_TIME = 10  # campaigns wait for HTCondor most of the time
SLOTS = 64  # some stay claimed by a killed schedd
END_S = 600.0  # maximum duration of a trial on a busy machine; an undisturbed campaign takes 17 s


def seeds(number: int, first: int) -> range:
    """Return the seeds of this run: ``number`` from ``first`` on, unless `make soak` or the environment says otherwise."""
    trials = int(os.environ.get("FASER_ALIGN_TRIALS", str(number)))
    drawn = random.SystemRandom().randrange(1, 10**9) if SOAK else first
    start = int(os.environ.get("FASER_ALIGN_SEED", "0")) or drawn
    return range(start, start + trials)


def timeout_s(of: range) -> int:
    """Return how long a run of these seeds may take (s)."""
    return max(1800, len(of) * 180)


@dataclass
class Trial:
    """A trial and its result; ``problems`` is empty if nothing was wrong.

    ``numbers`` draws what the campaign is and what its user does; ``counts`` is summed over all trials.
    """

    seed: int
    case: str = ""
    injected: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.numbers = random.Random(f"user {self.seed}")


class Laboratory(ABC):
    """A pool whose daemons are killed, and the folder of its campaigns."""

    kinds = KINDS

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def campaign(self, trial: Trial) -> PoolCampaign:
        """Make the campaign of a trial."""

    @abstractmethod
    def next_command(self, campaign: PoolCampaign, trial: Trial, *, faults_left: bool) -> tuple[str, ...] | None:
        """Return what the user types when the queue has no DAGMan: () for nothing now, None at the end of the trial."""

    @abstractmethod
    def judge(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Add to the trial's counts and problems."""

    def trial(self, seed: int) -> Trial:
        """Run a campaign with the faults of its plan, and judge what it left."""
        trial, started = Trial(seed), time.monotonic()
        injector = Injector(self.root / "pool")
        trial.injected = injector.done
        try:
            campaign = injector.campaign = self.campaign(trial)
            campaign.wait(lambda: _submitted(campaign))
            self._live(campaign, injector, trial)
            self.judge(campaign, trial)
        except Exception as problem:  # noqa: BLE001 - one trial's end must not hide those of the others
            trial.problems.append(f"{type(problem).__name__}: {problem}")
        trial.seconds = time.monotonic() - started
        if any("Traceback" in said for said in injector.told):
            trial.problems.append("a command ended with a traceback")
        if trial.problems:
            trial.problems += injector.told
        return trial

    def _live(self, campaign: PoolCampaign, injector: Injector, trial: Trial) -> None:
        started, faults = time.monotonic(), plan(trial.seed, self.kinds)
        while time.monotonic() < started + END_S:
            if faults and time.monotonic() >= started + faults[0].at_s:
                injector.do(faults.pop(0))
                continue
            if not faults:
                injector.release()
            if campaign.dagmans() == []:
                command = self.next_command(campaign, trial, faults_left=bool(faults))
                if command is None:
                    return
                if command:
                    said = campaign.command(*command)
                    trial.counts[f"{command[0]} accepted"] += said.returncode == 0
                    injector.told.append(f"{' '.join(command)}: {said.returncode} {said.stdout}{said.stderr}")
            time.sleep(0.3)
        dagman = (campaign.folder / layout.DAGMAN_OUT).read_text()[-3000:]
        trial.problems.append(f"it has not ended: {campaign.state()}, {campaign.dagmans()}: {dagman}")

    def run(self, of: range, capsys: pytest.CaptureFixture[str], record_property: Record) -> None:
        """Run all trials; print and record a summary line, and fail with a paragraph for each failed trial."""
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            trials = list(threads.map(self.trial, of))
        injected: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for trial in trials:
            injected.update(trial.injected)
            counts.update(trial.counts)
        summary = (
            f"{len(trials)} trials from seed {of.start}, {injected.total()} faults ({_listed(injected)}); {_listed(counts)}; "
            f"{sum(trial.seconds for trial in trials) / len(trials):.0f} s a trial; "
            f"failed {sum(bool(trial.problems) for trial in trials)}"
        )
        record_property("trials", len(trials))
        record_property("summary", summary)
        with capsys.disabled():
            print(f"\n{summary}")
        failed = [
            f"FASER_ALIGN_SEED={trial.seed} ({trial.case}):\n"
            + "\n".join([*map(str, plan(trial.seed, self.kinds)), *trial.problems])
            for trial in trials
            if trial.problems
        ]
        assert not failed, "\n\n".join(failed)


@contextmanager
def folder_with_pool(session_folder: Path, name: str, slots: int = SLOTS, more: str = "") -> Iterator[Path]:
    """Provide a new folder with its own pool, whose daemons may be killed."""
    root = session_folder / name
    root.mkdir()
    with own_pool(root / "pool", slots, more):
        yield root


def _submitted(campaign: PoolCampaign) -> bool:
    """Submit and retry for a second if a schedd killed in another trial refuses."""
    try:
        return campaign.submit() > 0
    except CampaignError:
        campaign.dagmans()
        return False


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counted.most_common())
