"""Test the reconstruction job as a process."""

import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uproot

from faser_align.alignment.mille.counts import read_counts
from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.jobs.reconstruct import reconstruct

Make = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
Fails = Callable[..., str]


@pytest.mark.slow
def test_writes_tracks_and_millepedes_data(make_campaign: Make, run_job: Run) -> None:
    """A job writes the ROOT file, the Mille binary and its counts, and nothing else."""
    folder = make_campaign()
    done = run_job("reconstruct", folder, 1, 1, 400)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    mille = layout.mille_file(str(folder), 1, 1, "011705", 400)
    counts = read_counts(f"{mille}.json")
    with uproot.open(layout.kfalignment_file(str(folder), 1, 1, "011705", 400)) as file:
        assert file["tree"].num_entries == counts.tracks_read
    assert 250 < counts.tracks_written <= counts.tracks_read <= 300
    assert counts.hits_cut_residual == 0  # 1 mm in the first iteration
    assert os.path.getsize(mille) > 100_000
    assert sorted(os.listdir(os.path.dirname(mille))) == [
        "kfalignment_011705_00400.root",
        "mp2input_011705_00400.bin",
        "mp2input_011705_00400.bin.json",
        "mp2input_011705_00400.histograms.npz",
        "mp2input_011705_00400.momenta.npy",
        "mp2input_011705_00400.sums",
    ]


