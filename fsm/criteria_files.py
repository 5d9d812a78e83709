"""Criteria on differences between files, and on tracks that two files have in common."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faser_align.fsm.plural import in_percent
from faser_align.fsm.rules import Criterion, Rules, number

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Difference, Metrics

DIFFERENCE_MIN_UM = 2.0  # differences of mean residuals between files that matter
_BECAUSE = ". Something moved, or files are of another run or condition; "
_APART = {
    "step": f"{_BECAUSE}align the files before it and those from it on separately (`submit --from NAME -f FILES`)",
    "file": f"{_BECAUSE}leave it out, or align it separately (`submit --from NAME -f FILES`)",
    "spread": f"{_BECAUSE}align files of each condition separately (`submit --from NAME -f FILES`)",
}


def between_files(rules: Rules, metrics: "Metrics") -> list[Criterion]:
    """Return the criteria on differences between files and on tracks in two of them; none if they are unknown."""
    files = metrics.get("files", {})
    found = []
    worst = files.get("agreement", {}).get("worst")
    if worst:
        limit = rules.files_agree_sigma_max
        passed = worst["sigma"] <= limit
        text = _difference(worst, limit) + ("" if passed else _APART[worst["kind"]])
        found.append(Criterion("files_agree", worst["sigma"], limit, passed, text))
    if "share" in (shared := files.get("duplicates", {})):
        share, pairs = shared["share"], shared["pairs"]
        passed = share <= rules.duplicates_max
        text = f"at most {in_percent(share)} of a file's tracks are in another file (limit {in_percent(rules.duplicates_max)})"
        if not passed:
            text = _duplicated([pair for pair in pairs if float(pair[2]) > rules.duplicates_max])
        found.append(Criterion("duplicates", share, rules.duplicates_max, passed, text))
    return found


def unalterable(rules: Rules, metrics: "Metrics") -> str:
    """Return the failed criteria on files that further iterations cannot change, as a sentence; empty if there are none.

    Two files have the same tracks whatever the constants. A difference may come from misalignment, if tracks of the files
    cross other modules, but not when cuts are final and the correction is smaller than the differences that count.
    """
    shift = number(metrics, "effect_um")
    aligned = metrics.get("residual_max_final", True) and shift is not None and shift < DIFFERENCE_MIN_UM
    failed = [found for found in between_files(rules, metrics) if not found.passed]
    return "; ".join(found.text for found in failed if found.name == "duplicates" or aligned)


def _difference(worst: "Difference", limit: float) -> str:
    """Return the largest difference between files in words."""
    where = {
        "step": f"from file {worst['file']} on",
        "file": f"in file {worst['file']} against the others",
        "spread": f"most in file {worst['file']}",
    }[worst["kind"]]
    of = " of all modules together" if worst["together"] else ""
    size = f"module {worst['module']}, side {worst['side']} by {worst['deviation_um']:+.1f} um {where}"
    if worst["sigma"] <= limit:
        return f"mean residuals{of} agree between files within {worst['sigma']:.1f} sigma (limit {limit:g}); largest: {size}"
    return f"mean residuals{of} differ between files by {worst['sigma']:.1f} sigma (limit {limit:g}): {size}"


def _duplicated(pairs: Sequence[Sequence[str | float]]) -> str:
    """Return which files have the same tracks, and what to do."""
    named = [
        f"{in_percent(float(share))} of the tracks of file {file} are "
        + ("in it twice" if file == of else f"also in file {of}")
        for file, of, share in pairs
    ]
    what = f"{'; '.join(named)}: they count twice, and errors are too small"
    return (
        f"{what}; leave out one file of each pair (`submit -f FILES`), or reconstruct a file that has its tracks twice"
    )
