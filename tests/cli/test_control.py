"""Test stopping, resuming and extending: refusals, and real runs on a pool."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from campaigns import hook, make_campaign, reconstruct, run_iteration
from commandline import Command
from nowhere import no_job_begins
from poolcampaigns import PoolCampaign
from taking import claimed, make_due

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.hooks.message import message_facts
from faser_align.notifiers.message import compose
from faser_align.pool.personal import Pool


def test_stop_of_a_campaign_that_has_ended(command: Command) -> None:
    """A campaign that has ended cannot be stopped, with or without a pool."""
    left = command("stop", "failed", "--yes")
    assert left == (2, "", "error: failed is already failed; there is nothing to stop\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stop running --yes", "faser-align pool start"),
        ("resume failed", "faser-align pool start"),
        ("resume converged", "error: converged is converged; there is nothing to resume. See `faser-align report"),
        ("extend running -i 2", "running is reconstructing; only a campaign that has ended can be extended"),
        ("extend converged -i 2", "converged is converged, so there is nothing to extend"),
        ("extend failed -i 96", "-i 96: stage 1 has 4 iterations and may have 1 to 95 more"),
        ("extend failed -i 0", "-i 0: stage 1 has 4 iterations"),
        ("stop failed --after iteration", "failed is already failed"),
        ("stop running --after lunch", "--after lunch: must be iteration or never"),
    ],
)
def test_what_is_refused(words: str, said: str, command: Command, campaigns: Path) -> None:
    """stop, resume and extend are refused without a schedd and in the wrong state, and write nothing."""
    assert said in command(*words.split(), status=2).err
    assert not (campaigns / "running" / layout.STOP).exists()


def test_next_commands_are_complete(plain_command: Command, here: Path) -> None:
    """The commands that errors name have their required options, and quote a name with a space."""
    record = make_campaign(here / "my own", files=1, name="my own", config={"campaign": {"iterations": 1}})
    run_iteration(record, 1)
    hook("final", record["folder"], "final", 0, 0)
    folder = record["folder"]
    assert "Continue with `faser-align extend 'my own' -i 5`" in plain_command("resume", folder, status=2).err
    for key, command in (
        ("stages.1.iterations", "extend 'my own' -i 5"),
        ("mille.pivot", "submit --from 'my own' --config FILE"),
    ):
        assert f"`faser-align {command}`" in plain_command("set", folder, f"{key}=2", status=2).err


def test_an_extension_can_be_planned(command: Command) -> None:
    """A dry run of an extension says where it continues."""
    assert "continues with iteration 2" in command("extend", "failed", "-i", "1", "--dry-run").out


def test_a_copy_of_a_campaign_is_only_read(command: Command, campaigns: Path, tmp_path: Path) -> None:
    """A copied campaign can be read, but not run, because its DAG is elsewhere; no next step names the original."""
    copy = tmp_path / "copy"
    shutil.copytree(campaigns / "failed", copy)
    shown = command("status", str(copy)).out
    assert shown.startswith("failed  failed\n")
    assert f"metrics {copy}" in " ".join(shown.split())
    assert "resume failed" not in shown
    unfinished = tmp_path / "unfinished"
    shutil.copytree(campaigns / "running", unfinished)
    shown = " ".join(command("status", str(unfinished)).out.split())
    assert f"no script will continue it here: it was submitted in {campaigns}/running" in shown
    assert f"metrics {unfinished}" in shown
    waited = command("wait", str(unfinished))
    assert waited.status != 0
    assert f"but no script will continue it here: it was submitted in {campaigns}/running; next: " in waited.out
    for word in ("resume", "stop"):
        assert f"{copy} is a copy of the campaign in {campaigns}/failed" in command(word, str(copy), status=2).err


def test_a_dag_that_ended_halted_was_stopped(plain_command: Command, tmp_path: Path) -> None:
    """Without running jobs a halted DAGMan may end before its removal; the campaign is removed anyway."""
    folder = make_campaign(tmp_path / "c", files=1)["folder"]
    assert hook("final", folder, "final", 6, 0).returncode == 6
    assert plain_command("wait", folder).status == 16


def test_fail_extend_stop_and_resume(
    pool: Pool, workdir: Path, plain_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed campaign gives the reason, continues after the fix, can be stopped, and resumed.

    Its extension finishes the failed iteration without repeating completed nodes, and adds one more.
    """
    done, failing = (layout.reco_node(1, 1, file) for file in (400, 401))
    campaign = PoolCampaign(workdir / "stops", files=2, iterations=1, fails={failing: exit_codes.RAW_MISSING})
    Path(layout.constants_file(str(campaign.folder), 1, 1)).touch()
    with no_job_begins():
        campaign.submit()
        assert "is already running as job" in plain_command("resume", "stops").err
    plain_command("wait", "stops", "--timeout", "600", "--interval", "0.2", status=15)
    status = plain_command("status", "stops").out
    assert f"{failing}: raw file missing or unreadable" in status
    assert "fix: put the raw file in place, then resume" in status

    (campaign.orders / failing).unlink()
    plain_command("extend", "stops", "-i", "1", status=0)
    campaign.ends("exhausted")
    assert campaign.picture().verdicts == [(1, "go_on"), (2, "limit")]
    dag = (campaign.folder / layout.dag_name(2)).read_text()
    assert done not in dag
    assert f"JOB {failing} reco" in dag
    assert [row["event"] for row in campaign.history() if row["subject"] == done] == ["started", "succeeded"]

    with no_job_begins():
        plain_command("extend", "stops", "-i", "1", status=0)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert (
            plain_command("stop", "stops").err
            == "error: cannot ask whether to stop stops: standard input is not a terminal; add --yes\n"
        )
        stopped = plain_command("stop", "stops", "--yes", status=0)
        assert "stops is removed: the DAG ended: it was " in stopped.out  # removed, or halted before any job ran
        assert plain_command("wait", "stops").status == 16
        assert "stops continues as job " in plain_command("resume", "stops", status=0).out
        assert plain_command("status", "stops").out.startswith(("stops  submitted\n", "stops  reconstructing\n"))
        assert plain_command("stop", "stops", "--yes").status == 0
    assert "removed -> submitted  resumed" in plain_command("history", "stops", "--campaign-only").out


