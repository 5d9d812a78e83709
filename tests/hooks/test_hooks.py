"""Test scripts as DAGMan calls them: as processes with a real state database."""

import concurrent.futures
import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from campaigns import HOOK, hook, make_campaign, metrics, run_iteration, write_metrics, write_output
from stored import seen
from taking import rows

from faser_align.campaign import changes, layout
from faser_align.fsm import exit_codes
from faser_align.hooks import hold, post
from faser_align.state import database, holds, queries, writer

HELD = "012 (033.000.000) 2026-11-24 08:00:0{0} Job was held.\n\tDisk quota {0}\n\tCode 13 Subcode 2\n...\n"


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Return a campaign of two files in a folder with a space, a percent sign, and text like an encoded space."""
    return make_campaign(tmp_path / "a b 100%20" / "campaign", files=2)


def state(record: dict[str, Any]) -> str:
    return str(seen(record["folder"], queries.campaign)["state"])


def told(record: dict[str, Any]) -> list[dict[str, Any]]:
    return seen(record["folder"], queries.history)


def node(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in seen(record["folder"], queries.nodes) if row["node"] == name)


def test_a_campaign_that_converges(record: dict[str, Any]) -> None:
    """PRE and POST of every node lead to converged, and only the last POST returns 42."""
    assert [run_iteration(record, i) for i in (1, 2, 3)] == [0, 0, 0]
    assert run_iteration(record, 4) == exit_codes.CONVERGED
    assert state(record) == "converged"
    assert hook("final", record["folder"], "final", 0, 1).returncode == 0
    assert state(record) == "converged"
    campaign = [row for row in told(record) if row["subject"] == "campaign"]
    assert [row["event"] for row in campaign] == [
        "created",
        "submitted",
        *["reconstruction_started", "solving_started", "go_on"] * 3,
        "reconstruction_started",
        "solving_started",
        "converged",
    ]
    assert all(row["ignored"] == "" for row in campaign)
    assert campaign[-1]["facts"]["effect_um"] == 0.1
    assert campaign[-1]["attempt"] == 1
    assert not Path(record["folder"], layout.HOOKS_LOG).exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"nan": True, "significance": None, "effect_um": None}, "diverged"), ({"tracks": {"used": 100}}, "starved")],
)
def test_an_end_without_success_fails_the_node_for_good(
    record: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    """A decision that ends without success returns the fatal status, and FINAL changes nothing."""
    assert run_iteration(record, 1, **change) == exit_codes.FATAL
    assert state(record) == expected
    assert hook("final", record["folder"], "final", 2, 1).returncode == 2
    assert state(record) == expected
    assert told(record)[-1]["ignored"] == f"a campaign that is {expected} takes no event final_failed"


def test_scripts_that_run_again_change_nothing(record: dict[str, Any]) -> None:
    """A repeated PRE, POST, HOLD or FINAL returns the same status and records nothing."""
    name, mille = layout.reco_node(1, 1, 400), layout.mille_node(1, 1)
    Path(layout.job_log(record["folder"], name, "err")).write_text("first\nno such file: /raw\n\n")
    calls = [
        ("pre", record["folder"], name, 0, 2),
        ("hold", record["folder"], name, "13.0", 0),
        ("post", record["folder"], name, 0, 2, exit_codes.RAW_MISSING, "13.0", 0),
        ("pre", record["folder"], mille, 0, 2),
        ("final", record["folder"], "final", 2, 1),
    ]
    for call in calls:
        first = hook(*call).returncode
        before = told(record)
        assert hook(*call).returncode == first
        assert told(record) == before
    failed = node(record, name)
    assert (failed["state"], failed["attempts"]) == ("failed", 1)
    assert failed["reason"] == "raw file missing or unreadable: no such file: /raw"
    assert state(record) == "failed"


@pytest.mark.parametrize("damage", [1, 999, 1000])
def test_a_job_without_a_whole_output_has_failed(record: dict[str, Any], damage: int) -> None:
    """POST fails a job with status 0 if its output is missing, truncated or not a ROOT file."""
    name = layout.reco_node(1, 1, 400)
    hook("pre", record["folder"], name, 0, 2)
    assert hook("post", record["folder"], name, 0, 2, 0, "13.0", 0).returncode == 1
    assert "No such file" in node(record, name)["reason"]
    hook("pre", record["folder"], name, 1, 2)
    write_output(record, 1, 1, 400, damage=damage)
    assert hook("post", record["folder"], name, 1, 2, 0, "14.0", 0).returncode == 1
    assert node(record, name)["reason"].startswith("no output")
    hook("pre", record["folder"], name, 2, 2)
    write_output(record, 1, 1, 400)
    assert hook("post", record["folder"], name, 2, 2, 0, "15.0", 0).returncode == 0
    assert node(record, name)["state"] == "done"


def test_a_mille_file_that_lost_its_end(record: dict[str, Any]) -> None:
    """POST compares the Mille file's size with that in its counts, if they have one."""
    name = layout.reco_node(1, 1, 400)
    mille = Path(layout.mille_file(record["data"], 1, 1, record["run"], 400))
    for attempt, (told, size, status) in enumerate(
        (('{"bytes_written":900}', 800, 1), ('{"files":1,"bytes_written":900,"chi2":1.5}', 900, 0))
    ):
        hook("pre", record["folder"], name, attempt, 2)
        write_output(record, 1, 1, 400)
        mille.write_bytes(b"x" * size)
        Path(f"{mille}.json").write_text(told)
        assert hook("post", record["folder"], name, attempt, 2, 0, f"{13 + attempt}.0", 0).returncode == status
        assert node(record, name)["reason"].endswith("has 800 bytes and should have 900" if status else "")
    assert node(record, name)["state"] == "done"


