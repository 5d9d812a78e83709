"""Test the warnings about layer rotations with Calypso's pivot before a campaign runs."""

from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from faser_align.cli.commands import setup

WORDS = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "--dry-run")


def run(*words: str) -> Result:
    app = typer.Typer()
    setup.register(app)
    return CliRunner().invoke(app, words)


def test_check_and_submit_warn(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard steps of three stations free rx and ry of layers and warn; those of four, and pivot = "layer", do not."""
    monkeypatch.chdir(workdir)
    assert run("init").exit_code == 0
    doubt = "frees rx or ry of layers"
    assert doubt in run(*WORDS, "--threest").output
    assert doubt not in run(*WORDS).output
    config = workdir / "faser-align.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[mille]\n", '[mille]\npivot = "layer"\n'), encoding="utf-8")
    assert doubt not in run(*WORDS, "--threest").output
    config.write_text(text.replace("stations = 4", "stations = 3"), encoding="utf-8")
    assert doubt in " ".join(run("check", "--json").output.split())


def test_check_warns_of_a_cut_that_takes_tilted_layers(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """check warns of faser-alignment-script's cut, which rejects hits of the tilted IFT, and not of the default."""
    monkeypatch.chdir(workdir)
    assert run("init").exit_code == 0
    doubt = "cuts a good part of the hits of layers 00, 01, 02"
    assert doubt not in " ".join(run("check", "--json").output.split())
    config = workdir / "faser-align.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("[mille]\n", "[mille]\nderivative_max = 2.0\n"))
    assert doubt in " ".join(run("check", "--json").output.split())