def test_a_starved_campaign_offers_neither_resume_nor_extend(tmp_path: Path, plain_command: Command) -> None:
    """Mail and status of a campaign with too few tracks name the fix; resume and extend are refused with it."""
    config = {"notify": {"targets": ["me"], "events": ["end"]}}
    record = make_campaign(tmp_path / "few", files=1, config=config, name="few")
    folder, node = record["folder"], layout.mille_node(1, 1)
    reconstruct(record, 1, 400, "13.0")
    hook("pre", folder, node, 0, 2)
    why = "of 60 tracks no free parameter has the 25 measurements that solver.entries requires"
    Path(layout.job_log(folder, node, "err")).write_text(f"{why}\n")
    assert hook("post", folder, node, 0, 2, exit_codes.STATISTICS, "14.0", 0).returncode == exit_codes.FATAL
    hook("final", folder, "final", 2, 1)
    failure, _, cure = exit_codes.JOB_FAILURES[exit_codes.STATISTICS]
    make_due(folder)
    letter = compose(message_facts(folder, claimed(folder, final=True))).text
    for told in (letter, plain_command("status", folder, status=0).out):
        found = " ".join(told.split())
        assert [words for words in ("starved", failure, why, cure) if words not in found] == [], found
        assert "resume few" not in found
    for command in (("resume", folder), ("extend", folder, "-i", "1")):
        refused = plain_command(*command, status=2).err
        assert f"few is starved: {failure}" in refused
        assert cure in refused


def test_a_dagman_that_is_gone(pool: Pool, workdir: Path, plain_command: Command) -> None:
    """If the schedd does not know an unfinished campaign, every command says so, and none waits forever."""
    record = make_campaign(workdir / "gone", files=1, name="gone")
    folder = record["folder"]
    never = plain_command("status", folder)
    assert "it was never submitted: HTCondor's queue has no DAGMan of it" in never.out
    hook("pre", folder, layout.reco_node(1, 1, 400), 0, 2)
    status = plain_command("status", folder)
    assert "its DAGMan left HTCondor's queue without recording an end: no script will run any more" in status.out
    assert "next:\n  faser-align repair gone\nthen:\n  faser-align resume gone\n" in status.out
    wait = plain_command("wait", folder)
    assert (wait.status, wait.err) == (18, "")
    assert wait.out.startswith("gone is reconstructing, but its DAGMan left")
    watch = plain_command("watch", folder, status=1)
    assert watch.err.startswith("error: gone is reconstructing, but its DAGMan left")
    assert "so there is nothing to stop" in plain_command("stop", folder, "--yes", status=2).err
