"""Test ``reco``, ``solve`` and ``mille``: iterations by hand, as with faser-alignment-script."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
from calypso import Lxplus
from campaigns import hook, make_campaign
from commandline import Command
from stored import seen

from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.pool.personal import Pool
from faser_align.state import queries, verify

EXAMPLES = Path(__file__).parents[2] / "examples"
ONE = ("-y", "2023", "-r", "11705", "-f", "400")
DATA = (*ONE[:-1], "400-401")


def configure(here: Path, **simulation: object) -> None:
    """Write a configuration of the simulation with a misaligned IFT."""
    lines = [f"{key} = {value}" for key, value in simulation.items()]
    (here / "faser-align.toml").write_text(
        '[[stages]]\n[[stages.steps]]\nfix = ["layer", "3ST"]\n'
        f'[campaign]\nconstants = "{EXAMPLES}/ift_misplaced.txt"\n[simulation]\ntruth = "{EXAMPLES}/align_2025.txt"\n'
        + "\n".join(lines)
    )


def test_two_numbers_of_an_iteration_are_refused(plain_command: Command, here: Path) -> None:
    """-n and -i name the same number, so that reco accepts only one of them."""
    configure(here)
    refused = plain_command("reco", *ONE, "-n", "5", "-i", "6", "--dry-run")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith("error: -n and -i exclude each other")


def test_an_iteration_by_hand_on_the_pool(plain_command: Command, pool: Pool, here: Path) -> None:
    """reco -n 1, solve, and reco -n 2 with the result work as small DAGs, whose campaigns end as reconstructed."""
    configure(here, tracks=1200)
    made = plain_command("reco", *ONE, "-n", "1", "--fourst", status=0)
    name = "Y2023_R011705_F400_reco01"
    assert f"faser-align solve {name}" in made.out
    assert plain_command("wait", name, "--timeout", "600").status == 0
    assert seen(here / name, verify.findings) == []
    assert [row["node"] for row in seen(here / name, queries.nodes)] == ["reco_s1_i01_00400"]
    status = json.loads(plain_command("status", name, "--json").out)
    assert (status["state"], status["reason"]) == ("reconstructed", "all of its files are reconstructed")
    assert (status["next"], status["constants"]) == (f"faser-align solve {name}", None)
    assert "is reconstructed; there is nothing to resume" in plain_command("resume", name).err

    assert "solve it with `faser-align solve" in plain_command("reco", *ONE, "-i", "2", "--dry-run").err
    tracks = here / name / "iter01" / "2kfalignment"
    solved = plain_command("solve", str(tracks), status=0)
    found = here / name / "iter01" / "3millepede" / "inputforalign.txt"
    assert f"constants: {found}" in solved.out
    assert read_constants(found) != read_constants(EXAMPLES / "ift_misplaced.txt")
    status = json.loads(plain_command("status", name, "--json").out)
    assert (status["state"], status["constants"], status["spool_waiting"]) == ("reconstructed", str(found), 0)
    assert status["next"].startswith(f"faser-align constants export {name}")
    assert [(row["verdict"], row["tracks"] > 0) for row in status["iterations"]] == [("solved", True)]
    assert plain_command("report", name).status == 0
    assert f"faser-align constants export {name}" in (here / f"{name}.html").read_text()
    plain_command("solve", name, status=0)  # a user may solve it twice
    second = plain_command("reco", *ONE, "-n", "2", "--dry-run")
    assert (second.status, str(found) in second.out, second.err) == (0, True, "")
    assert "personal pool, 1 node\n" in second.out
    as_before = plain_command("reco", *ONE, "-i", "2", "--dry-run")
    assert (as_before.status, as_before.out) == (0, second.out)
    assert "-i 2 is the number of the iteration, like -n 2; in submit, -i is the iteration limit" in as_before.err

    binary = here / "mp2input.bin"
    assert plain_command("mille", *map(str, sorted(tracks.glob("*.root"))), "-o", str(binary)).status == 0
    assert binary.stat().st_size > 10_000
    (here / name / "state.db").unlink()
    (here / name / "published.db").unlink()
    plain_command("repair", name, status=0)  # DAGMan has left
    assert seen(here / name, verify.findings) == []
    assert seen(here / name, queries.campaign)["state"] == "reconstructed"
    assert seen(here / name, partial(queries.latest_constants, folder=str(here / name))) == str(found)


def test_reco_needs_no_configuration_with_a_calypso(plain_command: Command, here: Path) -> None:
    """Like main.py, reco accepts --calypso_path or --env_script alone, --file ranges of both forms, and 3 stations."""
    tree = Lxplus(here.parent / "lxplus")
    words = ("--year", "2023", "--run", "11705", "--file", "400:401", "--iteration", "1")
    left = plain_command("reco", *words, "--threest", "--calypso_path", str(tree.checkout), "--dry-run", "--json")
    # Raw files at the old default path do not exist on this machine.
    assert (
        "2 of 2 raw files do not exist: /eos/experiment/faser/raw/2023/011705/Faser-Physics-011705-00400.raw"
        in left.err
    )
    assert "use --calypso_path" in plain_command("reco", *words, "--env_script", "none.sh", "--dry-run").err
    assert os.listdir() == []


def test_options_of_the_environment_go_over_the_configuration(plain_command: Command, here: Path) -> None:
    """--calypso_path and --env_script override the configuration, --fourst and --threest its stations."""
    tree = Lxplus(here.parent / "lxplus")
    for number in (400, 401):
        tree.raw(number)
    (here / "faser-align.toml").write_text(f'[campaign]\nconstants = "{EXAMPLES}/align_2025.txt"\n{tree.toml()}')
    script = here / "my_env.sh"
    script.write_text("")
    other = here.parent / "other"
    other.mkdir()
    words = (
        "reco",
        *DATA,
        "--threest",
        "--env_script",
        "my_env.sh",
        "--calypso_path",
        str(other),
        "--dry-run",
        "--json",
    )
    record = json.loads(plain_command(*words).out)
    told = record["config"]["reconstruction"]
    assert told["environment"] == str(script)
    assert told["calypso"]["setup"] == f"{other}/setup.sh"
    assert told["calypso"]["reconstruct"] == f"{tree.checkout}/faser_reco_alignment.py"
    assert (record["stations"], record["only"], record["name"]) == (3, 1, "Y2023_R011705_F400-401_reco01")
    assert "exclude each other" in plain_command("reco", *DATA, "--fourst", "--threest").err


def test_solve_names_what_it_takes(plain_command: Command, here: Path) -> None:
    """An argument that is neither a steering file nor a campaign of reco is refused, with what is accepted."""
    left = plain_command("solve", "nothing", status=2)
    assert "nothing: no such file; name a steering file, or a campaign of `reco`" in left.err


@pytest.mark.parametrize(
    ("begun", "said"),
    [
        (False, "is created; it can be solved once it is reconstructed; wait with `faser-align wait "),
        (True, "is removed: some files are not reconstructed; finish it with `faser-align resume "),
    ],
)
def test_solve_refuses_what_is_not_reconstructed(begun: bool, said: str, plain_command: Command, here: Path) -> None:
    """A running or failed `reco` is not solved; the sentence says what to do first."""
    record = make_campaign(here / "by-hand", files=1, config={"campaign": {"iterations": 1}})
    write_record(f"{record['folder']}/{layout.RECORD}", record | {"only": 1})
    if begun:
        assert hook("final", record["folder"], layout.FINAL_NODE, 4, 0).returncode == 4
    assert said in plain_command("solve", record["folder"], status=2).err
