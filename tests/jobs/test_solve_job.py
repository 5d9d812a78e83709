"""Test the Millepede job as a process."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook
from nowhere import until
from standin import make_pede

from faser_align.alignment.parameters.constants import (
    add_constants,
    parameters_from_correction,
    parse_constants,
    read_constants,
    write_constants,
)
from faser_align.alignment.pede.results import read_end, read_result
from faser_align.alignment.quality.figure_data import read_figures
from faser_align.alignment.solver.normal_equations import read_normal
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm import exit_codes
from faser_align.jobs.reconstruct import reconstruct
from faser_align.simulation.misalign import misplace_ift
from faser_align.state import publish
from faser_align.state.create import create_store

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
Fails = Callable[..., str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder for reconstructed files of campaigns whose configurations are the same."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def reconstructed(make_campaign: Make, kept: Path) -> Callable[..., Path]:
    """Make a campaign whose first iteration is reconstructed; keywords are tables of the configuration."""

    def make(numbers: tuple[int, ...] = (400, 401), **tables: Any) -> Path:
        folder = make_campaign(numbers, **tables)
        given = {key: tables[key] for key in sorted(tables) if key not in ("notify", "report", "storage")}
        copy = kept / hashlib.sha256(repr((numbers, given)).encode()).hexdigest()
        files = binary(folder, numbers[0]).parent
        if copy.exists():
            shutil.copytree(copy, files)
            return folder
        for number in numbers:
            reconstruct(str(folder), 1, 1, number)
        shutil.copytree(files, copy)
        return folder

    return make


def solution_folder(campaign: Path, iteration: int = 1) -> Path:
    return Path(layout.metrics_file(str(campaign), 1, iteration)).parent


def metrics(campaign: Path, iteration: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(layout.metrics_file(str(campaign), 1, iteration)).read_text())
    return found


def binary(campaign: Path, file: int = 400, iteration: int = 1) -> Path:
    """Return the Mille binary of a raw file."""
    return Path(layout.mille_file(str(campaign), 1, iteration, "011705", file))


def drop(campaign: Path, file: int) -> None:
    """List a raw file as dropped, as the PRE script of the Millepede job does."""
    lost = Path(layout.lost_file(str(campaign), 1, 1))
    lost.parent.mkdir()
    lost.write_text(f"[{file}]")


def solved(run_job: Run, campaign: Path, iteration: int = 1) -> dict[str, Any]:
    """Run the job, which must succeed; return the metrics."""
    assert run_job("solve", campaign, 1, iteration).returncode == 0
    return metrics(campaign, iteration)


def test_writes_constants_and_metrics(reconstructed: Make, run_job: Run) -> None:
    """The job writes correction, sum and metrics, which summarise its data and its solution; the sum starts the next iteration."""
    campaign = reconstructed(notify={"targets": ["me"]})
    done = run_job("solve", campaign, 1, 1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folder = solution_folder(campaign)
    left = {*os.listdir(folder)}
    assert {"millepede.res", "millepede.end", "millepede.log", "par.txt", "con.txt", "str.txt"} <= left
    assert read_end(folder / "millepede.end")[0] == 1  # 18 of 24 constraints are empty
    start = read_constants(layout.constants_file(str(campaign), 1, 1))
    correction = read_constants(folder / "correction.txt")
    total = read_constants(layout.result_file(str(campaign), 1, 1))
    assert {key for key in correction if any(correction[key])} == {f"0{i}{k}" for i in range(3) for k in range(8)}
    expected = add_constants(start, correction)
    assert all(total[key] == pytest.approx(expected[key], rel=2e-5, abs=1e-9) for key in total)
    handed_on = layout.constants_file(str(campaign), 1, 2)
    assert Path(handed_on).read_text() == Path(layout.result_file(str(campaign), 1, 1)).read_text()
    assert not [name for name in left if name.endswith(".tmp")]
    assert Path(layout.plot_file(str(campaign), 1, 1)).read_bytes().startswith(b"\x89PNG")
    found = metrics(campaign)
    assert found["no_plot"] == ""
    assert (found["format"], found["stage"], found["iteration"]) == (1, 1, 1)
    assert found["files"].items() >= {"expected": 2, "used": 2, "lost": []}.items()
    assert 500 < found["tracks"]["used"] < found["tracks"]["read"] <= 600
    assert found["hits"]["kept"] > 9000
    assert (found["residual_max_mm"], found["residual_max_final"]) == (1.0, False)
    assert 1.1 < found["chi2_per_ndf"] < 1.6
    assert found["effect_um"] > 5.0
    assert found["significance"] == found["steps"][0]["significance"] > 10.0
    assert found["steps"][0]["name"] == "IFT fix layer"
    assert found["steps"][0]["variable"] - found["steps"][0]["free_parameters"] == 6
    assert set(found["corrections"]) == {"module.x", "module.y", "module.rz"}
    assert found["nan"] is False
    assert 0 < found["wall_s"] < 60
    assert 20 < found["max_memory_mb"] < 1000


def test_writes_the_data_of_the_figures(reconstructed: Make, run_job: Run) -> None:
    """The file of figures has the summed histograms and the solution's corrections and spectrum, in at most 200 kB."""
    campaign = reconstructed()
    found = solved(run_job, campaign)
    path = layout.figures_file(str(campaign), 1, 1)
    assert os.path.getsize(path) < 200_000
    data = read_figures(path)
    assert data is not None
    assert (data.stage, data.iteration, data.residual_max_mm) == (1, 1, 1.0)
    assert [(row.first, row.files) for row in data.files] == [("400", 1), ("401", 1)]
    assert sum(row.tracks for row in data.files) == found["tracks"]["used"]
    assert sum(row.hits for row in data.files) == data.hits == found["hits"]["read"]
    residuals, medians = data.histogram("residuals"), data.layer_medians()
    assert residuals is not None
    assert residuals.contents.sum() == data.hits
    assert medians is not None
    for layer, centre in medians.items():
        assert centre.median_um == pytest.approx(found["residuals"][layer]["median_um"], abs=2.0)
    correction = read_constants(solution_folder(campaign) / "correction.txt")
    assert data.corrections.keys() == {f"0{i}{k}" for i in range(3) for k in range(8)}
    for key, row in data.corrections.items():
        assert row.value[1] == pytest.approx(1000 * correction[key][1], rel=1e-4, abs=1e-3)
        assert row.error[1] is None or row.error[1] > 0
    (spectrum,) = data.spectra
    assert len(data.parameters) == found["steps"][0]["variable"] == 72
    assert all(0 <= (row.global_correlation or 0) <= 1 for row in data.parameters)
    weak = found["steps"][0]["parts"]["weak"]["directions"]
    assert sum(mode.eigenvalue < spectrum.weak for mode in spectrum.modes) == weak
    assert len(spectrum.modes) == weak + found["steps"][0]["parts"]["significant"]["directions"]
    Path(layout.histograms_file(str(binary(campaign)))).unlink()
    solved(run_job, campaign)
    older = read_figures(path)
    assert older is not None
    assert older.histogram("residuals") is None
    assert older.histogram("hits") is not None


