"""Test ``replay``: stored campaigns judged again, with the stored rules and with others."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command
from recorded import CASES, unpack
from stored import change, rows

from faser_align.alignment.parameters.constants import write_constants
from faser_align.alignment.parameters.labels import module_x_label
from faser_align.alignment.solver.normal_equations import Normal, write_normal
from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_record, write_record
from faser_align.operations import limits
from faser_align.operations.replay import Replayed, replay
from faser_align.state import control_requests, publish, registry

STORES = sorted(path.name for path in (Path(__file__).parents[1] / "data" / "stores").iterdir() if path.is_dir())


def stored(folder: Path) -> list[Any]:
    """Return stage, iteration and verdict of each stored decision."""
    return rows(folder / layout.PUBLISHED, "SELECT stage, iteration, verdict FROM iterations WHERE verdict != ''")


def unpacked(case: str, folder: Path) -> Path:
    """Return the folder of a recorded campaign with its snapshot."""
    folder.mkdir()
    unpack(case, folder)
    publish.publish(str(folder))
    return folder


def ran(
    folder: Path,
    iterations: int = 4,
    *,
    cpu_s: float | None = 7200.0,
    hits: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Make a campaign whose iterations are quiet from the third on, with constants 10 um and 20 urad apart."""
    record = make_campaign(folder, files=1, name=folder.name, config=config)
    for number in range(1, iterations + 1):
        values: dict[str, Any] = {"reconstruction": {} if cpu_s is None else {"cpu_s": cpu_s, "jobs": 1}}
        run_iteration(record, number, **values, **({"hits": hits} if hits else {}))
        found = {"003": (0.01 * number, 0.0, 0.0, 0.0, 0.0, 2e-5 * number), "00": (0.0, 0.001, 0.0, 0.0, 0.0, 0.0)}
        write_constants(layout.result_file(str(folder), 1, number), found)
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a campaign of four iterations, to copy."""
    return ran(tmp_path_factory.mktemp("replay") / "c")


@pytest.fixture
def copy(original: Path, workdir: Path) -> Path:
    """Provide a copy of the campaign, which a test may change."""
    return Path(shutil.copytree(original, workdir / "c"))


@pytest.mark.parametrize("case", CASES)
def test_unchanged_rules_reproduce_every_recorded_decision(case: str, tmp_path: Path) -> None:
    """With the stored rules each decision of a recorded campaign, and the end of each stage, equals the stored one."""
    folder = unpacked(case, tmp_path / "c")
    (found,) = replay([str(folder)])
    assert (found.problem, found.changed, found.decisions) == ("", (), len(stored(folder)))
    ends = [(stage.ran, stage.decision) for stage in found.stages if stage.stops_after == stage.ran]
    lasts = {stage: (iteration, verdict) for stage, iteration, verdict in stored(folder)}
    assert ends == [last for last in lasts.values() if last[1] != "go_on"]


@pytest.mark.parametrize("schema", STORES)
def test_state_databases_of_older_programs_are_reproduced(schema: str, tmp_path: Path) -> None:
    """With the stored rules each decision in a state database of an older program equals the stored one."""
    folder = tmp_path / "c"
    shutil.copytree(Path(__file__).parents[1] / "data" / "stores" / schema, folder)
    publish.publish(str(folder))
    (found,) = replay([str(folder)])
    assert (found.problem, found.changed) == ("", ())
    assert found.decisions == len(stored(folder)) > 0


def test_rules_of_each_time_are_used(workdir: Path, plain_command: Command) -> None:
    """A campaign whose rules were changed while it ran is judged with the rules of each time."""
    folder = ran(workdir / "c", 3)
    assert plain_command("set", str(folder), "convergence.patience=1").status == 0
    record = read_record(str(folder))
    assert run_iteration(dict(record), 4) == 42
    assert plain_command("replay", str(folder)).out == "c: 4 of 4 decisions are as stored\n"
    # With the last rules from the beginning, iteration 3 would have converged.
    (found,) = replay([str(folder)], ["convergence.patience=1"])
    assert [(one.iteration, one.stored, one.now) for one in found.changed] == [(3, "go_on", "converged")]
    assert found.stages[0].stops_after == 3


def test_an_extension_does_not_end_the_stage_again(workdir: Path, plain_command: Command) -> None:
    """An extended stage continues after its first limit, unless other rules end it there for another reason."""
    folder = ran(workdir / "c", 2, campaign={"iterations": 2})
    record = dict(read_record(str(folder)))
    hook("final", str(folder), "final", 0, 0)
    change = limits.new_change("stages.1.iterations", 2, 4)
    control_requests.put(str(folder), "extended", {"stage": 1, "before": 2, "after": 4}, change["id"])
    changes.write(str(folder), [change])
    for number in (3, 4):
        for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
            Path(layout.iteration_folder(str(folder), 1, number), part, "logs").mkdir(parents=True)
    assert [run_iteration(record, number, dag_id="13.0") for number in (3, 4)] == [0, 42]
    assert [verdict for _, _, verdict in stored(folder)] == ["go_on", "limit", "go_on", "converged"]
    assert plain_command("replay", str(folder)).out == "c: 4 of 4 decisions are as stored\n"
    (found,) = replay([str(folder)], ["convergence.patience=3"])
    assert (found.stages[0].stops_after, found.stages[0].decision) == (4, "limit")
    (found,) = replay([str(folder)], ["convergence.residual_shift_um_max=5", "convergence.patience=1"])
    assert (found.stages[0].stops_after, found.stages[0].decision) == (2, "converged")


def test_a_validation_is_judged_again(workdir: Path) -> None:
    """A validation is judged again like an iteration, but is not a stage of the result."""
    folder = ran(workdir / "c", 3)
    half = {"tracks": 9, "chi2_per_ndf": 1.0, "residuals": {}, "modules": {}}
    metrics = json.dumps({"groups": {"all": {"before": half, "after": half | {"chi2_per_ndf": 1.1}}}})
    row = (0, 2, "2026-11-25T00:00:00.000Z", "2026-11-25T01:00:00.000Z", "confirmed", "", "[]", metrics)
    change(folder / layout.STATE, "INSERT INTO iterations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
    publish.publish(str(folder))
    (found,) = replay([str(folder)])
    assert (found.decisions, [stage.stage for stage in found.stages]) == (4, [1])
    assert [(one.stage, one.stored, one.now) for one in found.changed] == [(0, "confirmed", "refuted")]


def test_an_earlier_end_has_its_saving_and_its_distance(copy: Path, plain_command: Command) -> None:
    """A stage that would have ended earlier is shown with the savings and the distance of its constants from the last ones."""
    said = plain_command("replay", str(copy), "--set", "convergence.patience=1")
    assert (said.status, said.err) == (0, "")
    assert "would have ended after iteration 3 of 4 as converged: expected delta chi2 per parameter 0.004" in said.out
    assert "saves 1 iteration and 2.0 CPU h of reconstruction" in said.out
    assert "constants of iteration 4 minus those of iteration 3:" in said.out
    (found,) = json.loads(plain_command("replay", str(copy), "--set", "convergence.patience=1", "--json").out)[
        "campaigns"
    ]
    (stage,) = found["stages"]
    assert (stage["ran"], stage["stops_after"], stage["saved_iterations"], stage["saved_cpu_s"]) == (4, 3, 1, 7200.0)
    assert [(one["dof"], one["unit"], one["where"]) for one in stage["distances"]] == [
        ("x", "um", "003"),
        ("rz", "urad", "003"),
    ]
    assert [one["rms"] for one in stage["distances"]] == pytest.approx([10.0, 20.0])
    assert [one["largest"] for one in stage["distances"]] == pytest.approx([10.0, 20.0])
    plain = plain_command("replay", str(copy), "--set", "convergence.patience=1", "--plain").out
    assert "  would end after: 3\n  as: converged\n  iterations saved: 1\n  CPU h saved: 2.0\n" in plain


def test_normal_equations_give_the_increase_of_chi2(workdir: Path, plain_command: Command) -> None:
    """With stored normal equations the distance is also given as an increase of chi2; a damaged file is named, and the rest is shown."""
    folder = ran(workdir / "c", hits={"kept": 2500, "modules": {}})
    labels = tuple(module_x_label(0, 0, 3, side) for side in (0, 1))
    path = layout.normal_file(str(folder), 1, 4)
    write_normal(path, Normal(labels, np.array([[2.0, 0.5], [0.5, 2.0]]), np.zeros(2), np.zeros((1, 2))))
    (stage,) = replay([str(folder)], ["convergence.patience=1"])[0].stages
    # Both sides moved by 10 um: 100 (2 + 0.5 + 0.5 + 2) for two parameters.
    assert stage.delta_chi2_per_parameter == pytest.approx(250.0)
    assert stage.residual_shift_um == pytest.approx(23.09 * (500 / 2500) ** 0.5, rel=1e-3)
    said = plain_command("replay", str(folder), "--set", "convergence.patience=1").out
    assert "chi2 is larger by 250 per parameter with the constants of iteration 3, which is a residual shift of" in said
    Path(path).write_bytes(Path(path).read_bytes()[:300])
    said = plain_command("replay", str(folder), "--set", "convergence.patience=1", status=0)
    assert f"the increase of chi2 is unknown: cannot read the normal equations {path}" in said.out
    assert "constants of iteration 4 minus those of iteration 3:" in said.out


def test_iterations_that_never_ran_are_not_judged(copy: Path, workdir: Path, plain_command: Command) -> None:
    """A stage that would not have ended is shown as continuing, with the mean cost of an iteration."""
    said = plain_command(
        "replay", str(copy), "--set", "convergence.min_iterations=9", "--set", "convergence.patience=3", status=0
    )
    # The stage's own limit of iterations still ends it.
    assert "would have ended after iteration 4 of 4 as limit" in said.out
    longer = ran(workdir / "d", campaign={"iterations": 9})
    said = plain_command("replay", str(longer), "--set", "convergence.patience=3")
    assert "would have continued after iteration 4, which is the last that ran: " in said.out
    assert "each iteration more costs about 2.0 CPU h of reconstruction" in said.out
    (found,) = replay([str(longer)], ["convergence.patience=3"])
    assert (found.stages[0].stops_after, found.stages[0].decision, found.stages[0].saved_iterations) == (
        None,
        "go_on",
        0,
    )


def test_stages_after_an_end_would_not_have_begun(tmp_path: Path, plain_command: Command) -> None:
    """If a stage would have ended the campaign, later stages count as saved; otherwise they are judged as they ran."""
    folder = unpacked("stages", tmp_path / "c")
    (found,) = replay([str(folder)], ["convergence.starved_per_parameter=1000"])
    assert [(stage.stops_after, stage.decision, stage.saved_iterations) for stage in found.stages] == [
        (1, "starved", 2),
        (0, "", 3),
    ]
    assert found.notes == ()
    said = plain_command("replay", str(folder), "--set", "stages.1.convergence.starved_per_parameter=1000").out
    assert "would not have begun: the campaign would have ended in stage 1 as starved" in said
    said = plain_command("replay", str(folder), "--set", "stages.1.convergence.residual_shift_um_max=5").out
    assert "the stages after stage 1 are judged as they ran" in said
    (found,) = replay([str(folder)], ["stages.2.convergence.patience=2"])
    assert [stage.stops_after for stage in found.stages] == [3, None]
    assert found.notes == ()


def test_a_stages_own_rule_still_applies(tmp_path: Path) -> None:
    """A rule for all stages leaves a stage's own value, and a note names the key that would change it."""
    folder = unpacked("stages", tmp_path / "c")
    record = read_record(str(folder))
    record["stages"][0]["convergence"] = {"patience": 1}
    write_record(f"{folder}/{layout.RECORD}", record)
    (found,) = replay([str(folder)], ["convergence.patience=2"])
    assert [stage.stops_after for stage in found.stages] == [3, None]
    name = record["stages"][0]["name"]
    own = f"stage {name!r} has its own patience, which still applies; change it as stages.1.convergence.patience"
    assert own in found.notes


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("mille.residual_max=1", "other cuts and derivatives choose other tracks and hits"),
        ("reconstruction.min_files=0.5", "another number of files"),
        ("stages.1.steps=1", "other steps or numbers of iterations need iterations that never ran"),
        ("stages.1.iterations=9", "other steps or numbers of iterations need iterations that never ran"),
        ("campaign.iterations=9", "numbers of iterations need iterations that never ran"),
        ("validation.chi2_rise_max=1", "a replay judges the iterations, and not the validation"),
        ("notify.events=end", "no decision on an iteration reads it"),
        ("convergence.momentum_max=1", "it is only reported"),
        ("convergence.patiense=1", "did you mean convergence.patience?"),
        ("nothing.at_all=1", "nothing.at_all is not a key of the configuration; docs/configuration.md lists all keys"),
        ("convergence.patience=0", "must be a whole number at least 1"),
        ("convergence.rules=big", "is not allowed"),
        ("convergence.patience", "is not KEY=VALUE"),
    ],
)
def test_what_cannot_be_replayed_is_refused(key: str, why: str, command: Command) -> None:
    """A key outside [convergence], an unknown key or a bad value is refused in one sentence that says why."""
    said = command("replay", "converged", "--set", key)
    assert (said.status, said.out) == (2, "")
    assert why in said.err
    assert said.err.count("\n") == 1


