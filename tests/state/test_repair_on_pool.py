"""Test repairing campaigns from a real pool with the command."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import htcondor2
import pytest
from poolcampaigns import PoolCampaign
from recorded import picture
from stored import dump

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool.personal import Pool


@pytest.fixture
def mailbox(workdir: Path) -> Iterator[Mailbox]:
    """Provide a mail server, and a targets file with it as ``me``."""
    with Mailbox(workdir / "mail") as received:
        targets = workdir / "targets.toml"
        targets.write_text(f'[targets]\nme = "{received.url("me@example.org")}"\n')
        targets.chmod(0o600)
        yield received


def campaign(workdir: Path, name: str, *, fails: dict[str, int] | None = None, wait_s: float = 0.1) -> PoolCampaign:
    """Make a campaign of two files that converged in the second iteration, without retries."""
    notify = {"targets": ["me"], "file": str(workdir / "targets.toml")}
    config = {"notify": notify, "htcondor": {"retries": 0}}
    return PoolCampaign(workdir / name, files=2, iterations=3, quiet_from=2, wait_s=wait_s, fails=fails, config=config)


def subjects(mailbox: Mailbox) -> list[str]:
    return [str(letter["Subject"]).split()[2] for letter in mailbox.messages()]


def test_a_lost_store_comes_back(pool: Pool, workdir: Path, mailbox: Mailbox) -> None:
    """After a failure, resumption and convergence, repair restores the database in every case and notifies nobody."""
    node = layout.reco_node(1, 1, 401)
    one = campaign(workdir, "lost-store", fails={node: 63})
    store, published, redo = (one.folder / name for name in (layout.STATE, layout.PUBLISHED, layout.REDO))
    one.submit()
    assert one.wait_end() == "failed"
    older = workdir / "older.db"
    shutil.copy(store, older)
    (one.orders / node).unlink()
    (one.orders / "wait_s").write_text("600")
    assert one.command("resume").returncode == 0
    refused = one.command("repair")
    (one.orders / "wait_s").write_text("0.1")
    assert refused.returncode == 2
    assert "and its scripts write the state database; stop it with `faser-align stop lost-store`" in refused.stderr
    one.ends("converged")
    idle = one.command("repair")
    assert (idle.returncode, idle.stdout) == (0, "lost-store: nothing to repair; it is converged\n")
    original, whole = picture(store, words=True), dump(store)
    letters = subjects(mailbox)
    assert letters == ["failed", "converged"]

    def look() -> list[tuple[str, int]]:
        return [(path.name, path.stat().st_mtime_ns) for path in sorted(one.folder.iterdir())]

    def check(words: str, *, exact: bool) -> None:
        done = one.command("repair", "--without-htcondor")
        assert done.returncode == 0, done
        assert words in done.stdout
        assert len(done.stdout.splitlines()) < 24
        assert one.unsound() == []
        if exact:
            assert dump(store) == whole
        again = picture(store, words=True)
        for part in original:
            assert again[part] == original[part], part

    store.write_bytes(store.read_bytes()[:20000])
    check("made from the snapshot", exact=True)
    store.unlink()
    check("made from the snapshot", exact=True)
    shutil.copy(older, store)
    check("made from the snapshot", exact=True)
    shutil.copy(older, store)
    shutil.copy(older, published)
    check("made from the redo log", exact=True)
    shutil.copy(older, store)
    shutil.copy(older, published)
    redo.unlink()
    check("made from the state database, and ", exact=False)
    store.unlink()
    published.unlink()
    redo.unlink()
    before = look()
    dry = one.command("repair", "--dry-run")
    assert (dry.returncode, "made from the logs" in dry.stdout, "nothing was changed" in dry.stdout) == (0, True, True)
    assert look() == before
    check("made from the logs of DAGMan: ", exact=False)
    assert subjects(mailbox) == letters
    assert one.command("verify").returncode == 0
    assert json.loads(one.command("repair", "--json").stdout)["after"]["state"] == "converged"


def test_a_campaign_whose_dagman_is_gone_is_closed(pool: Pool, workdir: Path, mailbox: Mailbox) -> None:
    """After the removal of a held DAGMan repair closes the campaign and notifies its end, and it can be resumed."""
    one = campaign(workdir, "gone", wait_s=600.0)
    cluster = one.submit()
    one.wait(lambda: one.state() == "reconstructing" and len(one.jobs(status=2)) == 2)
    assert one.act(htcondor2.JobAction.Hold, f"{cluster}.0")
    one.wait(lambda: any(job.status == 5 for job in one.dagmans() or ()))
    one.wait(lambda: not one.dagman_pids())  # a running one would handle its removal, and call FINAL
    assert one.act(htcondor2.JobAction.Remove, f"{cluster}.0")
    assert one.wait_end() == "reconstructing"
    done = one.command("repair")
    assert done.returncode == 0, done
    assert "state: reconstructing -> removed" in done.stdout
    assert f"closed as removed: DAGMan {cluster}.0 was removed at " in done.stdout
    assert "1 pending message sent" in done.stdout
    assert "next: faser-align resume gone" in done.stdout
    assert subjects(mailbox) == ["removed"]
    assert one.command("wait").returncode == 16
    assert one.command("verify").returncode == 0
    (one.orders / "wait_s").write_text("0.1")
    resumed = one.command("resume")
    assert resumed.returncode == 0, resumed
    one.ends("converged")
    assert sorted(subjects(mailbox)) == ["converged", "removed"]


def test_a_schedd_that_does_not_answer(
    pool: Pool, workdir: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repair refuses if it is unknown whether a DAGMan runs, unless the user says that none does."""
    one = campaign(workdir, "unasked")
    monkeypatch.setenv("FASER_ALIGN_POOL", str(workdir / "no-pool"))
    left = one.command("repair")
    assert left.returncode == 1
    assert "cannot tell whether a DAGMan of unasked is in HTCondor's queue: no pool in " in left.stderr
    assert "If you are sure that there is none, add --without-htcondor" in left.stderr
    sure = one.command("repair", "--without-htcondor")
    assert (sure.returncode, sure.stdout) == (0, "unasked: nothing to repair; it is created\n")