def test_sums_are_not_needed(
    make_campaign: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the sums cannot be made, the job succeeds and removes older ones."""
    folder = make_campaign()
    sums = Path(layout.mille_file(str(folder), 1, 1, "011705", 400)).with_suffix(".sums")
    sums.parent.mkdir()
    sums.write_text("of an earlier attempt")
    monkeypatch.setattr("faser_align.jobs.equations.make_sums", operator.itemgetter("nothing"))
    reconstruct(str(folder), 1, 1, 400)
    assert "the Millepede job will read the binary, because its sums are not stored: " in capsys.readouterr().err
    assert not sums.exists()
    assert os.path.getsize(sums.with_suffix(".bin")) > 100_000


def test_is_repeatable(make_campaign: Make, run_job: Run) -> None:
    """A second attempt replaces the files of the first with the same bytes."""
    folder = make_campaign()
    mille = Path(layout.mille_file(str(folder), 1, 1, "011705", 400))
    run_job("reconstruct", folder, 1, 1, 400)
    first = mille.read_bytes()
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == 0
    assert mille.read_bytes() == first


def test_later_iterations_cut_at_50_um(make_campaign: Make, run_job: Run) -> None:
    """The second and later iterations use the second residual cut."""
    folder = make_campaign()
    start = Path(layout.constants_file(str(folder), 1, 1))
    for iteration in (2, 7):
        constants = Path(layout.constants_file(str(folder), 1, iteration))
        constants.parent.mkdir(parents=True)
        constants.write_text(start.read_text())
        assert run_job("reconstruct", folder, 1, iteration, 400).returncode == 0
        mille = layout.mille_file(str(folder), 1, iteration, "011705", 400)
        assert read_counts(f"{mille}.json").hits_cut_residual > 20


def test_a_process_ends_with_its_last_line(make_campaign: Make) -> None:
    """A job ends without freeing its objects; its last line and exit status arrive through a pipe all the same."""
    words = [str(make_campaign()), "1", "1", "999"]
    program = [sys.executable, "-I", "-m", "faser_align.jobs.reconstruct"]
    done = subprocess.run([*program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == exit_codes.CONFIG
    assert done.stderr.startswith("raw file 999 does not belong to the campaign "), done


def test_three_stations(make_campaign: Make, run_job: Run) -> None:
    """With three stations no hit of the IFT is written."""
    folder = make_campaign(campaign={"stations": 3})
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == 0
    counts = read_counts(layout.mille_file(str(folder), 1, 1, "011705", 400) + ".json")
    assert counts.modules[:3].sum() == 0
    assert counts.modules[3:].sum() > 0


def test_data_elsewhere(make_campaign: Make, run_job: Run, tmp_path: Path) -> None:
    """Large files are written to the campaign's data folder."""
    folder = make_campaign()
    record = json.loads((folder / layout.RECORD).read_text())
    record["data"] = str(tmp_path / "eos")
    (folder / layout.RECORD).write_text(json.dumps(record))
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == 0
    assert os.path.isfile(layout.mille_file(str(tmp_path / "eos"), 1, 1, "011705", 400))


def test_raw_file_must_be_there(make_campaign: Make, run_job: Run, fails: Fails, tmp_path: Path) -> None:
    """A missing raw file is named; if its folder is missing, the failure is the machine's."""
    folder = make_campaign(reconstruction={"raw": f"{tmp_path}/raw/{{year}}/Physics-{{run}}-{{file}}.raw"})
    raw = tmp_path / "raw" / "2023" / "Physics-011705-00400.raw"
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == exit_codes.ENVIRONMENT
    raw.parent.mkdir(parents=True)
    said = fails(exit_codes.RAW_MISSING, "reconstruct", folder, 1, 1, 400)
    assert said == f"raw file {raw} cannot be read: No such file or directory\n"
    raw.write_bytes(b"raw")
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == 0


def constants(folder: Path) -> Path:
    return Path(layout.constants_file(str(folder), 1, 1))


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (lambda folder: constants(folder).unlink(), exit_codes.CONSTANTS, "iter01/1reco/inputforalign.txt: No such"),
        (lambda folder: constants(folder).write_text('"00": [1, 2]'), exit_codes.CONSTANTS, '"00" has 2 values'),
        (lambda folder: (folder / "iter01" / "2kfalignment").write_text("in the way"), exit_codes.COPY, "2kfalignment"),
        (
            lambda folder: Path(layout.mille_file(str(folder), 1, 1, "011705", 400)).mkdir(parents=True),
            exit_codes.COPY,
            "mp2input_011705_00400.bin: Is a directory",
        ),
        (lambda folder: (folder.parent / "truth.txt").unlink(), exit_codes.CONFIG, "truth.txt"),
    ],
    ids=["no constants", "malformed constants", "no data folder", "no binary", "no truth"],
)
def test_what_is_missing_or_in_the_way_is_named(
    make_campaign: Make, fails: Fails, spoil: Callable[[Path], object], status: int, words: str
) -> None:
    """Unusable constants, detector or output end the job with a status of their own and one sentence."""
    folder = make_campaign()
    spoil(folder)
    said = fails(status, "reconstruct", folder, 1, 1, 400)
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "job", "arguments"),
    [
        ("expected CAMPAIGN STAGE ITERATION FILE, got nothing", "reconstruct", ()),
        ("expected CAMPAIGN STAGE ITERATION, got nothing", "solve", ()),
        ("expected CAMPAIGN STAGE ITERATION FILE", "reconstruct", ("{folder}", 1, 1)),
        ("expected CAMPAIGN STAGE ITERATION FILE", "reconstruct", ("{folder}", 1, "one", 400)),
        ("has no iteration 1 of stage 2", "reconstruct", ("{folder}", 2, 1, 400)),
        ("has no iteration 0 of stage 1", "solve", ("{folder}", 1, 0)),
        ("raw file 399 does not belong to the campaign", "reconstruct", ("{folder}", 1, 1, 399)),
        ("/nowhere is not a campaign", "reconstruct", ("/nowhere", 1, 1, 400)),
    ],
)
def test_wrong_arguments(
    make_campaign: Make, fails: Fails, words: str, job: str, arguments: tuple[object, ...]
) -> None:
    """Arguments that do not match the campaign end with one sentence and the status of a configuration error."""
    folder = make_campaign()
    said = fails(exit_codes.CONFIG, job, *(str(argument).format(folder=folder) for argument in arguments))
    assert words in said
    assert said.count("\n") == 1


def test_crash_shows_its_traceback(make_campaign: Make, fails: Fails) -> None:
    """An unexpected error prints its traceback, then one line that names it."""
    folder = make_campaign()
    record = json.loads((folder / layout.RECORD).read_text())
    record["config"]["simulation"]["tracks"] = "many"
    (folder / layout.RECORD).write_text(json.dumps(record))
    said = fails(exit_codes.CRASHED, "reconstruct", folder, 1, 1, 400)
    assert "Traceback (most recent call last)" in said
    assert said.splitlines()[-1].startswith("reconstruction crashed: TypeError: ")
