"""Test which quality block belongs to a campaign's latest constants."""

from typing import Any

from faser_align.state.facts import quality

RECORD: Any = {"config": {}}
FILES = {"expected": 2, "used": 1, "lost": [400]}


def row(iteration: int, **metrics: Any) -> dict[str, Any]:
    ended = f"2026-11-24T07:3{iteration}:00.000Z" if metrics else ""
    return {"stage": 1, "iteration": iteration, "ended_utc": ended, "verdict": "confirmed", "metrics": metrics}


def block(name: str) -> dict[str, Any]:
    return {"grade": "good", "sentence": name, "lines": []}


def test_the_latest_constants_have_the_block_of_their_job() -> None:
    """The quality block is from the last solved iteration, or from the validation after it."""
    rows = [row(1, quality=block("first")), row(2, quality=block("second")), row(3)]
    assert quality(RECORD, [row(1)], {}) is None
    assert quality(RECORD, rows, {}) == block("second")
    assert quality(RECORD, rows, row(3, quality=block("validated"))) == block("validated")


def test_an_extension_leaves_the_block_of_an_earlier_validation() -> None:
    """After a rejected campaign was extended, the block is from the new iteration until it is validated again."""
    rows = [row(1, quality=block("first")), row(3, quality=block("extended"))]
    assert quality(RECORD, rows, row(2, quality=block("rejected"))) == block("extended")


def test_older_campaigns_get_a_block_of_what_they_have() -> None:
    """Metrics of older versions without a quality block are graded when they are read, as far as they have numbers."""
    found = quality(RECORD, [row(1, files=FILES)], {})
    assert found is not None
    assert [(line["name"], line["grade"]) for line in found["lines"]] == [("dropped", "bad")]
    half = {"tracks": 9, "chi2_per_ndf": 1.0, "modules": {"000": {"hits": 100, "mean_um": 0.0, "rms_um": 25.0}}}
    groups = {"all": {"before": half, "after": half}}
    found = quality(RECORD, [row(1, files=FILES)], row(2, groups=groups, files={"used": 3}))
    assert found is not None
    assert found["lines"][0]["text"] == "on 3 used files: chi2/ndf 1.000 -> 1.000, 0 of 1 modules better, none worse"
    assert quality(RECORD, [row(1, notes=["a remark"])], {}) is None
