"""Test the files that commands write with ``-o``."""

import json
import os
from pathlib import Path

import pytest
from commandline import Command

from faser_align.alignment.parameters.constants import export_constants, format_constants, read_constants

CONSTANTS = Path(__file__).parents[2] / "examples" / "align_2025.txt"


def test_text_goes_to_standard_output(here: Path, plain_command: Command) -> None:
    """``-o -`` writes the text of constants to standard output and nothing else, and no file named -."""
    constants = read_constants(CONSTANTS)
    for form in ("calypso", "json", "csv"):
        shown = plain_command("constants", "export", str(CONSTANTS), "-o", "-", "--format", form, status=0)
        assert shown.out == export_constants(constants, form)  # type: ignore[arg-type]
    (here / "zero.txt").write_text(format_constants({"000": (0.0,) * 6}))
    shown = plain_command("constants", "add", str(CONSTANTS), "zero.txt", "-o", "-", status=0)
    assert shown.out.split(",")[0] == format_constants(constants).split(",")[0]
    assert os.listdir(here) == ["zero.txt"]


@pytest.mark.parametrize("words", [("init",), ("mille", "a.root")])
def test_other_output_needs_a_file(here: Path, plain_command: Command, words: tuple[str, ...]) -> None:
    """A command that writes no text refuses ``-o -`` and makes no file of that name."""
    refused = plain_command(*words, "-o", "-", status=2)
    assert refused.err == "error: -o -: this command does not write to standard output; name another output\n"
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    "words",
    [
        *(("report", "converged"), ("compare", "converged", "failed"), ("plots", "converged")),
        *(("solve", "--from", "converged"), ("constants", "export", str(CONSTANTS), "--sqlite")),
    ],
)
def test_pages_and_folders_are_no_text(here: Path, command: Command, words: tuple[str, ...]) -> None:
    """HTML pages and folders are not written to standard output."""
    assert "does not write to standard output" in command(*words, "-o", "-", status=2).err
    assert os.listdir(here) == []


def test_pipes_and_devices_stay(here: Path, plain_command: Command) -> None:
    """A pipe is not replaced by a file, even with --force."""
    os.mkfifo("pipe")
    for more in ((), ("--force",)):
        refused = plain_command("constants", "export", str(CONSTANTS), "-o", "pipe", *more, status=2)
        assert refused.err == "error: pipe is a device or a pipe, which a file would replace; name a file\n"
    assert (here / "pipe").is_fifo()


def test_options_of_the_database_need_it(here: Path, plain_command: Command) -> None:
    """Options of ``constants export`` that would change nothing are refused."""
    export = ("constants", "export", str(CONSTANTS), "-o", "out")
    for option, value in (("--runs", "1-2"), ("--tag", "T"), ("--year", "2024"), ("--config", "c.toml")):
        refused = plain_command(*export, option, value, status=2)
        assert refused.err == f"error: {option} {value} is for a database; add --sqlite, or leave it out\n"
    for more in (("--format", "json"), ("--errors",)):
        assert "leave them out" in plain_command(*export, "--sqlite", *more, status=2).err
    assert os.listdir(here) == []


def test_what_would_have_no_effect_is_refused(here: Path, command: Command) -> None:
    """A report is either text or JSON, without a reference; several tables as CSV need a folder."""
    report = ("report", "converged", "--text")
    assert "--json and --text exclude each other" in command(*report, "--json", status=2).err
    assert "is for the HTML page" in command(*report, "--reference", str(CONSTANTS), status=2).err
    assert "--iteration 0: must be at least 1" in command("why", "converged", "--iteration", "0", status=2).err
    (here / "file").touch()
    refused = command("export", "converged", "--format", "csv", "-o", "file", "--force", status=2)
    assert "file is a file, and each table becomes a file in a folder" in refused.err


def test_an_export_is_json_on_standard_output(command: Command) -> None:
    """``export -o -`` and ``report --json -o -`` write to standard output."""
    assert json.loads(command("export", "converged", "-o", "-", status=0).out)["campaign"]["name"]
    assert json.loads(command("report", "converged", "--json", "-o", "-", status=0).out)["campaign"]["name"]
    assert not os.path.lexists("-")
