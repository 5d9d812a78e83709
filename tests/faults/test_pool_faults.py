"""Faults on a real pool: whatever is killed, held, removed or stopped, a campaign ends as the undisturbed one did, told once.

``make test`` runs 20 trials, ``make soak TRIALS=200`` as many as are asked for. A trial's seed is its whole plan: it is printed
when the trial fails, and FASER_ALIGN_SEED=SEED FASER_ALIGN_TRIALS=1 repeats it.
"""

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from poolcampaigns import PoolCampaign, own_pool
from poolfaults import Injector, plan

from faser_align.campaign import layout
from faser_align.fsm import table
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import queries

pytestmark = [pytest.mark.alone, pytest.mark.pool]

TRIALS = int(os.environ.get("FASER_ALIGN_TRIALS", "20"))
SEED = int(os.environ.get("FASER_ALIGN_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
AT_A_TIME = 10  # campaigns on the pool; they wait for HTCondor most of the time
SLOTS = 64  # some stay claimed by a schedd that was killed
END_S = 600.0  # a trial's longest life, on a machine with much else to do; an undisturbed campaign takes 17 s
LEFT_S = 60.0  # HTCondor's own processes go a moment after the jobs

# What campaigns there are: how each is made, and how it ends.
BROKEN = layout.reco_node(1, 2, 401)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "converges": ("converged", {"quiet_from": 2}),
    "is exhausted": ("exhausted", {"iterations": 2}),
    "fails": ("failed", {"fails": {BROKEN: 61}}),
    "loses a file": ("exhausted", {"fails": {BROKEN: 61}, "config": {"reconstruction": {"min_files": 0.75}}}),
}
MESSAGES = ["held", "lost", "end"]


@dataclass
class Trial:
    """What a trial came to; ``problems`` is empty if nothing was lost or doubled."""

    seed: int
    case: str
    injected: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    repeated: int = 0  # messages that a killed hook sent again, with the same key
    resumed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Laboratory:
    """A pool, a mail server, and what undisturbed campaigns came to."""

    def __init__(self, root: Path, mailbox: Mailbox) -> None:
        self.root, self.mailbox = root, mailbox
        self.targets = root / "targets.toml"
        self.targets.write_text(f'[targets]\nme = "{mailbox.url("me@example.org")}"\n')
        self.targets.chmod(0o600)
        campaigns = {case: self.campaign(case, f"undisturbed-{number}") for number, case in enumerate(CASES)}
        for campaign in campaigns.values():
            campaign.submit()
        self.expected = {}
        for case, campaign in campaigns.items():
            assert campaign.wait_end(END_S) == CASES[case][0]
            assert campaign.unsound() == []
            self.expected[case] = campaign.picture()

    def campaign(self, case: str, name: str) -> PoolCampaign:
        made = {"iterations": 3, **CASES[case][1]}
        notify = {"targets": ["me"], "file": str(self.targets), "events": MESSAGES}
        return PoolCampaign(self.root / name, **(made | {"config": {**made.get("config", {}), "notify": notify}}))

    def trial(self, seed: int) -> Trial:
        """One campaign with the faults of its plan; whoever would be its user resumes what was stopped or has died."""
        case = list(CASES)[seed % len(CASES)]
        trial, started = Trial(seed, case), time.monotonic()
        injector = Injector(self.root / "pool")
        trial.injected = injector.done
        try:
            campaign = injector.campaign = self.campaign(case, f"trial-{seed}")
            campaign.wait(lambda: _submitted(campaign))
            self._live(campaign, injector, trial)
            self._judge(campaign, trial)
        except Exception as problem:  # noqa: BLE001 - one trial's end must not hide those of the others
            trial.problems.append(f"{type(problem).__name__}: {problem}")
        trial.seconds = time.monotonic() - started
        trial.problems += [said for said in injector.told if "Traceback" in said] if trial.problems == [] else []
        if trial.problems:
            trial.problems += injector.told
        return trial

    def _live(self, campaign: PoolCampaign, injector: Injector, trial: Trial) -> None:
        started = time.monotonic()
        faults = plan(trial.seed)
        while time.monotonic() < started + END_S:
            if faults and time.monotonic() >= started + faults[0].at_s:
                injector.do(faults.pop(0))
                continue
            if not faults:
                injector.release()
            if campaign.dagmans() == []:
                if campaign.state() == CASES[trial.case][0]:
                    return
                said = campaign.command("resume")
                trial.resumed += said.returncode == 0
                injector.told.append(f"resume: {said.returncode} {said.stdout}{said.stderr}")
            time.sleep(0.3)
        dagman = (campaign.folder / layout.DAGMAN_OUT).read_text()[-3000:]
        trial.problems.append(f"it has not ended: {campaign.state()}, {campaign.dagmans()}: {dagman}")

    def _judge(self, campaign: PoolCampaign, trial: Trial) -> None:
        found, expected = campaign.picture(), self.expected[trial.case]
        for name, is_so in found._asdict().items():
            should_be = getattr(expected, name)
            if is_so != should_be:
                trial.problems.append(f"{name}: {_difference(is_so, should_be)}")
        trial.problems += campaign.unsound()
        if (campaign.folder / layout.HOOKS_LOG).exists():
            trial.problems.append((campaign.folder / layout.HOOKS_LOG).read_text()[-2000:])
        self._events(campaign, trial)
        trial.problems += _problems(campaign.command("status"))  # sends what a FINAL that was killed left
        self._messages(campaign, trial)
        deadline = time.monotonic() + LEFT_S
        while campaign.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        if campaign.processes():
            trial.problems.append(f"processes are left: {campaign.processes()}")

    def _events(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Every job whose POST DAGMan saw succeed has one attempt that succeeded, and no job has two.

        But for jobs of nodes that are passed over after DAGMan has begun anew: they end at once by a mark (``hooks.skip_guard``).
        Such a node may have been done, or have lost its file, before; then its state is that of the undisturbed campaign.
        """
        log = (campaign.folder / layout.JOBSTATE_LOG).read_text()
        succeeded = set(re.findall(r"^\d+ (\w+) POST_SCRIPT_SUCCESS (\d+\.\d+)", log, re.MULTILINE))
        with queries.published(str(campaign.folder)) as db:
            closed = Counter(db.execute("SELECT node, job_id FROM attempts WHERE job_id != ''").fetchall())
        lost = {
            (node, job)
            for node, job in succeeded - set(closed)
            if not os.path.exists(layout.passed_file(str(campaign.folder), node))
        }
        doubled = {job: n for job, n in closed.items() if n > 1}
        trial.lost += len(lost)
        trial.doubled += len(doubled)
        if lost or doubled:
            trial.problems.append(f"events lost: {sorted(lost)}; events doubled: {doubled}")

    def _messages(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Each transition that is to be told is in one letter; only a hook that was killed may repeat one, with its key."""
        with queries.published(str(campaign.folder)) as db:
            asked = [(row["history_id"], row["kind"], row["node"], row["state"]) for row in queries.outbox(db)]
        letters = [m for m in self.mailbox.messages() if m["X-Faser-Align-Key"].startswith(f"{campaign.name}/")]
        keys = Counter(letter["X-Faser-Align-Key"] for letter in letters)
        trial.repeated += sum(n - 1 for n in keys.values())
        said = {letter["X-Faser-Align-Key"]: letter.get_body(("plain",)).get_content() for letter in letters}
        for row, kind, node, state in asked:
            if state != "sent":
                trial.problems.append(f"the message about history {row}, {kind} {node}, is {state}")
            elif kind in ("held", "lost") and not any(node in text for text in said.values()):
                trial.problems.append(f"no letter says that {node} is {kind}")
                trial.lost += 1
            elif kind not in ("held", "lost") and f"{campaign.name}/{row}" not in keys:
                trial.problems.append(f"no letter is about history {row}, {kind}")
                trial.lost += 1
        foreign = set(keys) - {f"{campaign.name}/{row}" for row, *_ in asked}
        trial.doubled += len(foreign)
        if foreign:
            trial.problems.append(f"letters about nothing: {foreign}")


def _submitted(campaign: PoolCampaign) -> bool:
    """Submit, which a schedd that was killed for another trial may refuse for a second."""
    from faser_align.fsm.errors import CampaignError

    try:
        return campaign.submit() > 0
    except CampaignError:
        campaign.dagmans()
        return False


def _problems(said: "subprocess.CompletedProcess[str]") -> list[str]:
    return [f"{said.args}: {said.returncode} {said.stderr}"] if said.stderr else []


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, dict):
        keys = [key for key in expected if found.get(key) != expected[key]]
        return ", ".join(f"{key} is {found.get(key)} and should be {expected[key]}" for key in keys)
    return f"{found}, and should be {expected}"


@pytest.fixture(scope="module")
def laboratory(session_folder: Path) -> Iterator[Laboratory]:
    """A pool of its own: its schedd will be killed."""
    root = session_folder / "faults"
    root.mkdir()
    with own_pool(root / "pool", SLOTS), Mailbox(root / "mail") as mailbox:
        yield Laboratory(root, mailbox)


@pytest.mark.timeout(max(1800, TRIALS * 180))
def test_a_disturbed_campaign_ends_as_an_undisturbed_one(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    """DAGMan, the schedd, jobs and hooks killed, held, removed, evicted, stopped: the same history, each event told once."""
    seeds = [SEED + number for number in range(TRIALS)]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        trials = list(threads.map(laboratory.trial, seeds))
    injected: Counter[str] = Counter()
    for trial in trials:
        injected += trial.injected
    with capsys.disabled():
        print(f"\n{summary(trials, injected)}")
    failed = [
        f"FASER_ALIGN_SEED={t.seed} ({t.case}):\n" + "\n".join([*map(str, plan(t.seed)), *t.problems])
        for t in trials
        if t.problems
    ]
    assert not failed, "\n\n".join(failed)


def summary(trials: list[Trial], injected: Counter[str]) -> str:
    """One line of what was done and what came of it."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in injected.most_common())
    return (
        f"{len(trials)} trials from seed {SEED}, {injected.total()} faults ({kinds}), {sum(t.resumed for t in trials)} resumed; "
        f"events lost {sum(t.lost for t in trials)}, doubled {sum(t.doubled for t in trials)}, messages repeated with their key "
        f"{sum(t.repeated for t in trials)}; {sum(t.seconds for t in trials) / len(trials):.0f} s a trial; "
        f"failed {sum(bool(t.problems) for t in trials)}"
    )


assert set(table.ENDS) >= {end for end, _ in CASES.values()}
