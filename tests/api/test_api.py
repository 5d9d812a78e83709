"""Test the public package: its examples run, and its names are the documented ones."""

import doctest
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from campaigns import NAME, hook, make_campaign, run_iteration

import faser_align.api
import faser_align.api.campaign
from faser_align.alignment.mille.blocks import MilleError
from faser_align.alignment.mille.distributions import Distributions
from faser_align.alignment.mille.kfalignment import read_tracks
from faser_align.alignment.parameters.constants import ZERO, write_constants
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.quality.figure_data import FigureData, write_figures
from faser_align.api import LABELS
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of, read_record
from faser_align.state import registry

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def converged(session_folder: Path) -> Iterator[Path]:
    """Return the campaign of the examples: four iterations, registered by name."""
    root = session_folder / "api"
    record = make_campaign(root / NAME, files=2)
    assert [run_iteration(record, i) for i in range(1, 5)] == [0, 0, 0, 42]
    write_constants(layout.constants_file(record["folder"], 1, 1), {"003": ZERO})
    assert hook("final", record["folder"], "final", 0, 0).returncode == 0
    for iteration in range(1, 5):
        found = {"003": (0.0, 0.005 * iteration, 0.0, 0.0, 0.0, 0.0)}
        write_constants(layout.result_file(record["folder"], 1, iteration), found)
    (tracks,) = read_tracks(DATA / "mille" / "kfalignment_4st.root")
    histograms = Distributions.of(tracks).histograms()
    write_figures(layout.figures_file(record["folder"], 1, 4), FigureData(1, 4, 0.05, histograms=histograms))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        registry.add(NAME, record["folder"])
        yield root


@pytest.fixture
def files(converged: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the examples' folder: constants, reconstructed tracks, and a steering text that frees IFT modules."""
    folder = workdir / "here"
    folder.mkdir()
    shutil.copy(EXAMPLES / "align_2025.txt", folder / "inputforalign.txt")
    shutil.copy(DATA / "mille" / "kfalignment_4st.root", folder / "kfalignment.root")
    fixed = [label for label, parameter in LABELS.items() if parameter.station or parameter.kind.startswith("layer")]
    write_steering(folder, [folder / "mp2input.bin"], fixed, {}, SolverOptions())
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("module", [faser_align.api, faser_align.api.campaign], ids=lambda module: module.__name__)
def test_examples_of_the_docstrings_run(module: ModuleType, files: Path) -> None:
    """The examples in docstrings give the output shown."""
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_promised_name_is_in_an_example() -> None:
    """Examples use each public function and class, except submit, which needs a pool, and classes only returned."""
    shown = f"{faser_align.api.__doc__}{faser_align.api.campaign.Campaign.__doc__}{faser_align.api.campaign.campaigns.__doc__}"
    given = {"CampaignError", "Constants", "Counts", "Parameter", "Records", "Solution", "submit"}
    assert {name for name in faser_align.api.__all__ if name not in shown} <= given


def test_what_is_imported_is_promised() -> None:
    """The public package exports only documented names."""
    names = {name for name, value in vars(faser_align.api).items() if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(faser_align.api, name), ModuleType)}
    assert names - modules == set(faser_align.api.__all__)


def test_every_promised_name_is_there_and_documented() -> None:
    """Each public name exists and, if it is our function or class, has a docstring."""
    for name in faser_align.api.__all__:
        value = getattr(faser_align.api, name)
        assert not callable(value) or not getattr(value, "__module__", "").startswith("faser_align") or value.__doc__


def test_a_campaign_without_constants_says_so(workdir: Path) -> None:
    """A campaign without resulting constants says so in one sentence."""
    record = make_campaign(workdir / "c", name="c")
    with pytest.raises(faser_align.api.UserError, match="c has no constants yet; it is created"):
        faser_align.api.Campaign(record["folder"]).constants()


def test_a_stage_alone_names_no_constants(workdir: Path) -> None:
    """A stage without an iteration does not select another stage's constants."""
    record = make_campaign(workdir / "c", name="c")
    with pytest.raises(faser_align.api.UserError, match="stage 1 of c has several iterations; name the iteration, too"):
        faser_align.api.Campaign(record["folder"]).constants(stage=1)


def test_an_error_in_another_process_is_raised_here(workdir: Path) -> None:
    """An error of a process pool's worker arrives with its sentence and attributes."""
    broken = workdir / "broken.bin"
    broken.write_bytes(b"abc")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(MilleError, match="broken") as raised:
        pool.submit(faser_align.api.read_records, broken).result(timeout=300)
    with pytest.raises(MilleError) as here:
        faser_align.api.read_records(broken)
    assert vars(raised.value) == vars(here.value)


def test_a_campaign_is_found_by_a_path(converged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign's folder may be a Path; a Path that is no campaign is reported as a name is."""
    monkeypatch.chdir(converged)
    assert faser_align.api.Campaign(Path(NAME)).name == NAME
    with pytest.raises(faser_align.api.UserError, match="there is no campaign 'none'"):
        faser_align.api.Campaign(Path("none"))


def test_a_damaged_campaign_hides_no_others(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`campaigns` leaves out a campaign whose manifest cannot be read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    for name in ("a", "b", "c"):
        registry.add(name, make_campaign(workdir / name, name=name)["folder"])
    (workdir / "b" / layout.RECORD).write_text("{")
    assert [campaign.name for campaign in faser_align.api.campaigns()] == ["a", "c"]


def test_values_of_numpy_can_be_set(workdir: Path) -> None:
    """`set` takes numbers of numpy, and refuses what a configuration cannot contain in one sentence."""
    campaign = faser_align.api.Campaign(make_campaign(workdir / "c", name="c")["folder"])
    campaign.set({"convergence.patience": np.int64(3), "convergence.residual_shift_um_max": np.float32(0.25)})
    rules = convergence_of(read_record(campaign.folder), 1)
    assert (rules["patience"], rules["residual_shift_um_max"]) == (3, 0.25)
    for value in ({"held"}, Path("end"), np.zeros(2)):
        with pytest.raises(faser_align.api.UserError, match=r"^set: notify\.events = .* is not allowed"):
            campaign.set({"notify.events": value})


@pytest.mark.slow
def test_the_example_with_pandas_runs(converged: Path) -> None:
    """examples/read_campaign.py reads a campaign into tables and finds the largest corrections."""
    command = [sys.executable, str(EXAMPLES / "read_campaign.py"), str(converged / NAME)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "chi2_per_ndf" in done.stdout
    assert "module 3 of layer 0 of station 0" in done.stdout


def test_the_example_says_that_there_is_nothing_to_read(workdir: Path) -> None:
    """examples/read_campaign.py reports a campaign without a finished iteration in one sentence."""
    record = make_campaign(workdir / "c", name="c")
    command = [sys.executable, str(EXAMPLES / "read_campaign.py"), record["folder"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (1, "c has no finished iteration yet; it is created\n")