def test_lost_files_are_left_out(reconstructed: Make, run_job: Run) -> None:
    """Files in the list of dropped files are neither required nor used."""
    campaign = reconstructed((400, 401, 402))
    for path in (binary(campaign, 401), binary(campaign, 401).with_suffix(".bin.json")):
        path.unlink()
    drop(campaign, 401)
    found = solved(run_job, campaign)
    assert found["files"].items() >= {"expected": 3, "used": 2, "lost": [401]}.items()
    assert found["files"]["agreement"]["worst"]["file"] == "402"
    assert found["tracks"]["read"] <= 600


def test_missing_data_is_named(reconstructed: Make, run_job: Run, fails: Fails) -> None:
    """A missing Mille binary, or one without its counts, stops the job; nothing is solved, and old metrics are removed."""
    campaign = reconstructed()
    assert run_job("solve", campaign, 1, 1).returncode == 0
    binary(campaign, 401).unlink()
    said = fails(exit_codes.INPUT_MISSING, "solve", campaign, 1, 1)
    assert said == f"missing in {campaign}/iter01/2kfalignment: mp2input_011705_00401.bin\n"
    assert not os.path.exists(layout.metrics_file(str(campaign), 1, 1))
    binary(campaign).with_suffix(".bin.json").unlink()
    assert "mp2input_011705_00400.bin.json" in fails(exit_codes.INPUT_MISSING, "solve", campaign, 1, 1)