def test_output_is_looked_for_where_the_data_were_moved(record: dict[str, Any], tmp_path: Path) -> None:
    """A script uses the snapshot, and the manifest after a move, which the snapshot may not have yet."""
    name, folder = layout.reco_node(1, 1, 400), record["folder"]
    write_output(record, 1, 1, 400)
    assert post.output_problem(folder, name) is None
    moved = tmp_path / "elsewhere"
    about = {"id": "1", "utc": "2026-11-24T08:00:00.000Z", "who": "me", "host": "ap"}
    changes.write(folder, [{**about, "key": changes.DATA, "before": record["data"], "after": str(moved)}])
    assert str(moved) in str(post.output_problem(folder, name))
    changes.write(folder, [])
    assert post.output_problem(folder, name) is None
    Path(folder, layout.PUBLISHED).unlink()
    assert post.output_problem(folder, name) is None


def test_a_hold_is_told_with_its_reason(record: dict[str, Any]) -> None:
    """HOLD reads time and reason from the nodes log; a second hold of the job is recorded separately."""
    name, folder = layout.reco_node(1, 1, 401), record["folder"]
    hook("pre", folder, name, 0, 2)
    log = Path(folder, layout.NODES_LOG)
    for i in (1, 2):
        with log.open("a") as file:
            file.write("001 (033.000.000) 2026-11-24 08:00:00 Job executing on host: <x>\n...\n" + HELD.format(i))
        assert hook("hold", folder, name, "33.0", 0).returncode == 0
        assert (node(record, name)["state"], node(record, name)["reason"]) == ("held", f"Disk quota {i}")
    assert len([row for row in told(record) if row["event"] == "held"]) == 2
    write_output(record, 1, 1, 401)
    assert hook("post", folder, name, 0, 2, 0, "33.0", 0).returncode == 0
    assert (node(record, name)["state"], node(record, name)["reason"]) == ("done", "")
    hook("hold", folder, name, "33.9", 0)
    assert node(record, name)["state"] == "done"
    assert told(record)[-1]["ignored"] == "a node that is done takes no event held"


def test_another_try_waits_for_its_time(record: dict[str, Any]) -> None:
    """PRE of a retry is deferred for the wait since the last attempt; that of another DAGMan is not."""
    name, folder = layout.reco_node(1, 1, 400), record["folder"]
    for retry in (0, 1):
        assert hook("pre", folder, name, retry, 2).returncode == 0
        assert hook("post", folder, name, retry, 2, 1, f"{13 + retry}.0", 0).returncode == 1
    assert hook("pre", folder, name, 2, 2, 3600).returncode == exit_codes.DEFER
    assert node(record, name)["attempts"] == 2
    assert hook("pre", folder, name, 0, 2, 3600, dag_id="20.0").returncode == 0


def test_a_job_held_again_before_its_hook_came_was_held_twice(record: dict[str, Any]) -> None:
    """DAGMan runs HOLD scripts one by one: the first may run after the second hold and record both; the second then records nothing."""
    name, folder = layout.reco_node(1, 1, 401), record["folder"]
    hook("pre", folder, name, 0, 2)
    other = HELD.format(9).replace("033.000", "034.000")
    Path(folder, layout.NODES_LOG).write_text(HELD.format(1) + other + HELD.format(2))
    for _ in range(2):
        assert hook("hold", folder, name, "33.0", 0).returncode == 0
        assert [row["facts"] for row in told(record) if row["event"] == "held"] == [
            {"reason": f"Disk quota {i}", "held_at": f"2026-11-24 08:00:0{i}"} for i in (1, 2)
        ]
        assert (node(record, name)["state"], node(record, name)["reason"]) == ("held", "Disk quota 2")


