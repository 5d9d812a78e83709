"""Test that the descriptions of metrics agree with what jobs write and readers use."""

import copy
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign as make_with_store
from campaigns import run_iteration
from described import Keys, Watched, found, looked_at, names_of, undescribed
from iterating import iterate

from faser_align.alignment.quality import describe, grades, notes
from faser_align.campaign import layout
from faser_align.cli.show import figures
from faser_align.fsm import validation, verdict
from faser_align.fsm.rules import Rules
from faser_align.jobs.figures import plot
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve
from faser_align.jobs.validate import validate
from faser_align.pages.collect import collect
from faser_align.pages.report import render
from faser_align.state import facts

pytestmark = pytest.mark.slow

Metrics = dict[str, Any]
FILES = (400, 401)
LAST = 2
STEPS = [
    {"name": "modules", "fix": ["layer", "3ST"], "freeze_sigma": 1.0},
    {"name": "layers", "fix": ["side", "module", "3ST"]},
]
STAGES = [
    {"name": "IFT", "steps": STEPS},
    {"name": "last", "iterations": 1, "steps": [{"name": "some layers", "fix": ["module", "3ST", "rx", "ry"]}]},
]


@pytest.fixture(scope="module")
def campaign(make_campaign_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a campaign of two stages: two iterations of two steps, then one that holds modules fixed; and a validation."""
    folder = make_campaign_in(
        tmp_path_factory.mktemp("described"),
        FILES,
        stages=STAGES,
        campaign={"iterations": LAST},
        solver={"entries": 100},
        mille={"pivot": "calypso", "derivative_max": 2.0},  # so that there is a remark
        validation={"used_files": True, "files": "400-402"},
    )
    iterate(folder, LAST, FILES)
    for file in FILES:
        reconstruct(str(folder), 2, 1, file)
    solve(str(folder), 2, 1)
    start = Path(layout.constants_file(str(folder), 1, 1)).read_bytes()
    before = Path(layout.constants_file(str(folder), layout.VALIDATION, layout.BEFORE))
    before.parent.mkdir(parents=True)
    before.write_bytes(start)
    for half in (layout.BEFORE, layout.AFTER):
        for file in (*FILES, 402):
            reconstruct(str(folder), layout.VALIDATION, half, file)
    Path(layout.metrics_file(str(folder), layout.VALIDATION, layout.AFTER)).parent.mkdir(parents=True)
    validate(str(folder), layout.VALIDATION, layout.AFTER)
    return folder


def read(campaign: Path, stage: int, iteration: int) -> Metrics:
    value: Metrics = json.loads(Path(layout.metrics_file(str(campaign), stage, iteration)).read_text())
    return value


@pytest.fixture(scope="module")
def history(campaign: Path) -> list[Metrics]:
    """Return the metrics of the first stage's iterations."""
    return [read(campaign, 1, iteration) for iteration in range(1, LAST + 1)]


@pytest.fixture(scope="module")
def last_stage(campaign: Path) -> Metrics:
    """Return the metrics of the last stage, which holds fixed what the first has aligned."""
    return read(campaign, 2, 1)


@pytest.fixture(scope="module")
def validated(campaign: Path) -> Metrics:
    """Return the metrics of the validation."""
    return read(campaign, layout.VALIDATION, layout.AFTER)


def test_what_jobs_write_is_described(history: list[Metrics], validated: Metrics) -> None:
    """Each metric of iterations and of a validation has a description."""
    for metrics in (*history, validated):
        assert undescribed(metrics, names_of(metrics)) == []


def test_what_is_described_is_written(history: list[Metrics], last_stage: Metrics, validated: Metrics) -> None:
    """Each description is of an existing metric, except those that need HTCondor's log, a failure, or an import."""
    elsewhere = {"reconstruction.cpu_s", "reconstruction.jobs", "steps[].undetermined[].PARAMETER", "imported"}
    elsewhere |= {"hits.of_cut_tracks.MODULE", "notes", "files.lost", "files.duplicates.pairs"}  # empty
    seen = set().union(*(found(metrics, describe.METRICS) for metrics in (*history, last_stage)))
    assert set(describe.METRICS) - seen <= elsewhere
    assert set(names_of(validated)) - found(validated, names_of(validated)) <= elsewhere | {"constants.changed_by_hand"}


def test_sources_and_readers_are_known(history: list[Metrics], last_stage: Metrics) -> None:
    """Each source of a metric is explained, and the criteria named as readers are exactly those of a decision."""
    described = [*describe.METRICS.values(), *describe.VALIDATION]
    assert {one.source for one in described} == set(describe.SOURCES)
    asked = {criterion.name for of in (history, [last_stage]) for criterion in judged(of).criteria}
    words = {word for one in describe.METRICS.values() for word in one.readers.split()}
    assert words == asked | set(describe.READERS)


def judged(history: list[Metrics]) -> verdict.Verdict:
    """Return the decision with all rules and criteria."""
    rules = Rules(rules=("delta_chi2_per_parameter", "residual_shift", "absolute", "relative"), stalled_iterations=1)
    return verdict.judge(rules, history, limit=9)


def read_by(readers: Collection[str], described: Collection[describe.Metric]) -> set[str]:
    """Return the metrics that one of the readers reads according to their descriptions."""
    return {one.name for one in described if set(one.readers.split()) & set(readers)}


def watched(history: list[Metrics]) -> tuple[list[Watched], set[Keys]]:
    seen: set[Keys] = set()
    return [Watched(copy.deepcopy(metrics), seen) for metrics in history], seen


def test_the_verdict_reads_what_is_said(history: list[Metrics]) -> None:
    """A decision reads exactly the metrics whose descriptions name a criterion, with corrections that do not shrink."""
    slow = copy.deepcopy(history)
    slow[-1]["determined"] |= {"sigma": 9.0, "repetition": 1.0}
    slow[-1]["module_pulls"] = {"000": 5.0}
    slow[-1]["hits"]["of_cut_tracks"] = {"000": 1}
    slow[-1]["corrections"]["module.x"] = {"rms": 1.0, "largest": 2.0, "where": "000", "unit": "um"}
    metrics, seen = watched(slow)
    criteria = {criterion.name for criterion in judged(metrics).criteria}
    assert looked_at(seen, describe.METRICS) == read_by(criteria, describe.METRICS.values())


def test_a_validation_reads_what_is_said(validated: Metrics) -> None:
    """A validation's decision reads exactly the metrics whose descriptions say so."""
    more = copy.deepcopy(validated)
    for group in more["groups"].values():
        for side in group["after"]["sides"].values():
            side["hits"] *= 10  # enough for their means to be tested
    alone = copy.deepcopy(more)
    del alone["groups"]["all"]
    both, seen = watched([more, alone])
    limits = validation.Limits(module_hits_min=2, side_mean_um_max=0.0)
    said, _ = (validation.confirm(limits, metrics) for metrics in both)
    criteria = {criterion.name.replace("all", "FILES").replace("unused", "FILES") for criterion in said.criteria}
    assert looked_at(seen, names_of(validated)) == read_by(criteria, describe.VALIDATION)


def test_notes_read_what_is_said(history: list[Metrics]) -> None:
    """Remarks read the metrics whose descriptions say so, if there is something to report."""
    odd = copy.deepcopy(history[-1])
    odd["effect_um"], odd["chi2_per_ndf"] = 1.0, 2.0
    odd["files"]["agreement"]["worst"]["sigma"] = 9.0
    odd["converted_again"] = odd["constants"]["changed_by_hand"] = True
    odd["steps"][0]["parts"]["modes"] = [{"name": "curvature in y", "error_um": 45.0, "moved_um": 12.0}]
    for sign in ("plus", "minus"):
        odd["momentum"]["since_first"][f"momentum_change_{sign}"] = None
    (metrics,), seen = watched([odd])
    assert len(notes.notes(metrics, 0.0)) == 6
    about = {"stage", "iteration", "residual_max_mm"}  # they mention these
    assert looked_at(seen, describe.METRICS) - about == read_by(["notes"], describe.METRICS.values())


def test_quality_reads_what_is_said(history: list[Metrics], validated: Metrics) -> None:
    """The grades of the last iteration read the metrics whose descriptions say so."""
    odd = copy.deepcopy(history)
    odd[-1]["magnets"] = {"1": {"deviation": 0.02, "error": 0.001, "chi2": 3.0}}
    odd[-1]["hits"]["modules"].pop("001")
    odd[-1]["files"]["lost"] = [400]
    metrics, seen = watched(odd)
    found = grades.assess(grades.Limits(), grades.Subject(metrics, validated, "confirmed"))
    assert found is not None
    print(found["sentence"], *(f"{l['grade']:5} {l['title']}: {l['text']}" for l in found["lines"]), sep="\n")
    assert [line["name"] for line in found["lines"]] == list(grades.DESCRIBED)
    assert looked_at(seen, describe.METRICS) == read_by(["quality"], describe.METRICS.values())


def test_tables_read_what_is_said(history: list[Metrics]) -> None:
    """The tables of `metrics` read the metrics whose descriptions say so."""
    metrics, seen = watched(history)
    about = {"stage": 1, "verdict": "go_on", "wall_s": 1.0}
    figures.tables({"stages": 1, "iterations": [about | {"iteration": i, "metrics": m} for i, m in enumerate(metrics)]})
    assert looked_at(seen, describe.METRICS) == read_by(["metrics"], describe.METRICS.values())


def test_the_picture_reads_what_is_said(history: list[Metrics], tmp_path: Path) -> None:
    """The convergence plot reads the metrics whose descriptions say so."""
    metrics, seen = watched(history)
    assert plot(str(tmp_path / "picture.png"), metrics, {"effect_um": 0.5, "significance": 0.01}) == ""
    assert looked_at(seen, describe.METRICS) == read_by(["plot"], describe.METRICS.values())


def test_the_report_reads_what_is_said(history: list[Metrics], workdir: Path) -> None:
    """The report, status and messages read the metrics whose descriptions say so."""
    record = make_with_store(workdir / "c", files=1)
    for iteration in range(1, LAST + 1):
        run_iteration(record, iteration)
    metrics, seen = watched(history)
    collected = collect(record["folder"])
    rows = [row | {"metrics": one} for row, one in zip(collected.iterations, metrics, strict=True)]
    rows = [row | facts.summary(row) for row in rows]
    summed_up = looked_at(seen, describe.METRICS)
    for one in metrics:
        facts.weak_modes(one)
    assert summed_up <= read_by(["status"], describe.METRICS.values())
    render(collected._replace(iterations=rows, quality=metrics[-1]["quality"]), written_utc="2026-11-24T07:30:00Z")
    # Read when the campaign is collected, or with the whole correction.
    unseen = {"hits.modules.MODULE", "module_pulls.MODULE", "constant_errors.KEY", "corrections.DOF.where"}
    assert looked_at(seen, describe.METRICS) | unseen == read_by(["report"], describe.METRICS.values())