def test_all_files_lost(reconstructed: Make, fails: Fails) -> None:
    """An iteration without any file fails with its own exit status."""
    campaign = reconstructed((400,))
    drop(campaign, 400)
    assert "all raw files were dropped" in fails(exit_codes.INPUT_MISSING, "solve", campaign, 1, 1)


@pytest.mark.parametrize("content", [None, "", '"00": [1, 2]'])
def test_constants_must_be_good(reconstructed: Make, fails: Fails, content: str | None) -> None:
    """Missing or malformed constants stop the job."""
    campaign = reconstructed((400,))
    path = Path(layout.constants_file(str(campaign), 1, 1))
    path.unlink()
    if content is not None:
        path.write_text(content)
    said = fails(exit_codes.CONSTANTS, "solve", campaign, 1, 1)
    assert str(path) in said
    assert said.count("\n") == 1


def test_truncated_binary_is_no_solution(reconstructed: Make, fails: Fails) -> None:
    """A damaged binary ends with the solver's message, and no constants are passed on."""
    campaign = reconstructed((400,))
    path = binary(campaign)
    path.write_bytes(path.read_bytes()[:-10])
    assert "truncated" in fails(exit_codes.SOLVER, "solve", campaign, 1, 1)
    assert read_end(solution_folder(campaign) / "millepede.end")[0] == 18
    assert not os.path.exists(layout.constants_file(str(campaign), 1, 2))
    assert not os.path.exists(layout.metrics_file(str(campaign), 1, 1))


@pytest.mark.parametrize("backend", ["builtin", "pede"])
def test_too_few_tracks_for_any_parameter(reconstructed: Make, fails: Fails, tmp_path: Path, backend: str) -> None:
    """With 60 tracks no parameter has enough entries, and the job ends with its own status and names the limit."""
    solver = {"backend": backend, "pede": str(make_pede(tmp_path)), "entries": 5000}
    campaign = reconstructed((400,), simulation={"tracks": 60}, solver=solver)
    said = fails(exit_codes.STATISTICS, "solve", campaign, 1, 1)
    assert re.search(r"of \d+ tracks no free parameter has the 5000 measurements that solver.entries requires", said)
    assert not os.path.exists(layout.metrics_file(str(campaign), 1, 1))


def test_steps_keep_what_was_found_before(reconstructed: Make, run_job: Run) -> None:
    """A second step keeps the first one's values fixed, and the correction is the sum of both."""
    first = {"name": "modules", "fix": ["layer", "3ST"]}
    second = {"name": "layer 12", "fix": ["module", "3ST", 10, 11]}
    campaign = reconstructed(stages=[{"name": "both", "steps": [first, second]}])
    assert run_job("solve", campaign, 1, 1).returncode == 0
    folder = solution_folder(campaign)
    before, after = (read_result(folder / name / "millepede.res") for name in ("step1", "step2"))
    free = {label for label, row in after.items() if row.difference is not None}
    assert free == {121, 122, 123, 124, 125}
    modules = [label for label, row in before.items() if row.difference is not None]
    assert [after[label].value for label in modules] == pytest.approx([before[label].value for label in modules])
    correction = read_constants(folder / "correction.txt")
    assert correction["02"][1] == pytest.approx(after[122].value, rel=1e-4)
    assert any(correction["013"])
    found = metrics(campaign)
    assert [step["name"] for step in found["steps"]] == ["modules", "layer 12"]
    assert found["significance"] == max(step["significance"] for step in found["steps"])