def test_only_the_last_hold_says_whether_the_store_can_be_written(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first hold in the event queue is ingested by the second, after which the script publishes and sends."""
    folder, name = record["folder"], layout.reco_node(1, 1, 401)
    Path(folder, layout.NODES_LOG).write_text(HELD.format(1) + HELD.format(2))
    take = writer.take

    def locked(folder: str, event: Any, before: Any) -> int:
        monkeypatch.undo()
        raise sqlite3.OperationalError("database is locked")

    event = {"phase": "hold", "dag_id": "12.0", "node": name, "utc": database.utc(), "host": "ap", "exit": 0}
    take(folder, {**event, "phase": "pre", "retry": 0})
    monkeypatch.setattr(writer, "take", locked)
    event["job_id"] = "33.0"
    assert hold.record(folder, event, holds.read(folder)) == (0, True)
    with contextlib.closing(database.connect(folder)) as db:
        held_at = db.execute("SELECT facts ->> 'held_at' FROM history WHERE event = 'held' ORDER BY id").fetchall()
    assert held_at == [("2026-11-24 08:00:01",), ("2026-11-24 08:00:02",)]


def test_a_lost_file_within_the_quorum_is_passed_over_later(tmp_path: Path) -> None:
    """A file that fails for good is dropped, its node succeeds, and later iterations omit it."""
    record = make_campaign(tmp_path / "campaign", files=4, config={"reconstruction": {"min_files": 0.75}})
    folder = record["folder"]
    lost = layout.reco_node(1, 1, 401)
    hook("pre", folder, lost, 2, 2)
    assert hook("post", folder, lost, 2, 2, exit_codes.CRASHED, "13.0", 0).returncode == 0
    assert node(record, lost)["state"] == "lost"
    second = layout.reco_node(1, 1, 402)
    hook("pre", folder, second, 2, 2)
    assert hook("post", folder, second, 2, 2, exit_codes.CRASHED, "14.0", 0).returncode == 1
    assert node(record, second)["state"] == "failed"
    assert hook("pre", folder, layout.mille_node(1, 1), 0, 2).returncode == 0
    assert json.loads(Path(layout.lost_file(folder, 1, 1)).read_text()) == [401]
    later = layout.reco_node(1, 2, 401)
    assert hook("pre", folder, later, 0, 2).returncode == exit_codes.SKIP
    assert hook("pre", folder, later, 0, 2).returncode == exit_codes.SKIP
    assert node(record, later)["state"] == "skipped"


def test_a_solution_without_metrics_fails(record: dict[str, Any]) -> None:
    """A Millepede job without metrics, or with another iteration's, is a fatal failure, and nothing is judged."""
    name, folder = layout.mille_node(1, 1), record["folder"]
    hook("pre", folder, name, 0, 2)
    assert hook("post", folder, name, 0, 2, 0, "13.0", 0).returncode == exit_codes.FATAL
    hook("pre", folder, name, 0, 2)
    write_metrics(record, metrics(2))
    Path(layout.metrics_file(folder, 1, 2)).rename(layout.metrics_file(folder, 1, 1))
    assert hook("post", folder, name, 0, 2, 0, "14.0", 0).returncode == exit_codes.FATAL
    assert "is not the metrics of stage 1, iteration 1" in node(record, name)["reason"]


def test_an_unwritable_store_spools_and_the_next_hook_replays(record: dict[str, Any]) -> None:
    """While the state database is unavailable the job's outcome is returned; the events are recorded later, in order."""
    name, folder = layout.reco_node(1, 1, 400), Path(record["folder"])
    store = folder / layout.STATE
    store.rename(folder / "away.db")
    assert hook("pre", folder, name, 0, 2).returncode == 0
    write_output(record, 1, 1, 400)
    assert hook("post", folder, name, 0, 2, 0, "13.0", 0).returncode == 0
    assert not store.exists()
    assert len(list((folder / layout.SPOOL).glob("*.json"))) == 2
    (folder / "away.db").rename(store)
    (folder / layout.SPOOL / "9000000000000000.json").write_text("no json")
    hook("pre", folder, layout.reco_node(1, 1, 401), 0, 2)
    assert node(record, name)["state"] == "done"
    assert list((folder / layout.SPOOL).glob("*.json")) == []
    assert [row["ignored"].split(":")[0] for row in told(record) if row["event"] == "spooled"] == [
        "the file 9000000000000000.json of the fallback event queue was quarantined"
    ]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("post", "/nowhere", "reco_s1_i01_00400", 0, 2, 0, "1.0", 0), 0),
        (("post", "/nowhere", "reco_s1_i01_00400", 0, 2, -9, "1.0", 0), 1),
        (("post", "/nowhere", "reco_s1_i01_00400", 0, 2, 42, "1.0", 0), 1),
        (("post", "/nowhere", "reco_s1_i01_00400", 0, 2, 77, "1.0", 0), 1),
        (("post", "/nowhere", "reco_s1_i01_00400", 0, 2, exit_codes.RAW_MISSING, "1.0", 0), exit_codes.FATAL),
        (("pre", "/nowhere", "reco_s1_i01_00400", 0, 2), 0),
        (("hold", "/nowhere", "reco_s1_i01_00400", "1.0", 0), 0),
        *((("final", "/nowhere", "final", status, 0), 0 if status == 3 else status) for status in range(7)),
        (("final", "/nowhere", "final", 2, 1), 2),
        (("final", "/nowhere", "final", 0, 1), 0),
        (("nonsense", "/nowhere", "final", 0, 1), 0),
        (("pre", "/nowhere", "no_node", 0, 2), 0),
    ],
)
def test_a_hook_never_fails_a_node_because_of_itself(call: tuple[Any, ...], expected: int) -> None:
    """Without any campaign DAGMan still gets the job's own outcome, and never a special status."""
    assert hook(*call).returncode == expected


