"""Test the reconstruction job as a process."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import uproot

from faser_align.alignment.mille.conversion import read_counts
from faser_align.campaign import layout
from faser_align.fsm import exit_codes

Make = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


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
    assert counts.hits_cut_residual == 0  # 0.5 mm in the first iteration
    assert os.path.getsize(mille) > 100_000
    assert sorted(os.listdir(os.path.dirname(mille))) == [
        "kfalignment_011705_00400.root",
        "mp2input_011705_00400.bin",
        "mp2input_011705_00400.bin.json",
        "mp2input_011705_00400.momenta.npy",
    ]


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


def test_three_stations(make_campaign: Make, run_job: Run) -> None:
    """Without the IFT no hit of it is written."""
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


def test_raw_file_must_be_there(make_campaign: Make, run_job: Run, tmp_path: Path) -> None:
    """A missing raw file is named; if its folder is missing, the failure is the machine's."""
    folder = make_campaign(reconstruction={"raw": f"{tmp_path}/raw/{{year}}/Physics-{{run}}-{{file}}.raw"})
    raw = tmp_path / "raw" / "2023" / "Physics-011705-00400.raw"
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == exit_codes.ENVIRONMENT
    raw.parent.mkdir(parents=True)
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.RAW_MISSING
    assert failed.stderr == f"raw file {raw} cannot be read: No such file or directory\n"
    raw.write_bytes(b"raw")
    assert run_job("reconstruct", folder, 1, 1, 400).returncode == 0


def test_constants_must_be_there(make_campaign: Make, run_job: Run) -> None:
    """Missing constants do not count as zero constants."""
    folder = make_campaign()
    constants = Path(layout.constants_file(str(folder), 1, 1))
    constants.unlink()
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.CONSTANTS
    assert str(constants) in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_constants_must_parse(make_campaign: Make, run_job: Run) -> None:
    """Malformed constants stop the job with the position of the error."""
    folder = make_campaign()
    Path(layout.constants_file(str(folder), 1, 1)).write_text('"00": [1, 2, 3]')
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.CONSTANTS
    assert '"00" has 3 values' in failed.stderr


def test_truth_must_be_there(make_campaign: Make, run_job: Run, tmp_path: Path) -> None:
    """A missing simulated detector is a configuration error."""
    folder = make_campaign(simulation={"truth": str(tmp_path / "nowhere.txt")})
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.CONFIG
    assert "nowhere.txt" in failed.stderr


def test_data_folder_must_be_writable(make_campaign: Make, run_job: Run) -> None:
    """Output that cannot be written is reported as a copy failure."""
    folder = make_campaign()
    (folder / "iter01" / "2kfalignment").write_text("in the way")
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.COPY
    assert "2kfalignment" in failed.stderr


def test_a_binary_that_cannot_be_written(make_campaign: Make, run_job: Run) -> None:
    """A conversion whose output the file system refuses is not a conversion failure and may be retried."""
    folder = make_campaign()
    Path(layout.mille_file(str(folder), 1, 1, "011705", 400)).mkdir(parents=True)
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.COPY
    assert "mp2input_011705_00400.bin: Is a directory" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected CAMPAIGN STAGE ITERATION FILE, got nothing"),
        (("{folder}", 1, 1), "expected CAMPAIGN STAGE ITERATION FILE"),
        (("{folder}", 1, "one", 400), "expected CAMPAIGN STAGE ITERATION FILE"),
        (("{folder}", 2, 1, 400), "has no iteration 1 of stage 2"),
        (("{folder}", 1, 1, 399), "raw file 399 does not belong to the campaign"),
        (("/nowhere", 1, 1, 400), "/nowhere is not a campaign"),
    ],
)
def test_wrong_arguments(make_campaign: Make, run_job: Run, arguments: tuple[object, ...], words: str) -> None:
    """Arguments that do not match the campaign end with one sentence and the status of a configuration error."""
    folder = make_campaign()
    failed = run_job("reconstruct", *(str(argument).format(folder=folder) for argument in arguments))
    assert failed.returncode == exit_codes.CONFIG
    assert words in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_crash_shows_its_traceback(make_campaign: Make, run_job: Run) -> None:
    """An unexpected error prints its traceback, then one line that names it."""
    folder = make_campaign()
    record = json.loads((folder / layout.RECORD).read_text())
    record["config"]["simulation"]["tracks"] = "many"
    (folder / layout.RECORD).write_text(json.dumps(record))
    failed = run_job("reconstruct", folder, 1, 1, 400)
    assert failed.returncode == exit_codes.CRASHED
    assert "Traceback (most recent call last)" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("reconstruction crashed: TypeError: ")