def test_next_stage_starts_from_the_latest(reconstructed: Make, run_job: Run) -> None:
    """Every iteration passes its constants to the first iteration of the next stage, too."""
    step = {"steps": [{"name": "modules", "fix": ["layer", "3ST"]}]}
    campaign = reconstructed(stages=[{"name": "one", "iterations": 1, **step}, {"name": "two", **step}])
    assert run_job("solve", campaign, 1, 1).returncode == 0
    handed_on = Path(layout.constants_file(str(campaign), 2, 1)).read_text()
    assert handed_on == Path(layout.result_file(str(campaign), 1, 1)).read_text()
    assert parse_constants(handed_on, "handed on")
    assert not os.path.exists(layout.constants_file(str(campaign), 1, 2))


def test_too_many_rejects_are_answered_once(make_campaign: Make, run_job: Run, fails: Fails) -> None:
    """If the residual cut removes so many hits that the solver gives up, the job converts again with ten times the cut."""
    campaign = make_campaign(mille={"residual_max": [0.005]}, simulation={"tracks": 600})
    start = layout.constants_file(str(campaign), 1, 1)
    write_constants(start, misplace_ift(read_constants(start), seed=1))
    for number in (400, 401):
        reconstruct(str(campaign), 1, 1, number)
    found = solved(run_job, campaign)
    assert (found["converted_again"], found["residual_max_mm"], found["residual_max_final"]) == (True, 0.05, False)
    assert found["steps"][0]["why_not_sums"] == "the tracks were converted again with a wider residual cut"
    assert any("ten times the cut" in note for note in found["notes"])
    assert found["solver"]["end_code"] in (0, 1, 2)
    tracks = binary(campaign).parent
    narrow, wide = (tracks / f"mp2input_011705_00400{which}.bin" for which in ("", "_wide"))
    assert narrow.stat().st_size < wide.stat().st_size
    assert found["tracks"]["used"] > 500

    # A repetition gives the same result: an interrupted attempt can be repeated.
    assert solved(run_job, campaign)["significance"] == found["significance"]

    # Without the tracks this retry is impossible.
    (tracks / "kfalignment_011705_00401.root").unlink()
    assert "kfalignment_011705_00401.root" in fails(exit_codes.CONVERSION, "solve", campaign, 1, 1)


def test_the_record_says_what_is_open_and_what_was_held_fixed(reconstructed: Make, run_job: Run) -> None:
    """Every step's correction is split into its parts, and the last iteration has the expected decrease from freeing fixed parameters."""
    step = {"steps": [{"name": "modules", "fix": ["layer", "3ST"]}]}
    campaign = reconstructed(stages=[{"name": "one", "iterations": 1, **step}])
    found = solved(run_job, campaign)
    parts = found["steps"][0]["parts"]
    assert parts["significant"]["directions"] == found["steps"][0]["free_parameters"]
    assert found["determined"]["effect_um"] == pytest.approx(found["effect_um"], rel=0.02)
    assert set(found["held_fixed"]) >= {"IFT layer.y", "3ST layer.y", "3ST module.x", "all"}
    assert found["momentum"].keys() >= {"median_q_over_p_plus", "edge_low"}
    assert "since_before" not in found["momentum"]  # absent


def test_the_normal_equations_of_the_latest_iteration_are_stored(reconstructed: Make, run_job: Run) -> None:
    """The stored normal equations give the expected decrease of the correction; each iteration replaces the file of the one before."""
    campaign = reconstructed((400,))
    found = solved(run_job, campaign)
    path = Path(layout.normal_file(str(campaign), 1, 1))
    assert path.stat().st_size < 1e6
    correction = read_constants(solution_folder(campaign) / "correction.txt")
    decrease = read_normal(str(path)).chi2_increase(parameters_from_correction(correction))
    assert decrease == pytest.approx(found["steps"][0]["expected_decrease"], rel=0.02)
    reconstruct(str(campaign), 1, 2, 400)
    solved(run_job, campaign, 2)
    assert Path(layout.normal_file(str(campaign), 1, 2)).exists()
    assert not path.exists()


