"""Test the validation: the last constants must describe the data at least as well as the first."""

from typing import Any

import pytest

from faser_align.fsm.validation import Limits, confirm

LIMITS = Limits()


def half(chi2: float | None, rms_um: float = 25.0, hits: int = 5000) -> dict[str, Any]:
    return {"tracks": 9000, "chi2_per_ndf": chi2, "modules": {"000": {"hits": hits, "mean_um": 0.0, "rms_um": rms_um}}}


def compared(all_files: tuple[Any, Any], unused: tuple[Any, Any] | None = None) -> dict[str, Any]:
    groups = {"all": all_files} | ({"unused": unused} if unused else {})
    return {"groups": {name: {"before": before, "after": after} for name, (before, after) in groups.items()}}


def test_a_better_description_is_confirmed() -> None:
    """A lower chi2/ndf in all files and in the unused ones confirms the constants, with both numbers."""
    said = confirm(LIMITS, compared((half(1.3), half(1.005)), (half(1.31), half(1.01))))
    assert said.name == "confirmed"
    assert "of all files went from 1.3 to 1.005" in said.reason
    assert "that were not used went from 1.31 to 1.01" in said.reason
    assert [c.name for c in said.criteria] == ["chi2_all", "chi2_unused", "modules_all", "modules_unused"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (compared((half(1.0), half(1.01))), "chi2/ndf of all files went from 1 to 1.01 (it may rise by 0.003)"),
        (compared((half(1.3), half(1.0)), (half(1.0), half(1.2))), "of files that were not used went from 1 to 1.2"),
        (compared((half(1.3), half(1.0, 30.0))), "became wider in module 000 by 20% (limit 5%)"),
        (compared((half(1.3), half(None))), "chi2/ndf of all files is unknown"),
    ],
)
def test_a_worse_description_is_refuted(found: dict[str, Any], words: str) -> None:
    """A higher chi2/ndf, wider residuals of a module, or an unknown number rejects the constants, and names the place."""
    said = confirm(LIMITS, found)
    assert said.name == "refuted"
    assert said.reason.startswith("the new constants describe the data worse: ")
    assert words in said.reason


def test_chance_is_allowed() -> None:
    """A rise within the limit, and a module with few hits, do not reject."""
    assert confirm(LIMITS, compared((half(1.0), half(1.002)))).name == "confirmed"
    assert confirm(LIMITS, compared((half(1.0), half(1.0, 40.0, hits=900)))).name == "confirmed"


def test_limits_come_from_the_configuration() -> None:
    """The configuration's thresholds apply; other keys of the table are ignored."""
    limits = Limits.from_config({"enabled": True, "files": "1", "chi2_rise_max": 0.5, "module_rise_max": 1.0})
    assert confirm(limits, compared((half(1.0), half(1.4, 45.0)))).name == "confirmed"


def test_what_just_refutes_and_what_does_not() -> None:
    """chi2/ndf and residual widths may reach their limits; a module needs its minimum hits in both halves."""
    limits = Limits(chi2_rise_max=0.25, module_rise_max=0.25, module_hits_min=1000)
    for before, after, name in (
        (half(1.0), half(1.25), "confirmed"),
        (half(1.0), half(1.26), "refuted"),
        (half(1.0, 20.0), half(1.0, 25.0), "confirmed"),
        (half(1.0, 20.0), half(1.0, 25.1), "refuted"),
        (half(1.0, 20.0, hits=1000), half(1.0, 30.0, hits=1000), "refuted"),
        (half(1.0, 20.0, hits=999), half(1.0, 30.0), "confirmed"),
        (half(1.0, 20.0), half(1.0, 30.0, hits=999), "confirmed"),
    ):
        assert confirm(limits, compared((before, after))).name == name