def test_the_hot_set_loads_the_standard_library_only(record: dict[str, Any]) -> None:
    """PRE and POST of a reconstruction import sqlite3 and our own light modules, nothing else that is slow."""
    name = layout.reco_node(1, 1, 400)
    hook("pre", record["folder"], layout.reco_node(1, 1, 401), 0, 2)
    program = (
        "import sys; sys.argv = ['run.py', *sys.argv[1:]]\n"
        f"sys.path.insert(0, {str(Path(HOOK).parents[2])!r})\n"
        "from faser_align.hooks import sqlite\n"
        "sqlite.load()\n"
        "from faser_align.hooks import entry\n"
        "status = entry.main(sys.argv[1:])\n"
        "print(' '.join(sorted(sys.modules)))\n"
        "raise SystemExit(status)\n"
    )
    ours = {"hooks", "hooks.entry", "campaign", "campaign.layout", "fsm", "fsm.events", "fsm.exit_codes"}
    ours |= {"fsm.reaction", "fsm.reduce", "fsm.table", "state", "state.database", "state.publish", "state.spool"}
    ours |= {"hooks.sqlite", "state.writer", "state.write", "state.write.load", "state.write.save"}
    further = {"pre": {"hooks.pre"}, "post": {"hooks.post", "system", "system.root_file"}}
    dear = {"dataclasses", "enum", "inspect", "json", "logging", "pathlib", "re", "signal", "site", "subprocess"}
    dear |= {"collections", "functools", "typing"}
    write_output(record, 1, 1, 400)
    for call in (("pre", name, 0, 2), ("post", name, 0, 2, 0, "13.0", 0)):
        answer = hook(call[0], record["folder"], *call[1:], interpreter=(sys.executable, "-I", "-S", "-c", program))
        assert answer.returncode == 0, answer.stderr
        loaded = set(answer.stdout.split())
        packages = {name.partition(".")[2] for name in loaded if name.startswith("faser_align.")}
        assert packages == ours | further[call[0]]
        assert loaded & dear == set()


@pytest.mark.parametrize(
    ("before", "after"), [("", "import functools"), ("import functools", ""), ("sqlite.NEWEST = (3, 10)", "")]
)
def test_sqlite_is_loaded_without_functools(before: str, after: str, tmp_path: Path) -> None:
    """A connection prepares and reuses statements, and code that imports functools gets the real one, in either
    order."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(HOOK).parents[2])!r})\n"
        f"from faser_align.hooks import sqlite\n{before}\nsqlite.load()\n{after}\n"
        "import _sqlite3\n"
        f"db = _sqlite3.connect({str(tmp_path / 'some.db')!r}, cached_statements=2)\n"
        "db.execute('CREATE TABLE t (x)')\n"
        "for x in range(9): db.execute('INSERT INTO t VALUES (?)', (x,))\n"
        "print(db.execute('SELECT sum(x) FROM t').fetchone()[0])\n"
        "import functools\n"
        "print(functools.cache(abs)(-3), functools.partial is not None)\n"
    )
    said = subprocess.check_output([sys.executable, "-I", "-S", "-c", program], text=True)
    assert said.split() == ["36", "3", "True"]


def test_two_hooks_at_the_same_moment_do_the_work_once(record: dict[str, Any]) -> None:
    """Of several simultaneous copies of a script, one does the work and all return the same status."""
    name = layout.reco_node(1, 1, 400)
    with concurrent.futures.ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda _: hook("pre", record["folder"], name, 0, 2).returncode, range(8)))
    assert answers == [0] * 8
    assert node(record, name)["attempts"] == 1
    assert rows(record["folder"], "SELECT count(*) FROM attempts") == [(1,)]
