"""Provide small campaigns for jobs, laid out as by submit."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import forking
import pytest
from campaigns import IFT_LOCAL, manifest

from faser_align.alignment.parameters.constants import parse_constants, write_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.config.schema import Config
from faser_align.simulation.misalign import misplace_ift

TRUTH = files("faser_align.examples") / "align_2025.txt"


@pytest.fixture
def make_campaign(make_campaign_in: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Make a campaign with 300 tracks per file around the 2025 constants, IFT modules misaligned; keywords are tables."""
    return partial(make_campaign_in, tmp_path)


@pytest.fixture(scope="session")
def make_campaign_in() -> Callable[..., Path]:
    """Make the same in a given folder, for several tests together."""

    def make(tmp_path: Path, numbers: tuple[int, ...] = (400, 401), **tables: dict[str, Any]) -> Path:
        folder = tmp_path / "campaign"
        truth = parse_constants(TRUTH.read_text(), "truth")
        write_constants(tmp_path / "truth.txt", truth)
        simulation = {"truth": str(tmp_path / "truth.txt"), "tracks": 300} | tables.pop("simulation", {})
        start = layout.constants_file(str(folder), 1, 1)
        os.makedirs(os.path.dirname(start))
        write_constants(start, misplace_ift(truth, seed=1))
        config = Config.model_validate({"stages": [IFT_LOCAL]} | tables | {"simulation": simulation})
        made = {"constants": simulation["truth"], "sha256": hashlib.sha256(Path(start).read_bytes()).hexdigest()}
        record = manifest(config, folder, name="Y2023_R011705_F400-401", files=list(numbers), **made)
        write_record(f"{folder}/{layout.RECORD}", record)
        return folder

    return make


@pytest.fixture
def run_job() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a job as HTCondor does, without an environment and in a folder of its own: (module, arguments...)."""

    def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return forking.run([str(a) for a in arguments], module=f"faser_align.jobs.{module}", folder="/", environment={})

    return run


@pytest.fixture
def fails(run_job: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """Run a job that must end with an exit status; return its standard error: (status, module, arguments...)."""

    def run(status: int, module: str, *arguments: object) -> str:
        done = run_job(module, *arguments)
        assert done.returncode == status, done.stderr
        return done.stderr

    return run
