"""Test verifying a state database: valid after all scripts, and all damage is found."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state import queries, verify

RESULT, BY_HAND = b"constants\n", b"constants of an expert\n"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Provide a campaign of two files that failed once, was resumed, and converged."""
    notify = {"targets": ["me", "group"], "events": ["end", "held"]}
    record = make_campaign(tmp_path_factory.mktemp("verify") / "campaign", files=2, config={"notify": notify})
    folder, node = record["folder"], layout.reco_node(1, 1, 400)
    hook("pre", folder, node, 0, 2)
    hook("hold", folder, node, "13.0", 0)
    hook("post", folder, node, 0, 2, exit_codes.RAW_MISSING, "13.0", 0)
    hook("final", folder, "final", 2, 1)
    # The helpers give every iteration the same result, and change the initial constants of iteration 3.
    found, by_hand = (hashlib.sha256(text).hexdigest() for text in (RESULT, BY_HAND))
    for i in (1, 2, 3, 4):
        Path(layout.constants_file(folder, 1, i)).write_bytes(BY_HAND if i == 3 else RESULT)
        constants = {"start_sha256": by_hand if i == 3 else found, "result_sha256": found, "changed_by_hand": i == 3}
        run_iteration(record, i, dag_id="14.0", constants=constants)
    return record


@pytest.fixture
def db(record: dict[str, Any]) -> Iterator[sqlite3.Connection]:
    """Return a copy of the campaign's database in memory, to be damaged."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with queries.published(record["folder"]) as published:
        published.backup(copy)
    yield copy
    copy.close()


def test_what_hooks_made_is_sound(db: sqlite3.Connection) -> None:
    """After a failure, a resumption and convergence verify finds nothing."""
    assert verify.findings(db) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE campaign SET state = 'failed'", "campaign is failed, and its history ends at converged"),
        ("DELETE FROM history WHERE event = 'resumed'", "reconstruction_started finds it submitted"),
        ("UPDATE history SET destination = 'diverged' WHERE event = 'converged'", "which the table does not allow"),
        ("UPDATE nodes SET state = 'done' WHERE node = 'mille_s1_i04'", ""),
        ("UPDATE nodes SET state = 'running' WHERE node = 'mille_s1_i04'", "mille_s1_i04 is running, and its history"),
        ("UPDATE nodes SET attempts = 7 WHERE node = 'mille_s1_i04'", "mille_s1_i04 counts 7 attempts and has 1"),
        ("UPDATE attempts SET closed_utc = '' WHERE node = 'mille_s1_i04'", "is done and has 1 open attempts"),
        ("DELETE FROM events WHERE phase = 'post' AND node = 'mille_s1_i04'", "no POST closed it"),
        ("UPDATE campaign SET lost = 1", "counts 1 dropped files and has 0"),
        ("DELETE FROM outbox WHERE target = 'me' AND kind = 'converged'", "converged has not exactly one message"),
        ("UPDATE outbox SET history_id = 1 WHERE kind = 'converged' AND target = 'me'", "exactly one message"),
        ("DELETE FROM history WHERE event = 'final_failed'", "refers to a row of history that is not there"),
    ],
)
def test_damage_is_found(db: sqlite3.Connection, damage: str, finding: str) -> None:
    """Each row that no script would write is named."""
    db.execute(damage)
    found = verify.findings(db)
    assert any(finding in sentence for sentence in found) if finding else found == []


@pytest.mark.parametrize(
    ("path_of", "what"),
    [
        (layout.result_file, "what iteration 2 of stage 1 found"),
        (layout.constants_file, "what iteration 2 of stage 1 started from"),
    ],
)
def test_constants_that_were_changed_are_found(
    record: dict[str, Any], db: sqlite3.Connection, path_of: Callable[[str, int, int], str], what: str
) -> None:
    """Constants that are missing, or differ from those of the job, are named with their file."""
    path = Path(path_of(record["folder"], 1, 2))
    path.write_text("other\n")
    (found,) = verify.findings(db)
    assert found == f"{path} is not {what}: its checksum differs"
    path.unlink()
    assert verify.findings(db) == [f"{path} is gone"]
    path.write_bytes(RESULT)


def test_metrics_that_were_changed_are_found(record: dict[str, Any], db: sqlite3.Connection) -> None:
    """A decision whose metrics differ from those on disk, or do not give it, is named."""
    path = Path(layout.metrics_file(record["folder"], 1, 2))
    original = path.read_text()
    path.write_text(original.replace('"used": 18000', '"used": 17999'))
    assert verify.findings(db) == [f"the metrics of iteration 2 of stage 1 are not those in {path}: tracks"]
    path.write_text("{")
    assert any("the metrics of iteration 2 of stage 1 cannot be read" in sentence for sentence in verify.findings(db))
    path.unlink()
    assert verify.findings(db) == [f"the decision on iteration 2 of stage 1 cannot be checked: {path} is gone"]
    path.write_text(original)
    db.execute("UPDATE iterations SET verdict = 'diverged' WHERE iteration = 2")
    assert verify.findings(db) == ["the decision on iteration 2 of stage 1 is diverged; its metrics say go_on"]


def test_constants_that_do_not_follow_are_found(db: sqlite3.Connection) -> None:
    """An iteration that started from other constants than it was given must say so."""
    db.execute(
        "UPDATE iterations SET metrics = json_set(metrics, '$.constants.changed_by_hand', json('false')) WHERE iteration = 3"
    )
    metrics, found = verify.findings(db)
    assert metrics.startswith("the metrics of iteration 3 of stage 1 are not those in ")
    assert metrics.endswith("/metrics.json: constants")
    assert found.startswith("iteration 3 of stage 1 did not start from what the iteration before it found")


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    """Damage that SQLite itself cannot read is reported, not raised."""
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database, but long enough to be looked at" * 40)
    db = sqlite3.connect(path)
    assert verify.findings(db) == ["SQLite cannot read it: file is not a database"]
    db.close()