def test_momenta_are_compared_with_the_iteration_before(reconstructed: Make, run_job: Run) -> None:
    """The next iteration identifies the same tracks, and their momenta have hardly changed."""
    campaign = reconstructed()
    assert run_job("solve", campaign, 1, 1).returncode == 0
    for number in (400, 401):
        reconstruct(str(campaign), 1, 2, number)
    found = solved(run_job, campaign, 2)["momentum"]
    assert found["since_before"] == found["since_first"]
    assert found["since_before"]["common"] > 500
    assert abs(found["since_before"]["momentum_change_plus"]) < 0.05


def has_tracks(campaign: Path, iteration: int) -> bool:
    """Return whether the ROOT file of an iteration exists."""
    return Path(layout.kfalignment_file(str(campaign), 1, iteration, "011705", 400)).exists()


@pytest.mark.parametrize(
    ("storage", "left"),
    [
        ({}, [True, True, True]),
        ({"keep_intermediate_root_files": False}, [False, False, True]),
        ({"keep_iterations": 2}, [False, True, True]),
    ],
)
def test_tracks_are_dropped_after_the_verdict_only(
    reconstructed: Make, run_job: Run, storage: dict[str, Any], left: list[bool]
) -> None:
    """A Millepede job removes tracks of earlier iterations, as configured, after it has solved; never its own."""
    campaign = reconstructed((400,), storage=storage)
    for number in (1, 2, 3):
        if number > 1:
            reconstruct(str(campaign), 1, number, 400)
        if number == 3:
            binary(campaign, iteration=3).rename(campaign / "aside.bin")
            assert run_job("solve", campaign, 1, 3).returncode == exit_codes.INPUT_MISSING
            assert has_tracks(campaign, 2)  # not solved: nothing is removed
            (campaign / "aside.bin").rename(binary(campaign, iteration=3))
        assert run_job("solve", campaign, 1, number).returncode == 0
    assert [has_tracks(campaign, number) for number in (1, 2, 3)] == left


def test_layers_are_judged_about_their_own_z(reconstructed: Make, run_job: Run) -> None:
    """With Calypso's pivot, weak modes are computed with the derivatives that match the constants."""
    stages = [{"name": "layers", "steps": [{"name": "IFT fix side", "fix": ["side", "3ST"]}]}]
    found = {}
    for pivot in ("calypso", "layer"):
        campaign = reconstructed((400,), stages=stages, mille={"pivot": pivot}, simulation={"tracks": 1500})
        assert run_job("solve", campaign, 1, 1).returncode == 0
        found[pivot] = metrics(campaign)
        shutil.rmtree(campaign)
    sizes = {pivot: m["steps"][0]["parts"]["significant"]["expected_decrease"] for pivot, m in found.items()}
    # With the same tracks, a step with Calypso's derivatives does not have the decrease that its own matrix expects.
    assert sizes["layer"] == pytest.approx(found["layer"]["steps"][0]["expected_decrease"], rel=0.1)
    assert sizes["calypso"] > 1.05 * found["calypso"]["steps"][0]["expected_decrease"]


def test_sums_give_what_the_binaries_give(reconstructed: Make, run_job: Run) -> None:
    """With weights, dropped files and layer rotations, the job gets the same result from sums as from binaries."""
    steps = [{"name": "IFT fix side", "fix": ["side", "3ST"]}, {"name": "modules", "fix": ["layer", "3ST"]}]
    campaign = reconstructed(
        (400, 401, 402),
        stages=[{"name": "two steps", "steps": steps}],
        mille={"pivot": "calypso"},
        solver={"weights": {"011705": 0.5}},
    )
    drop(campaign, 401)
    summed = solved(run_job, campaign)
    constants = read_constants(layout.result_file(str(campaign), 1, 1))
    assert [(step["from_sums"], step["why_not_sums"]) for step in summed["steps"]] == [(True, "")] * 2
    log = (solution_folder(campaign) / "step2" / "millepede.log").read_text()
    assert " Note: the solution is from the sums of 2 binaries\n" in log
    sums = binary(campaign, 402).with_suffix(".sums")
    assert sums.stat().st_size < 2_000_000
    sums.unlink()
    full = solved(run_job, campaign)
    assert [step["from_sums"] for step in full["steps"]] == [False] * 2
    assert full["steps"][0]["why_not_sums"] == f"{sums} is missing"
    same = ("weak_modes", "errors", "determined", "module_pulls", "corrections", "solver", "held_fixed", "error_scale")
    for name in (*same, "steps"):
        found, expected = dict(numbers_in(summed[name])), dict(numbers_in(full[name]))
        assert found.keys() == expected.keys()
        different = {at for at, value in found.items() if value != pytest.approx(expected[at], rel=1e-4, abs=1e-7)}
        assert {at.rpartition(".")[2] for at in different} <= {"from_sums"}, (name, different)
    for key, six in read_constants(layout.result_file(str(campaign), 1, 1)).items():
        assert six == pytest.approx(constants[key], rel=1e-9, abs=1e-9)


