"""Test that the first command to see a stuck campaign notifies the recipients once."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import htcondor2
import pytest
from campaigns import hook, make_campaign
from commandline import Command
from poolcampaigns import PoolCampaign, making, processes_in
from receivers import notify, subjects, text_of
from stored import history, seen

from faser_align.campaign import layout
from faser_align.dag import queue
from faser_align.fsm import table
from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import dagman, notice, snapshot, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.pool.personal import Pool
from faser_align.state import control_requests, database, publish, spool, verify

ON_POOL = pytest.mark.pool
NODE, MILLE = layout.reco_node(1, 1, 400), layout.mille_node(1, 1)
RETRIES = 1


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    """Provide the mailbox of a test."""
    with Mailbox(tmp_path / "mail") as box:
        yield box


@pytest.fixture
def config(tmp_path: Path, mailbox: Mailbox) -> dict[str, Any]:
    """Provide a configuration that sends the ends of campaigns there."""
    return {"notify": notify(tmp_path, mailbox, "end")}


@pytest.fixture
def make(workdir: Path, pool: Pool, config: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """Provide a function that submits a campaign of one file and one iteration, with a modified DAG."""
    config |= {"htcondor": {"retries": RETRIES}}
    with making(workdir, request.node.name, files=1, iterations=1, config=config) as function:

        def one(*change: Callable[[str], str], **how: Any) -> PoolCampaign:
            campaign = function(*change, **how)
            campaign.submit()
            return campaign

        yield one


@pytest.mark.slow
def test_a_stuck_campaign_is_notified_once_per_cause(tmp_path: Path, mailbox: Mailbox, config: dict[str, Any]) -> None:
    """The request to notify is ingested once per key; a campaign that has ended is not stuck."""
    folder = make_campaign(tmp_path / "c", files=1, config=config)["folder"]
    hook("pre", folder, NODE, 0, 2)
    for key in ("gone 12.0", "gone 12.0", "held 13 1"):
        control_requests.put(folder, "stuck", {"reason": "its DAGMan is gone"}, key=key)
        without_dagman.deliver(folder)
    assert [subject.partition(" is stuck ")[2] for subject in subjects(mailbox)] == ["in iteration 1 of 4"] * 2
    text = text_of(mailbox.messages()[0])
    assert "No script advances the campaign until you act: its DAGMan is gone" in " ".join(text.split())
    assert "faser-align status" in text
    hook("final", folder, "final", 2, 1)
    control_requests.put(folder, "stuck", {"reason": "its DAGMan is gone"}, key="gone 14.0")
    without_dagman.deliver(folder)
    assert sum(" is stuck " in subject for subject in subjects(mailbox)) == 2
    assert seen(folder, verify.findings) == []
    (said,) = {row["facts"]["reason"] for row in history(folder, "stuck")}
    assert said == "its DAGMan is gone"


def test_an_older_campaign_that_wants_failures_is_notified(
    tmp_path: Path, mailbox: Mailbox, config: dict[str, Any]
) -> None:
    """A campaign of an older program sends *stuck* to the recipients of failures."""
    folder = make_campaign(tmp_path / "c", files=1, config=config)["folder"]
    hook("pre", folder, NODE, 0, 2)
    older = ("UPDATE campaign SET messages = ?", (json.dumps(list(table.ENDS)),))
    database.transact(folder, lambda db: db.execute(*older).rowcount)
    control_requests.put(folder, "stuck", {"reason": "its DAGMan is gone"}, key="gone 12.0")
    without_dagman.deliver(folder)
    assert len(subjects(mailbox)) == 1
    assert seen(folder, verify.findings) == []


def test_nobody_is_notified_from_elsewhere(
    tmp_path: Path, mailbox: Mailbox, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While DAGMan is queued, only a command on the machine of its scripts notifies, and only one at a time."""
    folder = make_campaign(tmp_path / "c", files=1, config=config)["folder"]
    hook("pre", folder, NODE, 0, 2)
    found = dagman.DagmanStatus(snapshot.take(folder), "its DAGMan is on hold", stuck=True, key="held 12 1")
    monkeypatch.setattr(dagman, "look", lambda folder: found)
    database.transact(folder, lambda db: db.execute("UPDATE attempts SET host = 'elsewhere'").rowcount)
    publish.publish(folder)
    assert notice.notify(found) == ()
    assert notice.notify(found._replace(key="")) == ()
    found = found._replace(gone=True, key="gone 12.0")
    with alone(folder):
        assert notice.notify(found) == ()
    assert notice.notify(found._replace(key="gone 11.0")) == ()  # another command resumed it
    assert (subjects(mailbox), spool.waiting(folder)) == ([], [])
    assert notice.notify(found) == ("me",)
    assert notice.notify(found) == ()
    assert len(subjects(mailbox)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("left", ["pending", "claimed"])
def test_what_a_killed_final_left_is_sent(
    left: str, tmp_path: Path, mailbox: Mailbox, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that FINAL had not tried, or was sending when killed, is sent later; a refused one waits."""
    folder = make_campaign(tmp_path / "c", files=1, config=config)["folder"]
    hook("pre", folder, NODE, 0, 2)
    hook("final", folder, "final", 2, 1)
    (letter,) = mailbox.messages()

    def leave(state: str, tries: int) -> None:
        database.transact(
            folder, lambda db: db.execute("UPDATE outbox SET state = ?, tries = ?", (state, tries)).rowcount
        )
        publish.publish(folder)

    def asked(*jobs: Any, problem: str = "") -> tuple[str, ...]:
        monkeypatch.setattr(dagman, "ask", lambda record: queue.Queue(jobs=jobs, problem=problem))
        return notice.notify(dagman.look(folder))

    leave("pending", 1)
    assert asked() == ()
    leave(left, int(left == "claimed"))
    assert asked("a DAGMan") == asked(problem="no answer") == ()
    assert asked() == ("me",)
    assert asked() == ()
    assert [again["X-Faser-Align-Key"] for again in mailbox.messages()] == [letter["X-Faser-Align-Key"]] * 2
    assert seen(folder, verify.findings) == []


@ON_POOL
def test_a_held_dagman_is_notified(make: Any, mailbox: Mailbox, plain_command: Command) -> None:
    """The first command that sees a held DAGMan notifies, others do not; the next hold is another cause. Its jobs continue."""
    campaign = make(wait_s=600)
    cluster = str(campaign.wait(lambda: campaign.dagmans())[0].cluster)
    campaign.wait(lambda: campaign.jobs(status=queue.RUNNING))
    later = (("status", campaign.name, "--json"), ("list",), ("wait", campaign.name))
    for count, others in ((1, later), (2, later[-1:])):
        campaign.hold(f"{cluster}.0", f"reason {count}")
        campaign.wait(lambda: [job.status for job in campaign.dagmans() or []] == [queue.HELD])
        campaign.wait(lambda: not campaign.dagman_pids())
        said = plain_command("status", campaign.name).out
        assert f"recipients of {campaign.name} were notified: me\n" in said
        for words in others:
            assert "were notified" not in plain_command(*words).out
        assert len(subjects(mailbox)) == count
        text = text_of(mailbox.messages()[-1])
        assert f"its DAGMan is on hold (reason {count}" in " ".join(text.split())
        campaign.wait(lambda: campaign.act(htcondor2.JobAction.Release, f"{cluster}.0"))
        campaign.wait(lambda: campaign.dagman_pids())
    (campaign.orders / "wait_s").write_text("0.1")
    campaign.ends("exhausted")
    assert campaign.nodes()[NODE]["attempts"] == 1
    assert [" is stuck " in subject for subject in subjects(mailbox)] == [True, True, False]


KILLER = """#!/bin/sh
# A script that is killed: POST of the Millepede node, and FINAL.
case "$*" in
  *run.py\\ post*mille_*|*run.py\\ final*) test -e {orders}/kills && kill -9 $$ ;;
esac
exec "$@"
"""


@ON_POOL
def test_scripts_that_are_killed_each_time(make: Any, mailbox: Mailbox, plain_command: Command, workdir: Path) -> None:
    """If its POST scripts and FINAL are killed, a campaign uses all retries and stays in solving: status says so."""
    killer = workdir / "killer.sh"

    def through_killer(dag: str) -> str:
        return re.sub(r"(SCRIPT .*?(?:PRE|POST|HOLD) \S+ )(?=/)", rf"\1{killer} ", dag)

    orders = workdir / "scripts-that-are-killed-each-time" / "orders"
    killer.write_text(KILLER.format(orders=orders))
    killer.chmod(0o755)
    campaign = make(lambda dag: (orders / "kills").touch() or through_killer(dag))
    assert campaign.wait_end() == "solving"
    assert (campaign.folder / layout.JOBSTATE_LOG).read_text().count(f"{MILLE} SUBMIT") == RETRIES + 1
    assert campaign.nodes()[MILLE]["attempts"] == 1  # a PRE that finds an open attempt takes it for its own
    assert subjects(mailbox) == []
    assert not processes_in(campaign.folder)

    said = plain_command("status", campaign.name).out
    assert f"{campaign.name}  solving" in said
    assert "its DAGMan left HTCondor's queue without recording an end: no script will run any more" in said
    assert f"next:\n  faser-align repair {campaign.name}\nthen:\n  faser-align resume {campaign.name}\n" in said
    assert "were notified: me" in said
    assert [" is stuck " in subject for subject in subjects(mailbox)] == [True]

    (orders / "kills").unlink()
    plain_command("repair", campaign.name, status=0)
    assert campaign.state() == "failed"
    assert [" failed " in subject for subject in subjects(mailbox)] == [False, True]
    plain_command("resume", campaign.name, status=0)
    campaign.ends("exhausted")
