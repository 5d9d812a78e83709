"""Test the convergence plot, and the reason if there is none."""

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from campaigns import metrics

from faser_align.jobs.figures import plot

LIMITS = {"effect_um": 0.5, "significance": 0.01}
PNG = b"\x89PNG\r\n\x1a\n"


def draw(path: Path, history: list[dict[str, Any]]) -> str:
    """Draw a history into ``path``."""
    return plot(str(path), history, LIMITS)


def test_a_healthy_campaign_has_a_picture(tmp_path: Path) -> None:
    """Four iterations give a picture small enough for mail."""
    assert draw(tmp_path / "c.png", [metrics(number) for number in range(1, 5)]) == ""
    picture = (tmp_path / "c.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) < 200_000
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.slow
def test_limits_are_those_of_the_rules(tmp_path: Path) -> None:
    """A limit on the corrections is drawn with the largest correction; a picture needs no criterion."""
    history = [metrics(number, relative=0.01 / number) for number in range(1, 5)]
    pictures = []
    for limits in ({}, LIMITS, {"relative": 0.001}, {"largest_um": 1.0, "largest_urad": 10.0}):
        path = tmp_path / f"{len(pictures)}.png"
        assert plot(str(path), history, limits) == ""
        pictures.append(path.read_bytes())
    assert len(set(pictures)) == 4


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"chi2_per_ndf": None, "effect_um": float("nan"), "significance": float("inf"), "corrections": None},
        {"corrections": {"<script>$x$": {"rms": "many"}}, "effect_um": -1.0, "stage": None},
        {"chi2_per_ndf": True, "corrections": {f"kind {number}": {"rms": 1.0} for number in range(40)}},
    ],
    ids=["empty", "not finite", "hostile", "too much"],
)
def test_metrics_that_are_missing_leave_a_gap(damaged: dict[str, Any], tmp_path: Path) -> None:
    """Numbers that are missing, not finite or of the wrong type leave only a gap."""
    history = [metrics(1), damaged and metrics(2, **damaged), metrics(3)]
    assert draw(tmp_path / "c.png", history) == ""
    assert draw(tmp_path / "alone.png", [damaged]) in ("", "no iteration has numbers to draw")


def test_without_matplotlib_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib there is no picture, and the sentence names the interpreter and the fix."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    said = draw(tmp_path / "c.png", [metrics(1)])
    assert (
        said == f"figures need matplotlib, which is not installed for {sys.executable}; install faser-align[plot] there"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A picture that cannot be written is reported in one sentence, without an exception."""
    (tmp_path / "file").write_text(json.dumps({}))
    assert "the plot could not be drawn: " in draw(tmp_path / "file" / "c.png", [metrics(1)])