def numbers_in(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Return the numbers in a JSON value, by path."""
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_in(part, f"{path}.{key}")
    elif isinstance(value, (int, float)):
        yield path, value


def change_by_hand(path: str) -> str:
    """Move a module of the IFT by 10 um in a constants file; return the new text."""
    constants = read_constants(path)
    x, *others = constants["003"]
    write_constants(path, constants | {"003": (x + 0.01, *others)})
    return Path(path).read_text()


def test_constants_that_were_changed_by_hand_are_used_and_named(reconstructed: Make, run_job: Run) -> None:
    """Constants changed by hand between iterations are used, and reported in the metrics with checksums."""
    campaign = reconstructed(numbers=(400,))
    first = solved(run_job, campaign)
    start = Path(layout.constants_file(str(campaign), 1, 1)).read_bytes()
    result = Path(layout.result_file(str(campaign), 1, 1)).read_bytes()
    assert first["constants"] == {
        "start_sha256": hashlib.sha256(start).hexdigest(),
        "result_sha256": hashlib.sha256(result).hexdigest(),
        "changed_by_hand": False,
    }
    assert not any("by hand" in note for note in first["notes"])

    changed = change_by_hand(layout.constants_file(str(campaign), 1, 2))
    reconstruct(str(campaign), 1, 2, 400)
    second = solved(run_job, campaign, 2)
    assert second["constants"]["changed_by_hand"]
    assert second["constants"]["start_sha256"] == hashlib.sha256(changed.encode()).hexdigest()
    assert second["notes"][0] == "the constants of iteration 2 were changed by hand"
    correction = read_constants(solution_folder(campaign, 2) / "correction.txt")
    total = read_constants(layout.result_file(str(campaign), 1, 2))
    expected = add_constants(parse_constants(changed, "changed"), correction)
    assert all(total[key] == pytest.approx(expected[key], rel=2e-5, abs=1e-9) for key in total)

    # The third starts from the second's result, so there is nothing to report.
    reconstruct(str(campaign), 1, 3, 400)
    assert not solved(run_job, campaign, 3)["constants"]["changed_by_hand"]


def test_the_first_constants_are_compared_with_those_that_were_submitted(reconstructed: Make, run_job: Run) -> None:
    """A change before the first iteration is detected by the checksum in the manifest."""
    campaign = reconstructed(numbers=(400,))
    change_by_hand(layout.constants_file(str(campaign), 1, 1))
    assert solved(run_job, campaign)["notes"][0] == "the constants of iteration 1 were changed by hand"


def test_an_older_iteration_before_is_compared_by_its_result(reconstructed: Make, run_job: Run) -> None:
    """If older metrics have no checksum, the constants are compared with the previous iteration's result file."""
    campaign = reconstructed(numbers=(400,))
    older = solved(run_job, campaign)
    del older["constants"]
    Path(layout.metrics_file(str(campaign), 1, 1)).write_text(json.dumps(older))
    reconstruct(str(campaign), 1, 2, 400)
    second = solved(run_job, campaign, 2)
    assert not second["constants"]["changed_by_hand"]
    assert second["no_plot"] == "notify.targets was empty when the iteration was solved"
    assert not os.path.exists(layout.plot_file(str(campaign), 1, 2))
    change_by_hand(layout.constants_file(str(campaign), 1, 2))
    assert solved(run_job, campaign, 2)["constants"]["changed_by_hand"]


def test_without_matplotlib_there_is_no_plot_and_nothing_fails(reconstructed: Make, tmp_path: Path) -> None:
    """Without matplotlib the job succeeds, says why there is no plot, and removes an older one."""
    campaign = reconstructed(notify={"targets": ["me"]})
    picture = Path(layout.plot_file(str(campaign), 1, 1))
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"of an earlier attempt")
    script = tmp_path / "without.py"
    script.write_text(
        "import sys\n"
        "sys.modules['matplotlib'] = None  # as if it were not installed\n"
        "from faser_align.jobs.solve import solve\n"
        f"solve({str(campaign)!r}, 1, 1)\n"
    )
    subprocess.run([sys.executable, "-I", str(script)], check=True)
    assert "figures need matplotlib, which is not installed for" in metrics(campaign)["no_plot"]
    assert not picture.exists()


