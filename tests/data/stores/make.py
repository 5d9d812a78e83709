"""Make the state database of a campaign with this version of the program: ``make.py FOLDER`` (see README.md)."""

import json
import os
import sqlite3
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from campaigns import hook, make_campaign, run_iteration  # type: ignore[import-not-found]

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.state.create import record_submitted

NAME = "Y2023_R011705_F400-401"
PLACE, TARGETS = f"/data/{NAME}", "/home/you/.config/faser-align/targets.toml"


def make(target: Path) -> None:
    """Make a campaign with a held job that failed, was resumed, and is in its third iteration."""
    with tempfile.TemporaryDirectory() as scratch:
        notify = {"targets": ["me", "group"], "events": ["end", "held"], "file": TARGETS}
        record = make_campaign(Path(scratch, NAME), files=2, config={"notify": notify}, name=NAME)
        folder, node = record["folder"], layout.reco_node(1, 1, 400)
        record_submitted(folder, 12)
        hook("pre", folder, node, 0, 2)
        hook("hold", folder, node, "13.0", 0)
        hook("post", folder, node, 0, 2, exit_codes.RAW_MISSING, "13.0", 0)
        hook("final", folder, "final", 2, 1)
        record_submitted(folder, 14, resumed=True)
        for iteration in (1, 2):
            run_iteration(record, iteration, dag_id="14.0")
        hook("pre", folder, layout.reco_node(1, 3, 400), 0, 2, dag_id="14.0")
        _keep(folder, record, target)


def _keep(folder: str, record: dict[str, object], target: Path) -> None:
    """Write the files with the names of another place and another machine."""
    db = sqlite3.connect(f"{folder}/{layout.STATE}", isolation_level=None)
    db.execute("UPDATE campaign SET folder = ?, data = ?", (PLACE, PLACE))
    for table in ("history", "attempts"):
        db.execute(f"UPDATE {table} SET host = 'ap.example.org' WHERE host = ?", (os.uname().nodename,))
    db.execute("UPDATE history SET facts = replace(facts, ?, ?)", (folder, PLACE))
    db.execute("VACUUM INTO ?", (str(target / layout.STATE),))
    db.close()
    record |= {"folder": PLACE, "data": PLACE, "python": "/data/venv/bin/python", "hook": "/data/venv/hooks/run.py"}
    (target / layout.RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
