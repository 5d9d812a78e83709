"""Make campaigns for tests: manifest, state database, metrics, and the hook program run as by DAGMan."""

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import forking

import faser_align
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.config.schema import Config
from faser_align.state import publish, views
from faser_align.state.create import create_store

# As in the manifest: not resolved, because a checkout's packages are links.
HOOK = os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "run.py")
NAME = "Y2023_R011705_F400-405"
IFT_LOCAL = {"name": "IFT local", "steps": [{"name": "IFT fix layer", "fix": ["layer", "3ST"]}]}


def manifest(config: Config, folder: Path | str = "/campaign", **changes: Any) -> dict[str, Any]:
    """Return the manifest of a campaign of two raw files, without making it."""
    about = {"name": "C", "year": 2023, "run": "011705", "files": [400, 401], "constants": "/start.txt"}
    made = {"sha256": "0" * 64, "created_utc": "2026-11-24T07:30:00Z"}
    return make_record(config, folder=str(folder), **{**about, **made, **changes})


def make_campaign(
    folder: Path, *, files: int = 6, first: int = 400, config: dict[str, Any] | None = None, name: str = NAME
) -> dict[str, Any]:
    """Make folder, manifest and state database of a campaign as a submission does, without a DAG; return the manifest."""
    values: dict[str, Any] = {"simulation": {"truth": "/truth.txt"}, "stages": [IFT_LOCAL], **(config or {})}
    values["campaign"] = {"iterations": 4, **values.get("campaign", {})}
    folder.mkdir(parents=True)
    record = manifest(Config.model_validate(values), folder, name=name, files=list(range(first, first + files)))
    write_record(f"{folder}/{layout.RECORD}", record)
    for stage, described in enumerate(record["stages"], start=1):
        for iteration in range(1, described["iterations"] + 1):
            for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
                Path(layout.iteration_folder(str(folder), stage, iteration), part, "logs").mkdir(parents=True)
    create_store(str(folder), record)
    return record


def metrics(iteration: int, *, stage: int = 1, files: int = 6, **changes: Any) -> dict[str, Any]:
    """Return metrics of a healthy iteration, below the limits from the third on."""
    quiet = iteration >= 3
    return {
        "format": 1,
        "stage": stage,
        "iteration": iteration,
        "files": {"expected": files, "used": files, "lost": []},
        "tracks": {"read": 20000, "used": 18000, "cut": {"chi2": 0, "pz": 1500, "hits": 500}},
        "hits": {"read": 400000, "kept": 399000, "modules": {"000": [1000, 2]}},
        "residual_max_mm": 0.05,
        "residual_max_final": iteration > 1,
        "chi2_per_ndf": 1.003 if quiet else 1.2,
        "solver": {"backend": "builtin", "end_code": 1, "end_text": "Ended with warnings (bad measurements)"},
        "steps": [{"name": "IFT fix layer", "free_parameters": 66, "measurements": 399000, "entries_fixed": []}],
        "significance": 0.004 if quiet else 5.0 / iteration,
        "effect_um": 0.1 if quiet else 9.0 / iteration,
        "corrections": {
            "module.y": {"rms": 30.0 / iteration, "largest": -120.5 / iteration, "where": "003", "unit": "um"},
            "module.rz": {"rms": 80.0, "largest": 200.0, "where": "004", "unit": "urad"},
        },
        "relative": 0.0001,
        "nan": False,
        "wall_s": 1.5,
        **changes,
    }


def write_metrics(record: dict[str, Any], value: dict[str, Any]) -> None:
    """Write ``metrics.json`` and the constants where the Millepede job writes them."""
    path = Path(layout.metrics_file(record["folder"], value["stage"], value["iteration"]))
    path.write_text(json.dumps(value))
    Path(layout.result_file(record["folder"], value["stage"], value["iteration"])).write_text("constants\n")


def write_output(record: dict[str, Any], stage: int, iteration: int, file: int, *, damage: int = 0) -> None:
    """Write a reconstruction's output: a ROOT header whose end is the file's size (minus ``damage``), a binary."""
    size = 1000
    head = b"root" + (62400).to_bytes(4, "big") + (100).to_bytes(4, "big") + size.to_bytes(4, "big")
    where = (record["data"], stage, iteration, record["run"], file)
    Path(layout.kfalignment_file(*where)).write_bytes(head.ljust(size - damage, b"\0"))
    Path(layout.mille_file(*where)).write_bytes(b"")


def hook(
    *arguments: object, dag_id: str = "12.0", interpreter: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the hook program with (phase, campaign, node, macros...) in the environment from DAGMan.

    It is forked by a process that has loaded it, unless an ``interpreter`` is given.
    """
    words = [
        str(word).replace("%", "%25").replace(" ", "%20") if i == 1 else str(word) for i, word in enumerate(arguments)
    ]
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "CONDOR_ID": dag_id}
    if not interpreter:
        return forking.run(words, module="", environment=environment)
    return subprocess.run(
        [*interpreter, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # the sum of its own limits is 2 min
    )


def make_old(folder: str) -> None:
    """Give the state database in ``folder`` the first schema, as made by an older program."""
    db = sqlite3.connect(f"{folder}/{layout.STATE}", isolation_level=None)
    for name in views.VIEWS:
        db.execute(f"DROP VIEW {name}")
    db.execute("DELETE FROM _sqlite_migrations WHERE name != '0001_initial'")
    db.execute("PRAGMA user_version = 0")
    db.close()
    publish.publish(folder)


def reconstruct(
    record: dict[str, Any], iteration: int, file: int, job: str, *, stage: int = 1, dag_id: str = "12.0"
) -> None:
    """Run the scripts of a reconstruction whose job succeeds."""
    folder, node = record["folder"], layout.reco_node(stage, iteration, file)
    assert hook("pre", folder, node, 0, 2, dag_id=dag_id).returncode == 0
    write_output(record, stage, iteration, file)
    assert hook("post", folder, node, 0, 2, 0, job, 0, dag_id=dag_id).returncode == 0


def run_iteration(
    record: dict[str, Any], iteration: int, *, stage: int = 1, dag_id: str = "12.0", **changes: Any
) -> int:
    """Run all scripts of an iteration whose jobs succeed; return the exit status of the Millepede node's POST."""
    folder = record["folder"]
    for file in record["files"]:
        reconstruct(record, iteration, file, f"{100 + iteration}{file}.0", stage=stage, dag_id=dag_id)
    node = layout.mille_node(stage, iteration)
    assert hook("pre", folder, node, 0, 2, dag_id=dag_id).returncode == 0
    write_metrics(record, metrics(iteration, stage=stage, files=len(record["files"]), **changes))
    return hook("post", folder, node, 0, 2, 0, f"{900 + iteration}.0", 0, dag_id=dag_id).returncode
