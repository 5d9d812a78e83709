"""Record campaigns on a real pool: ``make.py FOLDER``, as an ordinary user, in a folder outside /tmp (see README.md)."""

import io
import json
import os
import re
import signal
import sqlite3
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from campaigns import make_campaign, metrics  # type: ignore[import-not-found]

from faser_align.campaign import layout
from faser_align.dag.render import render
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool import personal
from faser_align.state import create

HERE = Path(__file__).parent
LOGS = ("jobstate.log", "scripts.log", "jobs.log", "alignment.dag.dagman.out", "alignment.dag.dagman.log")
KEPT = (*LOGS, layout.DAG, layout.RECORD, layout.STATE)
STEPS = [{"name": "IFT fix layer", "fix": ["layer", "3ST"]}]


class Recorded:
    """A campaign on the pool; its faults are lines by node."""

    def __init__(self, root: Path, name: str, faults: dict[str, str], files: int = 2, **config: Any) -> None:
        told = {"targets": ["me"], "file": str(root / "targets.toml"), "events": ["end", "held", "lost"]}
        config = {"notify": told, "htcondor": {"scan_interval_s": 1, "retries": 1}, **config}
        self.record = make_campaign(root / name, files=files, config=config, name=name)
        self.folder = root / name
        for stage, number in layout.iterations(self.record):
            value = metrics(number, stage=stage, files=files)
            path = Path(layout.metrics_file(str(self.folder), stage, number))
            path.with_name("prepared.json").write_text(json.dumps(value))
            Path(layout.result_file(str(self.folder), stage, number)).write_text("constants\n")
        (self.folder / "faults").mkdir()
        for node, lines in faults.items():
            (self.folder / "faults" / node).write_text(lines)
        text = re.sub(r'arguments = ".*"', f'arguments = "-I -S {HERE}/job.py $(JOB)"', render(self.record))
        (self.folder / layout.DAG).write_text(text)

    def run(self, *, resumed: bool = False) -> int:
        from faser_align.dag import submit

        cluster = (submit.resume_dag if resumed else submit.submit_dag)(SCHEDD[0], str(self.folder))
        create.record_submitted(str(self.folder), cluster, resumed=resumed)
        return cluster

    def run_and_wait(self, *, resumed: bool = False) -> None:
        self.run(resumed=resumed)
        self.wait()

    def wait(self) -> None:
        from faser_align.dag.submit import dagman_jobs

        self.until(lambda: not dagman_jobs(SCHEDD[0], str(self.folder)))

    def until(self, condition: Callable[[], Any], wait_s: float = 150.0) -> Any:
        deadline = time.monotonic() + wait_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.folder.name} does not get on")
            time.sleep(0.2)
        return found

    def says(self, words: str, log: str = layout.JOBSTATE_LOG) -> list[str]:
        """Return the log's messages that begin with ``words`` after the time."""
        path = self.folder / log

        def look() -> list[str]:
            lines = path.read_text().splitlines() if path.exists() else []
            return [line for line in lines if words in line]

        found: list[str] = self.until(look)
        return found

    def job(self, node: str) -> str:
        """Return the id of the node's latest job, once it runs."""
        return self.says(f"{node} EXECUTE")[-1].split()[3]

    def act(self, what: str, job: str) -> None:
        import htcondor2

        SCHEDD[0].act(getattr(htcondor2.JobAction, what), job, reason=f"a {what.lower()} for the record")


SCHEDD: list[Any] = []
FIRST, SECOND = layout.reco_node(1, 1, 400), layout.reco_node(1, 1, 401)


def converged(root: Path) -> None:
    Recorded(root, "converged", {}, campaign={"iterations": 5}).run_and_wait()


def failed(root: Path) -> None:
    """Record a node that fails for good; the resumed campaign fails once more on the way, and converges."""
    one = Recorded(root, "failed", {layout.reco_node(1, 2, 401): "63 63 63"}, campaign={"iterations": 5})
    one.run_and_wait()
    one.run_and_wait(resumed=True)


def held(root: Path) -> None:
    """Record two held jobs, one of them held twice, and their release."""
    one = Recorded(root, "held", {FIRST: "sleep", SECOND: "sleep"}, campaign={"iterations": 2})
    one.run()
    first, second = one.job(FIRST), one.job(SECOND)
    for job in (first, second, second):
        one.until(lambda job=job: _runs(job))
        one.act("Hold", job)
        time.sleep(3)
        (one.folder / "faults" / SECOND).write_text("sleep")
        one.act("Release", job)
    one.until(lambda: _runs(second))
    (one.folder / "faults" / SECOND).unlink(missing_ok=True)
    one.act("Vacate", second)
    one.wait()


def _runs(job: str) -> bool:
    return any(ad["JobStatus"] == 2 for ad in SCHEDD[0].query(f"ClusterId == {int(float(job))}", ["JobStatus"]))


