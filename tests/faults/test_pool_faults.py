"""Test faults on a real pool: a disturbed campaign ends like an undisturbed one, and notifies each event once."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from poolcampaigns import PoolCampaign
from properties import SOAK
from receivers import notify, text_of
from soaked import Record
from stored import seen
from trials import END_S, Laboratory, Trial, folder_with_pool, seeds, timeout_s

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import queries

pytestmark = pytest.mark.pool

SEEDS = seeds(2, first=434638)  # together they have each kind of fault
FILES = 4 if SOAK else 2
LEFT_S = 60.0  # HTCondor's own processes end a moment after the jobs

# Kinds of campaigns: how each is made, and how it ends.
BROKEN = layout.reco_node(1, 2, 401)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "converges": ("converged", {"quiet_from": 2}),
    "is exhausted": ("exhausted", {"iterations": 2}),
    "fails": ("failed", {"fails": {BROKEN: 61}}),
    "loses a file": ("exhausted", {"fails": {BROKEN: 61}, "config": {"reconstruction": {"min_files": 0.5}}}),
}


class Disturbed(Laboratory):
    """A mail server, and the results of undisturbed campaigns."""

    def __init__(self, root: Path, mailbox: Mailbox) -> None:
        super().__init__(root)
        self.mailbox = mailbox
        self.notify = notify(root, mailbox, "held", "lost", "end")
        cases = list(dict.fromkeys(map(_case, SEEDS)))
        campaigns = {case: self._made(case, f"undisturbed-{number}", {}) for number, case in enumerate(cases)}
        for campaign in campaigns.values():
            campaign.submit()
        self.expected = {}
        for case, campaign in campaigns.items():
            assert campaign.wait_end(END_S) == CASES[case][0]
            assert campaign.unsound() == []
            self.expected[case] = campaign.picture()

    def _made(self, case: str, name: str, messages: dict[str, Any]) -> PoolCampaign:
        made = {"files": FILES, "iterations": 3, **CASES[case][1]}
        return PoolCampaign(self.root / name, **(made | {"config": {**made.get("config", {}), "notify": messages}}))

    def campaign(self, trial: Trial) -> PoolCampaign:
        """Return one of the cases, by the trial's seed."""
        trial.case = _case(trial.seed)
        trial.counts.update({"events lost": 0, "events doubled": 0, "messages repeated with their key": 0})
        return self._made(trial.case, f"trial-{trial.seed}", self.notify)

    def next_command(self, campaign: PoolCampaign, trial: Trial, *, faults_left: bool) -> tuple[str, ...] | None:
        """Resume what was stopped or has failed."""
        return None if campaign.state() == CASES[trial.case][0] else ("resume",)

    def judge(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Compare with the undisturbed campaign, and count events and messages."""
        found, expected = campaign.picture(), self.expected[trial.case]
        for name, is_so in found._asdict().items():
            should_be = getattr(expected, name)
            if is_so != should_be:
                trial.problems.append(f"{name}: {_difference(is_so, should_be)}")
        trial.problems += campaign.unsound()
        if (campaign.folder / layout.HOOKS_LOG).exists():
            trial.problems.append((campaign.folder / layout.HOOKS_LOG).read_text()[-2000:])
        self._events(campaign, trial)
        said = campaign.command("status")  # sends what a killed FINAL left
        trial.problems += [f"status: {said.returncode} {said.stderr}"] if said.stderr else []
        self._messages(campaign, trial)
        deadline = time.monotonic() + LEFT_S
        while campaign.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        if campaign.processes():
            trial.problems.append(f"processes are left: {campaign.processes()}")

    def _events(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Check that every job with a successful POST has one successful attempt, and no job has two.

        Exceptions are jobs of skipped nodes after a restart of DAGMan: they end at once because of a mark
        (``hooks.skip_guard``). Such a node may have been done, or have dropped its file, before; then its state is that
        of the undisturbed campaign.
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
        trial.counts["events lost"] += len(lost)
        trial.counts["events doubled"] += len(doubled)
        if lost or doubled:
            trial.problems.append(f"events lost: {sorted(lost)}; events doubled: {doubled}")

    def _messages(self, campaign: PoolCampaign, trial: Trial) -> None:
        """Check that each transition is in one mail; only a killed script may repeat one, with its key."""
        rows = seen(campaign.folder, queries.outbox)
        asked = [(row["history_id"], row["kind"], row["node"], row["state"]) for row in rows]
        letters = [m for m in self.mailbox.messages() if m["X-Faser-Align-Key"].startswith(f"{campaign.name}/")]
        keys = Counter(letter["X-Faser-Align-Key"] for letter in letters)
        trial.counts["messages repeated with their key"] += sum(n - 1 for n in keys.values())
        said = {letter["X-Faser-Align-Key"]: text_of(letter) for letter in letters}
        for row, kind, node, state in asked:
            if state != "sent":
                trial.problems.append(f"the message about history {row}, {kind} {node}, is {state}")
            elif kind in ("held", "lost") and not any(node in text for text in said.values()):
                trial.problems.append(f"no letter says that {node} is {kind}")
                trial.counts["events lost"] += 1
            elif kind not in ("held", "lost") and f"{campaign.name}/{row}" not in keys:
                trial.problems.append(f"no letter is about history {row}, {kind}")
                trial.counts["events lost"] += 1
        foreign = set(keys) - {f"{campaign.name}/{row}" for row, *_ in asked}
        trial.counts["events doubled"] += len(foreign)
        if foreign:
            trial.problems.append(f"letters about nothing: {foreign}")


def _case(seed: int) -> str:
    return list(CASES)[seed % len(CASES)]


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, dict):
        keys = [key for key in expected if found.get(key) != expected[key]]
        return ", ".join(f"{key} is {found.get(key)} and should be {expected[key]}" for key in keys)
    return f"{found}, and should be {expected}"


@pytest.fixture(scope="module")
def laboratory(session_folder: Path) -> Iterator[Disturbed]:
    """Provide a pool whose schedd may be killed."""
    with folder_with_pool(session_folder, "faults") as root, Mailbox(root / "mail") as mailbox:
        yield Disturbed(root, mailbox)


@pytest.mark.timeout(timeout_s(SEEDS))
def test_a_disturbed_campaign_ends_as_an_undisturbed_one(
    laboratory: Disturbed, capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    """A campaign ends with the same history and messages, whatever is killed, held, removed, evicted or stopped."""
    laboratory.run(SEEDS, capsys, record_property)