def test_a_campaign_that_cannot_be_judged_is_named(workdir: Path, plain_command: Command) -> None:
    """Malformed metrics, a missing stage, snapshot or iteration give one sentence each; other campaigns are judged."""
    good = ran(workdir / "good")
    bad = {name: shutil.copytree(good, workdir / name) for name in ("text", "shape", "gap", "gone")}
    for name, sql in {
        "text": "UPDATE iterations SET metrics = '{' WHERE iteration = 2",
        "shape": """UPDATE iterations SET metrics = '{"files": 3, "hits": [1]}' WHERE iteration = 2""",
        "gap": "DELETE FROM iterations WHERE iteration = 2",
    }.items():
        change(bad[name] / layout.PUBLISHED, sql)
    (bad["gone"] / layout.PUBLISHED).unlink()
    said = plain_command("replay", *map(str, [*bad.values(), good]))
    assert (said.status, said.out) == (1, f"good ({good}): 4 of 4 decisions are as stored\n")
    of = "the metrics of iteration 2 of stage 1 in"
    published = {name: f"{folder}/published.db" for name, folder in bad.items()}
    why = {
        "text": f"{of} {published['text']} are malformed: they are not valid JSON",
        "shape": f"{of} {published['shape']} are malformed: files is 3",
        "gap": "the state database has no decision on iteration 2 of stage 1",
        "gone": f"{published['gone']} is missing; `faser-align repair {bad['gone']}` makes it again",
    }
    assert said.err.splitlines() == [
        f"warning: good ({bad[name]}) cannot be judged again: {text}" for name, text in why.items()
    ]
    said = plain_command("replay", str(good), "--set", "stages.2.convergence.patience=1")
    assert said.err == "warning: good cannot be judged again: it has no stage 2; its stages are 1 to 1\n"


