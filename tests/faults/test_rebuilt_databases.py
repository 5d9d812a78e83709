"""Test that repair rebuilds the lost state database of a campaign with any faults."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from poolcampaigns import PoolCampaign
from poolfaults import ROUGH_KINDS
from soaked import Record
from stored import dump, findings, rows
from trials import Laboratory, Trial, folder_with_pool, seeds, timeout_s

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_submitted
from faser_align.fsm import table
from faser_align.state.repair import rebuild as repair

pytestmark = pytest.mark.pool

SEEDS = seeds(2, first=38331)  # together they have each kind of fault but "job killed"
ACTIONS_MAX = 3  # how often the user continues the campaign


class Rebuilt(Laboratory):
    """Campaigns of users who also stop, change, extend and resume them at random."""

    kinds = ROUGH_KINDS

    def campaign(self, trial: Trial) -> PoolCampaign:
        """Return one of two files and two iterations; one file may fail for good."""
        numbers = trial.numbers
        broken = {layout.reco_node(1, 2, 401): 61} if numbers.random() < 0.3 else {}
        config = {
            "htcondor": {"retries": 1},
            "notify": {"targets": ["nobody"], "file": str(self.root / "targets.toml"), "events": ["end", "held"]},
            "reconstruction": {"min_files": numbers.choice([0.5, 1.0])},
        }
        quiet_from, folder = numbers.choice([2, 3, 99]), self.root / f"trial-{trial.seed}"
        return PoolCampaign(folder, files=2, iterations=2, quiet_from=quiet_from, fails=broken, config=config)

    def next_command(self, campaign: PoolCampaign, trial: Trial, *, faults_left: bool) -> tuple[str, ...] | None:
        """Continue the campaign, or leave it, a few times."""
        actions = trial.counts["turns of the user"]
        trial.counts["turns of the user"] += 1
        command = _next(campaign.state(), trial.numbers) if actions < ACTIONS_MAX else ()
        return command if command or (faults_left and actions < ACTIONS_MAX) else None

    def judge(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Rebuild the database from the redo log and from DAGMan's logs alone, and compare."""
        campaign.wait(lambda: campaign.dagmans() == [] and not campaign.dagman_pids() and not campaign.hook_pids())
        trial.case = str(rows(campaign.folder / layout.STATE, "SELECT state FROM campaign")[0][0])
        trial.counts[f"ended {trial.case}"] += 1
        trial.problems += campaign.unsound()
        for sources in ("with the redo log", "from DAGMan's logs"):
            self._rebuild(campaign, sources, trial)
        if not trial.problems:
            shutil.rmtree(campaign.folder)

    def _rebuild(self, campaign: PoolCampaign, sources: str, trial: Trial) -> None:
        copy = self.root / f"copy-{trial.seed}"
        shutil.copytree(campaign.folder, copy, symlinks=True)
        for name in (layout.STATE, layout.PUBLISHED, *([layout.REDO] if "DAGMan" in sources else [])):
            (copy / name).unlink()
        scratch = copy / "scratch"
        scratch.mkdir()
        made = repair.rebuild(str(copy), read_submitted(str(campaign.folder)), str(scratch))
        lost = str(campaign.folder / layout.STATE)
        found = [*findings(made.path), *contradictions(lost, made.path, complete="redo" in sources)]
        same = "equal" if dump(made.path) == dump(lost) else "knows more"
        trial.counts[f"{sources}: {'contradicts' if found else same}"] += 1
        trial.problems += [f"{sources}: {one}" for one in found]
        shutil.rmtree(copy)


def _next(state: str, numbers: random.Random) -> tuple[str, ...]:
    """Return the user's command for a campaign without a DAGMan; empty if there is none."""
    if state in table.UNFINISHED:
        return numbers.choice([("repair",), ("resume",)])
    choices = [(), ("extend", "-i", "1")]
    if state in ("failed", "removed"):
        choices += [("resume",), ("resume",)]
    return () if state == "converged" else numbers.choice(choices)


# Values that must be the same in a rebuilt database, with the number of columns that are the key.
KEPT = {
    "end of an attempt": (
        2,
        "SELECT node, job_id, outcome, return_value, exit_status FROM attempts WHERE job_id LIKE '%_.0' AND job_id NOT LIKE '0.%'",
    ),
    "decision": (2, "SELECT stage, iteration, verdict, metrics FROM iterations WHERE ended_utc != ''"),
    "end of the campaign": (0, "SELECT state, stage, iteration FROM campaign WHERE state NOT IN {unfinished}"),
    "end of a node": (1, "SELECT node, state FROM nodes WHERE state IN ('done', 'lost', 'skipped', 'failed')"),
    "number of attempts": (1, "SELECT node, count(*) FROM attempts GROUP BY node"),
}


def contradictions(lost: str, rebuilt: str, *, complete: bool) -> list[str]:
    """Return what differs between the rebuilt and the lost database, and, if it should be complete, what is missing.

    DAGMan's logs do not tell whether a killed script had committed: if only these are used, attempts may be missing, and
    the campaign may have ended in an iteration of which the lost database has no attempt.
    """
    found = []
    begun = set(rows(lost, "SELECT stage, iteration FROM attempts JOIN nodes USING (node)"))
    for what, (keys, sql) in KEPT.items():
        if what in ("number of attempts", "end of a node") and not complete:
            continue
        text = sql.format(unfinished=table.UNFINISHED)
        after: dict[Any, Any] = {row[:keys]: row for row in rows(rebuilt, text)}
        for row in rows(lost, text):
            other = after.get(row[:keys])
            if what == "end of the campaign" and not complete and other and other[1:] not in begun:
                other = (other[0], *row[1:])
            if other != row and (other is not None or complete):
                found.append(f"{what}: {row} is {other or 'missing'}")
    return found


@pytest.fixture(scope="module")
def laboratory(session_folder: Path) -> Iterator[Rebuilt]:
    """Provide a pool whose daemons may be killed."""
    with folder_with_pool(session_folder, "rebuilt") as root:
        yield Rebuilt(root)


@pytest.mark.timeout(timeout_s(SEEDS))
def test_a_lost_database_is_rebuilt_as_it_was(
    laboratory: Rebuilt, capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    """After faults, stops, resumptions, extensions and changes at random a rebuilt database agrees with the lost one."""
    laboratory.run(SEEDS, capsys, record_property)
