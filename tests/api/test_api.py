"""What a physicist imports: its examples run, and its names are those that are promised."""

import doctest
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from campaigns import NAME, hook, make_campaign, run_iteration

import faser_align.api
import faser_align.api.campaign
from faser_align.alignment.constants import ZERO, write_constants
from faser_align.config import layout
from faser_align.state import registry

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def converged(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The campaign of the examples: four iterations, known to the registry by its name."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    record = make_campaign(workdir / NAME, files=2)
    assert [run_iteration(record, i) for i in range(1, 5)] == [0, 0, 0, 42]
    assert hook("final", record["folder"], "final", 0, 0).returncode == 0
    for iteration in range(1, 5):
        found = {"003": (0.0, 0.005 * iteration, 0.0, 0.0, 0.0, 0.0)}
        write_constants(layout.result_file(record["folder"], 1, iteration), found)
    write_constants(layout.constants_file(record["folder"], 1, 1), {"003": ZERO})
    registry.add(NAME, record["folder"])
    return workdir


@pytest.mark.parametrize("module", [faser_align.api, faser_align.api.campaign], ids=lambda module: module.__name__)
def test_examples_of_the_docstrings_run(module: ModuleType, converged: Path) -> None:
    """What the docstrings show is what comes out."""
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_promised_name_is_there_and_documented() -> None:
    """Each public name exists and, if it is a function or a class of ours, says what it does."""
    for name in faser_align.api.__all__:
        value = getattr(faser_align.api, name)
        assert not callable(value) or not getattr(value, "__module__", "").startswith("faser_align") or value.__doc__


def test_a_campaign_without_constants_says_so(workdir: Path) -> None:
    """A campaign in which nothing was found yet has no constants, in one sentence."""
    record = make_campaign(workdir / "c", name="c")
    with pytest.raises(faser_align.api.UserError, match="c has found no constants yet; it is created"):
        faser_align.api.Campaign(record["folder"]).constants()


def test_the_example_with_pandas_runs(converged: Path) -> None:
    """examples/read_campaign.py reads a campaign into tables and finds what moved most."""
    command = [sys.executable, str(EXAMPLES / "read_campaign.py"), str(converged / NAME)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "chi2_per_ndf" in done.stdout
    assert "module 3 of layer 0 of station 0" in done.stdout
