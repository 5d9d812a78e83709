"""Test the commands mille, solve and constants as a user runs them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import millerecords
import pytest
from commandline import Result, in_process

from faser_align.alignment.mille.records import read_records

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line on a wide terminal, in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    command = in_process(monkeypatch, capsys)
    return lambda *words: command(*map(str, words))


def test_mille_converts(run: Run, data: Path, unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """``mille`` writes faser-alignment-script's bytes, prints what was rejected, and overwrites only with --force."""
    source, output = data / "mille" / "kfalignment_4st.root", tmp_path / "out.bin"
    done = run("mille", source, "-o", output)
    assert (done.status, done.err) == (0, "")
    assert "400 records with 6497 measurements" in done.out
    assert [line.split()[-1] for line in done.out.splitlines() if "hits cut by residual" in line] == ["2724"]
    assert json.loads(Path(f"{output}.json").read_text())["measurements"] == 6497
    assert output.read_bytes() == unpacked("mille/mp2input_4st.bin").read_bytes()
    again = run("mille", source, "-o", output)
    assert again.status == 2
    assert "--force" in again.err
    forced = run("mille", source, "-o", output, "--force", "--json", "--residual-max", "0.5")
    assert json.loads(forced.out)["measurements"] == 9221


def test_mille_uses_the_constants_of_the_reconstruction(run: Run, data: Path, tmp_path: Path) -> None:
    """With --pivot layer the constants change derivatives by rotations of layers and reject no hit; else they are refused."""
    source, constants = data / "mille" / "kfalignment_4st.root", data / "constants" / "align_2025.txt"
    contents = {}
    for name, words in {"nominal": [], "tilted": ["--constants", constants]}.items():
        assert run("mille", source, "-o", tmp_path / name, "--pivot", "layer", *words).status == 0
        contents[name] = read_records(tmp_path / name)
    nominal, tilted = contents.values()
    assert nominal.indices.tolist() == tilted.indices.tolist()
    changed = nominal.indices[nominal.values != tilted.values]
    assert {label % 10 for label in changed.tolist()} == {3, 4, 5}
    assert changed.max() < 1000
    refused = run("mille", source, "-o", tmp_path / "out.bin", "--constants", constants)
    assert (refused.status, "--constants changes nothing without --pivot layer" in refused.err) == (2, True)


def test_mille_warns_of_files_without_compression(run: Run, data: Path, tmp_path: Path) -> None:
    """Input without compression, whose damage may go unnoticed, is converted with a warning, and counted."""
    source = data / "mille" / "kfalignment_4st.root"
    content = bytearray(source.read_bytes())
    content[33:37] = bytes(4)  # fCompress of the header
    (tmp_path / "plain.root").write_bytes(content)
    done = run("mille", tmp_path / "plain.root", "-o", tmp_path / "out.bin")
    assert done.status == 0
    assert "1 ROOT file without compression: damage to such a file may go unnoticed" in done.err
    assert json.loads((tmp_path / "out.bin.json").read_text())["files_uncompressed"] == 1


def test_mille_adds_up(run: Run, data: Path, tmp_path: Path) -> None:
    """``mille --add`` sums files of counts, which gives the counts of one conversion of all files."""
    sources = [data / "mille" / f"kfalignment_{stations}st.root" for stations in (3, 4)]
    for source in sources:
        run("mille", source, "-o", tmp_path / f"{source.stem}.bin")
    run("mille", *sources, "-o", tmp_path / "both.bin")
    parts = [tmp_path / f"{source.stem}.bin.json" for source in sources]
    told = run("mille", "--add", *parts, "-o", tmp_path / "sum.json", "--json")
    assert (told.status, told.err) == (0, "")
    both, sums = (json.loads((tmp_path / name).read_text()) for name in ("both.bin.json", "sum.json"))
    assert sums | {"chi2": 0} == both | {"chi2": 0}
    assert sums["chi2"] == pytest.approx(both["chi2"])
    assert json.loads(told.out)["median_q_over_p_plus"] > 0
    assert "tracks written" in run("mille", "--add", *parts).out
    for mistake in ([parts[0], parts[0]], [tmp_path / "none.json"], [tmp_path / "both.bin"], [*parts, "-o", parts[0]]):
        done = run("mille", "--add", *mistake)
        assert (done.status, done.err.count("\n")) == (2, 1), done.err