def without_answer(reconstructed: Make, pages: Path) -> tuple[Path, Path]:
    """Return a reconstructed campaign that publishes into ``pages``, and a file whose reading blocks forever."""
    campaign = reconstructed(report={"publish": str(pages)})
    create_store(str(campaign), read_record(str(campaign)))
    assert hook("pre", campaign, layout.reco_node(1, 1, 400), 0, 2).returncode == 0
    silent = Path(layout.metrics_file(str(campaign), 1, 1)).parent / "silent" / "own.txt"
    silent.parent.mkdir(parents=True)
    os.mkfifo(silent)
    return campaign, silent


def test_a_page_that_is_waited_for_holds_no_job_up(reconstructed: Make, tmp_path: Path) -> None:
    """If a page's file never answers, the job continues after its time limit, says so, and leaves no process."""
    campaign, _ = without_answer(reconstructed, tmp_path / "pages")
    program = (
        "import faser_align.pages.bounded as bounded\n"
        "from faser_align.jobs.solve import solve\n"
        f"bounded.PUBLISH_S_MAX = 3.0\nsolve({str(campaign)!r}, 1, 1)\n"
    )
    command = [sys.executable, "-I", "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as job:
        _, said = job.communicate(timeout=300)
    pages = tmp_path / "pages"
    why = f"the page in {pages} is not up to date: the page was not written within 3 s\n"
    assert (job.returncode, said) == (0, why)
    assert metrics(campaign)["chi2_per_ndf"]
    assert not pages.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)


def test_a_page_is_written_by_nobody_when_its_job_is_gone(reconstructed: Make, tmp_path: Path) -> None:
    """The process that writes a page ends with the job that waits for it, however that was killed."""
    campaign, silent = without_answer(reconstructed, tmp_path / "pages")
    program = f"from faser_align.jobs.solve import solve; solve({str(campaign)!r}, 1, 1)"
    with subprocess.Popen([sys.executable, "-I", "-c", program], start_new_session=True) as job:
        silence = until(lambda: _read_by_somebody(silent))
        assert _writers(job.pid)
        job.kill()
    until(lambda: not _writers(job.pid))
    os.close(silence)


def _read_by_somebody(pipe: Path) -> int | None:
    """Return the descriptor of a named pipe that somebody has opened for reading."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as none:
        if none.errno != errno.ENXIO:
            raise
        return None


def _writers(parent: int) -> list[Path]:
    """Return the workers of a process."""
    found = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = words.read_text(errors="replace")
            found += [words] if f"bounded.serve(int(sys.argv[1]))\0{parent}\0" in text else []
    return found


def test_a_page_that_cannot_be_published_costs_nothing(reconstructed: Make, run_job: Run, tmp_path: Path) -> None:
    """If the folder for pages cannot be used, the iteration is still solved, and the job's log says why in one line."""
    taken = tmp_path / "taken"
    taken.write_text("a file")
    campaign = reconstructed(report={"publish": str(taken)})
    create_store(str(campaign), read_record(str(campaign)))
    publish.publish(str(campaign))
    done = run_job("solve", campaign, 1, 1)
    said = f"the page in {taken} is not up to date: report.publish = {taken} cannot be written: File exists\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert metrics(campaign)["chi2_per_ndf"]
    assert {"faser-align", "Python", "numpy"} <= metrics(campaign)["versions"].keys()
