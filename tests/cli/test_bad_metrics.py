"""Test metrics that are missing, truncated or malformed: pages and readers say so, and the campaign gets a message."""

import json
import math
from pathlib import Path

import pytest
from campaigns import hook, make_campaign, metrics, reconstruct, run_iteration
from commandline import Command
from stored import change

from faser_align.alignment.quality.metrics_file import fault, parse_metrics
from faser_align.api import Campaign
from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.pages import compare
from faser_align.pages.collect import collect
from faser_align.pages.report import render
from faser_align.state import publish
from faser_align.state.judging import read_metrics

NOW = "2026-11-25T12:00:00.000Z"
NAN, INF = math.nan, math.inf
NUMBERS = {
    "chi2_per_ndf": NAN,
    "effect_um": INF,
    "significance": -INF,
    "corrections": {"module.y": {"rms": NAN, "largest": -INF, "where": "003", "unit": "um"}},
    "residuals": {"00": {"median_um": NAN}},
}
BROKEN: dict[str, bytes] = {
    "cut": json.dumps(metrics(2)).encode()[:200],
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "deep": b"[" * 100_000,
    "words for numbers": json.dumps(metrics(2, chi2_per_ndf="<script>", effect_um="big")).encode(),
    "words for tables": json.dumps(metrics(2, files=3) | {"files": None, "hits": "x", "tracks": "many"}).encode(),
    "corrections": json.dumps(metrics(2, corrections={"module.y": {"rms": 1.0}})).encode(),
    "modules": json.dumps(metrics(2, hits={"modules": {"000": ["a", "b"]}})).encode(),
    "parts": json.dumps(metrics(2, steps=[{"name": "a", "parts": {"modes": [1]}}])).encode(),
    "held": json.dumps(metrics(2, held_fixed={"a": {}})).encode(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Provide a campaign after its second Millepede job and before its script."""
    record = make_campaign(tmp_path_factory.mktemp("bad") / "c", files=1)
    folder = str(record["folder"])
    run_iteration(record, 1)
    reconstruct(record, 2, 400, "102400.0")
    hook("pre", folder, layout.mille_node(1, 2), 0, 2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
def test_metrics_that_are_none_are_named(kind: str, folder: str) -> None:
    """Malformed metrics are named on the page and not judged."""
    path = Path(layout.metrics_file(folder, 1, 2))
    path.write_bytes(BROKEN[kind])
    found = collect(folder)
    assert str(path) in "".join(found.missing)
    assert len(found.judged) == 1
    assert "Convergence" in render(found, written_utc=NOW)
    compare.render([found, found], written_utc=NOW)
    with pytest.raises(ValueError, match=f"{path} is "):
        read_metrics(found.record["folder"], 1, 2)


def test_metrics_that_are_none_fail_their_node(folder: str) -> None:
    """The script rejects malformed metrics: the node fails, and the campaign gives the reason."""
    Path(layout.metrics_file(folder, 1, 2)).write_bytes(BROKEN["words for tables"])
    answer = hook("post", folder, layout.mille_node(1, 2), 2, 2, 0, "902.0", 0)
    assert answer.returncode == exit_codes.FATAL
    hook("final", folder, "final", 2, 1)
    found = collect(folder)
    assert found.campaign["state"] == "failed"
    assert "the metrics cannot be read" in render(found, written_utc=NOW)


def test_numbers_that_are_none_are_shown_as_none(workdir: Path, plain_command: Command) -> None:
    """NaN and infinities are dashes on the page, the screens, in the export and the API, and the campaign continues."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1)
    folder = record["folder"]
    assert run_iteration(record, 2, **NUMBERS) != 0
    assert collect(folder).iterations[1]["largest"] is None
    assert "NaN" not in render(collect(folder), written_utc=NOW).partition("<script>")[0]
    for words in (("status",), ("metrics",), ("why",), ("report", "--text"), ("report", "--json"), ("export",)):
        assert "NaN" not in plain_command(words[0], folder, *words[1:], status=0).out
    assert Campaign(folder).iterations()[1]["chi2_per_ndf"] is None


def test_a_store_with_odd_metrics_has_a_page(workdir: Path) -> None:
    """Malformed metrics that an older program stored are omitted and named."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1)
    odd = json.dumps(metrics(1, hits=[1]))
    change(Path(record["folder"], layout.STATE), "UPDATE iterations SET metrics = ?", odd)
    publish.publish(record["folder"])
    Path(layout.metrics_file(record["folder"], 1, 1)).unlink()
    found = collect(record["folder"])
    assert found.missing[0] == "iteration 1 of stage 1: its metrics in the state database are malformed: hits is [1]"
    assert "Missing: iteration 1 of stage 1" in render(found, written_utc=NOW)


def test_what_is_wrong_is_named() -> None:
    """The sentence names the place and the value; unknown keys are accepted."""
    assert fault(metrics(1, new={"a": [1]})) == ""
    assert fault(metrics(1, solver={"rejects": None})) == ""
    assert fault(metrics(1, notes=["a", 2])) == "notes.1 is 2"
    assert fault(metrics(1, effect_um=True)) == "effect_um is True"
    assert fault({"corrections": {"module.x": {"rms": 1.0}}}) == "corrections.module.x lacks largest"
    with pytest.raises(ValueError, match=r"m\.json is not valid JSON \("):
        parse_metrics("{", "m.json")


def test_a_steering_text_that_cannot_be_read_is_named(workdir: Path) -> None:
    """An unreadable steering text is omitted, and the page says so."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1)
    path = Path(layout.metrics_file(record["folder"], 1, 1)).with_name("str.txt")
    path.mkdir()
    assert f"{path} cannot be read: Is a directory" in collect(record["folder"]).missing


def test_a_copy_of_a_campaign_has_its_own_page(workdir: Path) -> None:
    """A copied campaign folder is read at its new place, and names the constants there; no next step names the original."""
    record = make_campaign(workdir / "c", files=1)
    run_iteration(record, 1)
    Path(record["folder"]).rename(workdir / "moved")
    found = collect(str(workdir / "moved"))
    assert found.found_path == layout.result_file(str(workdir / "moved"), 1, 1)
    assert not any(f"{workdir}/c/" in sentence for sentence in found.missing)
    assert found.next[0].command.endswith(f" metrics {workdir}/moved")