def test_mille_refuses_in_one_sentence(run: Run, tmp_path: Path) -> None:
    """A missing input, a missing folder and an unknown pivot are usage errors, without a traceback."""
    output = ("-o", tmp_path / "out.bin")
    for options in (
        *((), output, (*output, "--pivot", "hit"), (*output, "--residual-max", "-1")),
        *(("-o", tmp_path / "none" / "out.bin"), ("-o", tmp_path), ("-o", "/proc/self/out.bin")),
    ):
        done = run("mille", "none.root", *options)
        assert done.status == 2
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_solve_does_what_pede_does(run: Run, pede_case: Callable[[str], Path]) -> None:
    """``solve`` writes pede's files beside the steering file and ends with 0; a failure ends with 1."""
    folder = pede_case("case3_failing")
    done = run("solve", folder / "str_code00_good.txt")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("end code 0, Ended normally")
    assert (folder / "millepede.res").exists()
    failed = run("solve", folder / "str_code26_too_many_rejects.txt", "--json")
    assert failed.status == 1
    assert json.loads(failed.out)["end_code"] == 26
    assert "too many rejects" in failed.err
    before = (folder / "millepede.log").read_bytes()
    missing = run("solve", folder / "nope.txt")
    assert (missing.status, missing.out) == (1, "")
    assert "no solution (16 " in missing.err
    assert f"{folder}/nope.txt does not exist; give a steering file" in missing.err
    assert (folder / "millepede.end").read_text().split()[0] == "16"
    assert (folder / "millepede.log").read_bytes() == before
    other = run("solve", folder / "nope")
    assert (other.status, other.out) == (2, "")
    assert other.err == f"error: {folder}/nope: no such file; name a steering file, or a campaign of `reco`\n"


def test_solve_warns_of_parameters_with_few_entries(run: Run, pede_case: Callable[[str], Path]) -> None:
    """Parameters that the entries cut fixed are named on standard error."""
    done = run("solve", pede_case("case2_presigma_outliers") / "str.txt")
    assert done.status == 0
    assert "side 0 of module 0 of layer 1 of station 0, shift along x (11001); side 1 of module 0" in done.err


def test_solve_names_the_folder_that_it_cannot_write(run: Run, pede_case: Callable[[str], Path]) -> None:
    """A folder that cannot be written is named with what to do, and so is a folder in place of a steering file."""
    folder = pede_case("case3_failing")
    folder.chmod(0o555)
    try:
        done = run("solve", folder / "str_code00_good.txt")
    finally:
        folder.chmod(0o755)
    assert done.status == 2
    assert done.err == (
        f"error: {folder}: cannot write: Permission denied; check the folder, its permissions and its free space\n"
    )
    assert run("solve", folder).err.startswith(f"error: {folder}: not a steering file; name a steering file")


def test_solve_writes_json_of_sums_that_are_not_finite(run: Run, tmp_path: Path) -> None:
    """With --json a chi2 that is not finite is null, also if the solver ends without a solution."""
    record = millerecords.words([(0.0, 1.0, {1: 1.0}, {}), (3.0, 1.0, {1: 1.0}, {7: 1.0})])
    (tmp_path / "data.bin").write_bytes(30 * millerecords.pack(record))
    (tmp_path / "str.txt").write_text("data.bin\nmethod inversion 3 0.001\nmeasurement 1. 1e-160\n7 1.\nend\n")
    failed = run("solve", tmp_path / "str.txt", "--json")
    assert (failed.status, "no solution (25 " in failed.err) == (1, True)
    assert json.loads(failed.out)["iterations"][0]["chi2"] is None


def test_constants_are_corrected_and_added(run: Run, data: Path, tmp_path: Path) -> None:
    """``correction`` and ``add`` write faser-alignment-script's bytes, and nothing else."""
    constants = data / "constants"
    assert run("constants", "correction", data / "pede" / "millepede_2024.res", "-o", tmp_path / "c.txt").status == 0
    assert (tmp_path / "c.txt").read_bytes() == (constants / "correction_2024.txt").read_bytes()
    before = constants / "align_2022_4st_local.txt"
    assert run("constants", "add", before, tmp_path / "c.txt", "-o", tmp_path / "sum.txt").status == 0
    expected = constants / "align_2022_4st_local_plus_correction_2024.txt"
    assert (tmp_path / "sum.txt").read_bytes() == expected.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.txt", "sum.txt"]


