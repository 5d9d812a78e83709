"""A campaign that was disturbed in any way, and then loses its state database: repair rebuilds what was lost.

``make test`` runs a few trials, ``make soak TRIALS=200`` as many as are requested. A trial's seed is its whole plan: it is
printed when the trial fails, and FASER_ALIGN_SEED=SEED FASER_ALIGN_TRIALS=1 repeats it.
"""

import json
import os
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from campaigns import metrics
from poolcampaigns import STUB, PoolCampaign, own_pool
from poolfaults import ROUGH_KINDS, Injector, plan

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_submitted, write_record
from faser_align.dag.render import render
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError
from faser_align.state import verify
from faser_align.state.repair import rebuild as repair

pytestmark = [pytest.mark.alone, pytest.mark.pool]

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))
TRIALS = int(os.environ.get("FASER_ALIGN_TRIALS", "6"))
# `make test` has the same plans each time, as property tests have the same examples; `make soak` draws new ones.
SEED = int(os.environ.get("FASER_ALIGN_SEED", "0")) or (random.SystemRandom().randrange(1, 10**9) if SOAK else 9000)
AT_A_TIME = 10
SLOTS = 64
END_S = 600.0
ACTIONS_MAX = 3  # how often the user of a campaign goes on with it
ITERATIONS_MAX = 8  # that metrics are prepared for

JOB = f"""#!{sys.executable} -IS
import os, sys
module, _, stage, iteration, *file = sys.argv[3:]
node = f"s{{stage}}_i{{int(iteration):02d}}"
node = f"reco_{{node}}_{{int(file[0]):05d}}" if module.endswith("reconstruct") else f"mille_{{node}}"
os.execv({sys.executable!r}, [{sys.executable!r}, "-I", "-S", {str(STUB)!r}, "orders", node])
"""


class Campaign(PoolCampaign):
    """Two files, two iterations, and jobs that an extension has, too; one file may fail for good."""

    def __init__(self, folder: Path, numbers: random.Random) -> None:
        broken = {layout.reco_node(1, 2, 401): 61} if numbers.random() < 0.3 else {}
        config = {
            "htcondor": {"retries": 1},
            "notify": {"targets": ["nobody"], "file": str(folder.parent / "targets.toml"), "events": ["end", "held"]},
            "reconstruction": {"min_files": numbers.choice([0.5, 1.0])},
        }
        quiet_from = numbers.choice([2, 3, 99])
        super().__init__(folder, files=2, iterations=2, quiet_from=quiet_from, fails=broken, config=config)
        for number in range(1, ITERATIONS_MAX + 1):
            value = metrics(3 if number >= quiet_from else 2, files=2)
            value |= {"iteration": number, "residual_max_final": True}
            if number < quiet_from:
                value["effect_um"] = 20.0 / number
            (self.orders / f"metrics_{number}.json").write_text(json.dumps(value))
        job = folder / "job"
        job.write_text(JOB)
        job.chmod(0o755)
        self.record["job_python"] = str(job)
        write_record(str(folder / layout.RECORD), self.record)
        (folder / layout.DAG).write_text(render(self.record))


