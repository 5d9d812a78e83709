"""Test views for SQLite tools, and the output of export."""

import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, make_old, run_iteration
from commandline import Command

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.reference.exports import EXPORTED as TABLES
from faser_align.state import database, queries, schema, views
from faser_align.state.describe import relations, schema_page

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"
BY_HAND = {"start_sha256": "1", "result_sha256": "2", "changed_by_hand": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Provide a campaign of two files with a failed node, whose first iteration is solved."""
    record = make_campaign(tmp_path_factory.mktemp("export") / "campaign", files=2)
    assert run_iteration(record, 1, constants=BY_HAND) == 0
    node = layout.reco_node(1, 2, 400)
    hook("pre", record["folder"], node, 0, 2)
    hook("post", record["folder"], node, 0, 2, exit_codes.RAW_MISSING, "77.0", 0)
    return str(record["folder"])


def test_any_sqlite_tool_reads_the_views(folder: str) -> None:
    """The snapshot has the three views, with plain columns for common questions."""
    db = sqlite3.connect(f"{folder}/{layout.PUBLISHED}")
    try:
        columns = "iteration, verdict, tracks_used, chi2_per_ndf, module_y_rms_um, module_y_largest_um, changed_by_hand"
        assert db.execute(f"SELECT {columns}, layer_x_rms_um FROM v_iterations").fetchall() == [
            (1, "go_on", 18000, 1.2, 30.0, -120.5, 1, None),
            (2, "", None, None, None, None, None, None),
        ]
        assert db.execute("SELECT wall_s > 0 FROM v_iterations").fetchall() == [(1,), (None,)]
        failed = "SELECT node, state, attempts, outcome, job_id, return_value, wall_s >= 0 FROM v_nodes WHERE state = 'failed'"
        status = exit_codes.RAW_MISSING
        assert db.execute(failed).fetchall() == [("reco_s1_i02_00400", "failed", 1, "failed", "77.0", status, 1)]
        assert db.execute("SELECT count(*) FROM v_nodes").fetchone() == (12,)
        reason = db.execute("SELECT reason FROM v_history WHERE event = 'failed'").fetchone()[0]
        assert reason == exit_codes.JOB_FAILURES[status][0]
        rows = db.execute("SELECT id FROM v_history").fetchall()
        assert rows == db.execute("SELECT id FROM history ORDER BY id").fetchall()
    finally:
        db.close()


def test_export_as_json(folder: str, plain_command: Command) -> None:
    """JSON of all tables is one document, with stored JSON decoded."""
    found: dict[str, Any] = json.loads(plain_command("export", folder).out)
    assert list(found) == ["campaign", *TABLES]
    assert found["campaign"]["state"] == "reconstructing"
    assert found["iterations"][0]["metrics"]["tracks"]["used"] == found["iterations"][0]["tracks_used"] == 18000
    assert found["iterations"][0]["criteria"][0]["name"]
    assert {row["node"] for row in found["nodes"] if row["state"] == "failed"} == {"reco_s1_i02_00400"}
    assert found["history"][0]["facts"]["files"] == 2
    one = json.loads(plain_command("export", folder, "--table", "nodes").out)
    assert one == found["nodes"]


def test_export_as_csv(folder: str, plain_command: Command, tmp_path: Path) -> None:
    """In CSV each table is a file with column names; None is an empty field."""
    done = plain_command("export", folder, "--format", "csv", "-o", str(tmp_path / "out"))
    assert done.out.splitlines() == [f"{tmp_path}/out/{name}.csv written" for name in TABLES]
    with queries.published(folder) as db:
        for name in TABLES:
            table = queries.view(db, f"v_{name}")
            with open(tmp_path / "out" / f"{name}.csv", newline="") as file:
                first, *others = csv.reader(file)
            assert tuple(first) == table.columns
            assert others == [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    again = plain_command("export", folder, "--format", "csv", "-o", str(tmp_path / "out"), status=2)
    assert "already exists; choose another name, or overwrite it with --force" in again.err
    assert plain_command("export", folder, "--format", "csv", "-o", str(tmp_path / "out"), "--force").status == 0
    said = plain_command("export", folder, "--format", "csv", "--table", "iterations").out
    assert said == (tmp_path / "out" / "iterations.csv").read_text()
    assert [row["iteration"] for row in csv.DictReader(io.StringIO(said))] == ["1", "2"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "xml"), "--format xml: must be json or csv"),
        (("--table", "outbox"), "--table outbox: must be history, iterations or nodes"),
        (("--format", "csv"), "add -o FOLDER, or --table"),
        (("-o", "/proc/none/x.json"), "the folder of /proc/none/x.json does not exist"),
        (("-o", "/proc"), "/proc is a folder; name a file in it"),
        (("-o", "/proc", "--force"), "/proc is a folder; name a file in it"),
    ],
)
def test_mistakes_of_export(folder: str, plain_command: Command, words: tuple[str, ...], sentence: str) -> None:
    """An unknown table, format or option is refused in one sentence that names the valid ones."""
    done = plain_command("export", folder, *words)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err


def test_an_older_store_is_exported_alike(folder: str, plain_command: Command, tmp_path: Path) -> None:
    """A copy with the first schema, which has no views, gives the same export."""
    expected = plain_command("export", folder).out
    older = tmp_path / "older"
    older.mkdir()
    (older / layout.RECORD).write_bytes(Path(folder, layout.RECORD).read_bytes())
    (older / layout.STATE).write_bytes(Path(folder, layout.STATE).read_bytes())
    make_old(str(older))
    assert plain_command("export", str(older)).out == expected


def test_every_column_is_explained() -> None:
    """Every table, view and column has a meaning, and the page has the schema numbers."""
    known = relations()
    assert {relation.name for relation in known} >= {
        *views.VIEWS,
        "campaign",
        "nodes",
        "history",
        "iterations",
        "outbox",
    }
    assert [relation.name for relation in known if not relation.meaning] == []
    assert [f"{r.name}.{c.name}" for r in known for c in r.columns if not c.meaning] == []
    assert f"schema {database.SCHEMA} " in schema_page()
    assert len(schema.names()) == database.SCHEMA


def test_the_examples_of_the_page_run(folder: str) -> None:
    """SQLite accepts the SQL on the page."""
    block = re.search(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    with queries.published(folder) as db:
        for statement in block[1].split(";"):
            if "SELECT" in statement:
                assert db.execute(statement).fetchall() is not None