def test_constants_are_shown_and_compared(run: Run, data: Path) -> None:
    """``show`` and ``diff`` draw tables in um and urad, or write JSON in mm and rad."""
    constants = data / "constants"
    shown = run("constants", "show", constants / "align_2022_4st_local.txt")
    assert "501.80" in shown.out
    after = constants / "align_2022_4st_local_plus_correction_2024.txt"
    difference = run("constants", "diff", constants / "align_2022_4st_local.txt", after, "--json")
    assert json.loads(difference.out)["000"] == pytest.approx([0.0016069, 0.02044, 0, 0, 0, -2.3163e-05])
    told = run("constants", "diff", constants / "align_2022_4st_local.txt", after, "--largest", "2").out
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert "only in the second: 010, 110, 210, 310" not in rows
    assert "module y 96 51.93 -8.98 -113.53 um module 5 of layer 0 of station 3" in rows, told
    assert "layer rz 12 41.99 +23.87 +76.79 urad layer 2 of station 3" in rows, told
    assert "largest rotations" in told
    same = run("constants", "diff", after, after).out
    assert same == "no difference\n"
    everything = run("constants", "diff", constants / "align_2022_4st_local.txt", after, "--all").out
    assert "rz urad" in everything


def test_constants_are_told_plainly(run: Run, data: Path) -> None:
    """``show`` and ``diff`` print one value per line with ``--plain``, below the key or degree of freedom."""
    before, after = (data / "constants" / f"align_2022_4st_local{name}.txt" for name in ("", "_plus_correction_2024"))
    shown = run("constants", "show", before, "--plain")
    assert (shown.status, shown.err) == (0, "")
    assert "\nkey 00\n  x um: 501.80\n  y um: " in f"\n{shown.out}", shown.out
    told = run("constants", "diff", before, after, "--largest", "2", "--plain").out
    assert "\nmodule y\n  changed: 96\n  rms: 51.93\n  mean: -8.98\n  largest: -113.53\n  unit: um\n" in told, told
    assert "  largest rotations: layer 0 of station 3, rx\n  change: -3,132.90\n  unit: urad\n" in told, told
    everything = run("constants", "diff", before, after, "--all", "--plain").out
    assert "key 000\n  x um: 1.61\n  y um: 20.44\n" in everything, everything
    assert "\N{BOX DRAWINGS LIGHT HORIZONTAL}" not in f"{shown.out}{told}{everything}"


def test_constants_that_cannot_be_read_written_or_made(run: Run, data: Path, tmp_path: Path) -> None:
    """A result of another detector, one without numbers, bad constants and a folder that cannot be written are reported."""
    for name, label, value in (("other.res", 4711, "0.50000E-01"), ("nan.res", 102, "NaN")):
        (tmp_path / name).write_text(f" Parameter\n{label:10d}  {value:>14}{'0.0000':>10}\n")
    for name, words in (("other.res", "label 4711 is not a parameter of the tracker"), ("nan.res", "not finite")):
        done = run("constants", "correction", tmp_path / name, "-o", tmp_path / "c.txt")
        assert (done.status, words in done.err) == (2, True), done.err
    (tmp_path / "bad.txt").write_text('"00": [0, 0, 0]')
    done = run("constants", "show", tmp_path / "bad.txt")
    assert (done.status, 'bad.txt: key "00" has 3 values' in done.err) == (2, True), done.err
    source = data / "constants" / "align_2025.txt"
    before = sorted(tmp_path.iterdir())
    for command in (["add", source, source], ["export", source]):
        done = run("constants", *command, "-o", "/proc/none.txt")
        # The file system itself refuses root; other users are refused earlier.
        refused = re.search(r"/proc/none.txt: cannot write", done.err)
        assert (done.status, bool(refused)) == (2, True), done.err
    assert sorted(tmp_path.iterdir()) == before


def test_constants_are_exported(run: Run, data: Path, tmp_path: Path) -> None:
    """``export`` writes Calypso's dictionary by default, and CSV on request."""
    source = data / "constants" / "align_2025.txt"
    assert run("constants", "export", source, "-o", tmp_path / "c.py").status == 0
    assert (tmp_path / "c.py").read_text() == "{" + source.read_text() + "}\n"
    assert run("constants", "export", source, "--format", "csv", "-o", tmp_path / "c.csv").status == 0
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 109