def removed(root: Path) -> None:
    """Record a stop and a resume."""
    from faser_align.dag.submit import stop_dag

    one = Recorded(root, "removed", {SECOND: "sleep"}, campaign={"iterations": 2})
    cluster = one.run()
    one.job(SECOND)
    one.says(f"{FIRST} POST_SCRIPT_SUCCESS")
    stop_dag(SCHEDD[0], str(one.folder), cluster)
    one.wait()
    one.run_and_wait(resumed=True)


def gone(root: Path) -> None:
    """Record the removal of a held DAGMan: no last script runs."""
    one = Recorded(root, "gone", {SECOND: "sleep"}, campaign={"iterations": 2})
    cluster = one.run()
    one.job(SECOND)
    one.says(f"{FIRST} POST_SCRIPT_SUCCESS")
    one.act("Hold", f"{cluster}.0")
    time.sleep(3)
    one.act("Remove", f"{cluster}.0")
    one.wait()


def killed(root: Path) -> None:
    """Record a killed DAGMan that recovers, a job killed by a signal, and a removed job."""
    one = Recorded(root, "killed", {FIRST: "63", layout.reco_node(1, 2, 400): "sleep"}, campaign={"iterations": 2})
    one.run()
    one.says(f"{FIRST} POST_SCRIPT_TERMINATED")
    os.kill(int(one.says("PID = ", layout.DAGMAN_OUT)[-1].split("PID = ")[1].split()[0]), signal.SIGKILL)
    one.act("Remove", one.job(layout.reco_node(1, 2, 400)))
    one.wait()


def lost(root: Path) -> None:
    """Record a campaign that drops one of three files, as allowed."""
    quorum = {"min_files": 0.6}
    Recorded(root, "lost", {SECOND: "61"}, 3, campaign={"iterations": 2}, reconstruction=quorum).run_and_wait()


def stages(root: Path) -> None:
    """Record two stages that converge early, so that the rest of the first is skipped."""
    described = [{"name": name, "iterations": 4, "steps": STEPS} for name in ("one", "two")]
    Recorded(root, "stages", {}, stages=described, convergence={"patience": 1}).run_and_wait()


def keep(folder: Path, target: Path) -> None:
    """Pack a campaign with the names of another place and another machine."""
    place = f"/data/{folder.name}"
    names = {
        f"{folder}": place,
        f"{folder.parent}": "/data",
        f"{HERE}/job.py": "/data/job.py",
        sys.executable: "/data/venv/bin/python",
        os.path.dirname(os.path.dirname(__import__("faser_align").__file__)): "/data/venv/lib",
        f"(by user {os.environ.get('USER') or Path.home().name})": "(by user you)",
    }
    host = os.uname().nodename
    with tarfile.open(target / f"{folder.name}.tar.gz", "w:gz") as archive:
        said = [path for path in folder.rglob(f"*/{layout.LOGS}/*.err") if path.stat().st_size]
        for path in sorted([*(folder / name for name in KEPT), *folder.rglob(f"*/{layout.METRICS}"), *said]):
            data = _store(path, names, host) if path.name == layout.STATE else _text(path, names, host)
            member = tarfile.TarInfo(str(path.relative_to(folder)))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _text(path: Path, names: dict[str, str], host: str) -> bytes:
    text = path.read_text()
    for now, then in names.items():
        text = text.replace(now, then)
    return text.replace(f"alias={host}", "alias=ap").replace(f"@{host}", "@ap").encode()


def _store(path: Path, names: dict[str, str], host: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("VACUUM INTO ?", (f"{scratch}/state.db",))
        db.close()
        db = sqlite3.connect(f"{scratch}/state.db", isolation_level=None)
        for now, then in names.items():
            db.execute(
                "UPDATE campaign SET folder = replace(folder, ?, ?), data = replace(data, ?, ?)", (now, then) * 2
            )
            db.execute("UPDATE history SET facts = replace(facts, ?, ?)", (now, then))
            db.execute("UPDATE nodes SET reason = replace(reason, ?, ?)", (now, then))
        for table in ("history", "attempts"):
            db.execute(f"UPDATE {table} SET host = 'ap' WHERE host = ?", (host,))
        db.execute("VACUUM")
        db.close()
        return Path(scratch, "state.db").read_bytes()


CASES = (converged, failed, held, removed, gone, killed, lost, stages)


def main(target: Path, *wanted: str) -> None:
    root = Path(tempfile.mkdtemp(prefix="recorded-", dir="/var/tmp"))
    personal.start(root / "pool", cpus=2)
    personal.use(root / "pool")
    from faser_align.pool.schedd import schedd

    SCHEDD.append(schedd("personal", root / "pool"))
    try:
        with Mailbox(root / "mail") as mailbox:
            (root / "targets.toml").write_text(f'[targets]\nme = "{mailbox.url("me@example.org")}"\n')
            (root / "targets.toml").chmod(0o600)
            chosen = [case for case in CASES if not wanted or case.__name__ in wanted]
            threads = [threading.Thread(target=case, args=(root,)) for case in chosen]
            for thread in threads:
                thread.start()
                time.sleep(1)
            for thread in threads:
                thread.join()
    finally:
        personal.stop(root / "pool")
    for case in chosen:
        keep(root / case.__name__, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