@dataclass
class Trial:
    """What a trial came to; ``problems`` is empty if nothing was contradicted."""

    seed: int
    injected: Counter[str] = field(default_factory=Counter)
    state: str = ""
    results: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Laboratory:
    """A pool whose daemons are killed, and a folder for its campaigns."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def trial(self, seed: int) -> Trial:
        trial, started = Trial(seed), time.monotonic()
        numbers = random.Random(f"user {seed}")
        injector = Injector(self.root / "pool")
        trial.injected = injector.done
        try:
            campaign = injector.campaign = Campaign(self.root / f"trial-{seed}", numbers)
            campaign.wait(lambda: _submitted(campaign))
            self._live(campaign, injector, numbers, trial)
            trial.state = _state(campaign.folder / layout.STATE)
            trial.problems += campaign.unsound()
            for sources in ("with the redo log", "from DAGMan's logs"):
                self._rebuild(campaign, sources, trial)
            if not trial.problems:
                shutil.rmtree(campaign.folder)
        except Exception as problem:  # noqa: BLE001 - one trial's end must not hide those of the others
            trial.problems.append(f"{type(problem).__name__}: {problem}")
        trial.seconds = time.monotonic() - started
        if trial.problems:
            trial.problems += injector.told
        return trial

    def _live(self, campaign: Campaign, injector: Injector, numbers: random.Random, trial: Trial) -> None:
        started = time.monotonic()
        faults, actions = plan(trial.seed, ROUGH_KINDS), 0
        while time.monotonic() < started + END_S:
            if faults and time.monotonic() >= started + faults[0].at_s:
                injector.do(faults.pop(0))
                continue
            if not faults:
                injector.release()
            if campaign.dagmans() == []:
                command = _next(campaign.state(), numbers) if actions < ACTIONS_MAX else ()
                actions += 1
                if command:
                    said = campaign.command(*command)
                    injector.told.append(f"{' '.join(command)}: {said.returncode} {said.stdout}{said.stderr}")
                elif not faults or actions > ACTIONS_MAX:
                    break
            time.sleep(0.3)
        campaign.wait(lambda: campaign.dagmans() == [] and not campaign.dagman_pids() and not campaign.hook_pids())

    def _rebuild(self, campaign: Campaign, sources: str, trial: Trial) -> None:
        copy = self.root / f"copy-{trial.seed}"
        shutil.copytree(campaign.folder, copy, symlinks=True)
        for name in (layout.STATE, layout.PUBLISHED, *([layout.REDO] if "DAGMan" in sources else [])):
            (copy / name).unlink()
        scratch = copy / "scratch"
        scratch.mkdir()
        made = repair.rebuild(str(copy), read_submitted(str(campaign.folder)), str(scratch))
        with closing(sqlite3.connect(made.path)) as db:
            found = verify.findings(db)
        found += contradictions(str(campaign.folder / layout.STATE), made.path, complete="redo" in sources)
        same = "equal" if _content(made.path) == _content(str(campaign.folder / layout.STATE)) else "knows more"
        trial.results[f"{sources}: {'contradicts' if found else same}"] += 1
        trial.problems += [f"{sources}: {one}" for one in found]
        shutil.rmtree(copy)


def _next(state: str, numbers: random.Random) -> tuple[str, ...]:
    """What the user types of a campaign without a DAGMan; nothing if they leave it."""
    if state in table.UNFINISHED:
        return numbers.choice([("repair",), ("resume",)])
    choices = [(), ("extend", "-i", "1")]
    if state in ("failed", "removed"):
        choices += [("resume",), ("resume",)]
    return () if state == "converged" else numbers.choice(choices)


def _state(store: Path) -> str:
    with closing(sqlite3.connect(store)) as db:
        return str(db.execute("SELECT state FROM campaign").fetchone()[0])


def _submitted(campaign: Campaign) -> bool:
    """Submit, which a schedd that was killed for another trial may refuse for a second."""
    try:
        return campaign.submit() > 0
    except CampaignError:
        campaign.dagmans()
        return False


def _content(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


# What a rebuilt database must say as the lost one did.
KEPT = {
    "end of an attempt": "SELECT node, job_id, outcome, return_value, exit_status FROM attempts WHERE job_id LIKE '%_.0' AND job_id NOT LIKE '0.%'",
    "decision": "SELECT stage, iteration, verdict, metrics FROM iterations WHERE ended_utc != ''",
    "end of the campaign": "SELECT state, stage, iteration FROM campaign WHERE state NOT IN {unfinished}",
    "end of a node": "SELECT node, state FROM nodes WHERE state IN ('done', 'lost', 'skipped', 'failed')",
    "number of attempts": "SELECT node, count(*) FROM attempts GROUP BY node",
}


KEYS = {"end of an attempt": 2, "decision": 2, "end of the campaign": 0, "end of a node": 1, "number of attempts": 1}


def contradictions(lost: str, rebuilt: str, *, complete: bool) -> list[str]:
    """What the rebuilt database says otherwise than the lost one; and, if it should be complete, what it lacks.

    DAGMan's logs do not tell whether a script that was killed had committed: from them alone attempts may be missing.
    """
    found = []
    for what, sql in KEPT.items():
        if what in ("number of attempts", "end of a node") and not complete:
            continue
        text = sql.format(unfinished=table.UNFINISHED)
        with closing(sqlite3.connect(lost)) as db:
            before = db.execute(text).fetchall()
        with closing(sqlite3.connect(rebuilt)) as db:
            after: dict[Any, Any] = {row[: KEYS[what]]: row for row in db.execute(text)}
        for row in before:
            other = after.get(row[: KEYS[what]])
            if other != row and (other is not None or complete):
                found.append(f"{what}: {row} is {other or 'missing'}")
    return found


@pytest.fixture(scope="module")
def laboratory(session_folder: Path) -> Iterator[Laboratory]:
    """A pool of its own: its daemons will be killed."""
    root = session_folder / "rebuilt"
    root.mkdir()
    with own_pool(root / "pool", SLOTS):
        yield Laboratory(root)


@pytest.mark.timeout(max(1800, TRIALS * 180))
def test_a_lost_database_is_rebuilt_as_it_was(laboratory: Laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    """After faults, stops, resumptions, extensions and changes at random moments a rebuilt database contradicts nothing."""
    seeds = [SEED + number for number in range(TRIALS)]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        trials = list(threads.map(laboratory.trial, seeds))
    injected: Counter[str] = sum((trial.injected for trial in trials), Counter())
    results: Counter[str] = sum((trial.results for trial in trials), Counter())
    ends = Counter(trial.state for trial in trials)
    with capsys.disabled():
        print(
            f"\n{TRIALS} trials from seed {SEED}, {injected.total()} faults ({_counts(injected)}); ends: {_counts(ends)}; "
            f"{_counts(results)}; {sum(trial.seconds for trial in trials) / len(trials):.0f} s a trial"
        )
    failed = [
        f"FASER_ALIGN_SEED={t.seed} ({t.state}):\n" + "\n".join([*map(str, plan(t.seed, ROUGH_KINDS)), *t.problems])
        for t in trials
        if t.problems
    ]
    assert not failed, "\n\n".join(failed)


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counted.most_common())