def test_unknown_numbers_are_unknown(workdir: Path, plain_command: Command) -> None:
    """Without CPU times or constants, the end is shown with the unknown quantities named."""
    folder = ran(workdir / "c", cpu_s=None)
    path = Path(layout.result_file(str(folder), 1, 3))
    path.unlink()
    said = plain_command("replay", str(folder), "--set", "convergence.patience=1", status=0)
    assert "saves 1 iteration and an unknown CPU time of reconstruction" in said.out
    assert f"the distance of the constants is unknown: cannot read the constants file {path}" in said.out
    shutil.copy(layout.result_file(str(folder), 1, 4), path)
    same = plain_command("replay", str(folder), "--set", "convergence.patience=1").out
    assert "the constants of iterations 3 and 4 are equal" in same


def test_a_campaign_without_a_decision_says_so(command: Command) -> None:
    """A campaign without a judged iteration has nothing to replay, with rules and without."""
    sentence = "created has no decision yet; it is created\n"
    assert command("replay", "created") == (0, sentence, "")
    assert command("replay", "created", "--set", "convergence.patience=1").out.endswith(sentence)


def test_a_decision_that_differs_is_shown(workdir: Path, plain_command: Command) -> None:
    """Without other rules, a decision that differs from the stored one is shown with its reason, with exit status 1."""
    folder = ran(workdir / "c", 2)
    change(folder / layout.PUBLISHED, "UPDATE iterations SET verdict = 'converged' WHERE iteration = 2")
    said = plain_command("replay", str(folder), status=1)
    assert said.out.startswith(
        "c: 1 of 2 decisions are as stored\n  iteration 2 of stage 1 is stored as converged, and its metrics say go on: expected"
    )


def test_campaigns_are_given_by_name_or_folder_once(command: Command, campaigns: Path) -> None:
    """Names and folders may be mixed; a campaign that is named twice, or that is unknown, is refused."""
    assert command("replay", "one", f"{campaigns}/converged").status == 0
    said = command("replay", "one", "converged", f"{campaigns}/one")
    assert (said.status, said.err) == (2, f"error: {campaigns}/one is named twice; name each campaign once\n")
    assert "the nearest is 'converged'" in command("replay", "convergd").err


def test_many_campaigns_have_a_table_and_their_sum(copy: Path, workdir: Path, plain_command: Command) -> None:
    """More than a few campaigns are one table with the sum of the savings; equal names are shown with their folders."""
    folders = [copy, *(shutil.copytree(copy, workdir / f"c{number}") for number in range(5))]
    said = plain_command("replay", *map(str, folders), "--plain", "--set", "convergence.patience=1").out
    assert f"c ({workdir}/c3)" in said
    assert (
        "6 of 6 campaigns would have ended earlier, which saves 6 iterations and 12.0 CPU h of reconstruction" in said
    )
    assert "would have ended after iteration" not in said
    assert "--json, or a replay of at most 5 campaigns" in said


def test_a_thousand_names_read_the_registry_once(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is read once for any number of campaigns."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    first = ran(workdir / "c", 1)
    names = []
    for number in range(30):
        folder = shutil.copytree(first, workdir / f"c{number}")
        registry.add(f"n{number}", str(folder))
        names.append(f"n{number}")
    calls = []
    entries = registry.entries
    monkeypatch.setattr(registry, "entries", lambda: calls.append(time.time()) or entries())
    found: list[Replayed] = replay(names)
    assert (len(found), len(calls)) == (30, 1)
