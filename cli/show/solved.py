"""Show the result of ``solve``."""

from typing import Any

from faser_align.alignment.parameters.labels import describe, describe_all
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.quality.metrics_file import finite
from faser_align.alignment.quality.notes import solver_end
from faser_align.alignment.solver.undetermined import in_words
from faser_align.cli import console

KEYS = (
    *("end_code", "end_text", "message", "records", "rejects", "chi2", "ndf", "chi2_per_ndf", "variable"),
    *("free_parameters", "constraints", "constraint_rank", "rank_defect", "undetermined", "measurements"),
    *("expected_decrease", "entries_fixed", "entries_fixed_words", "iterations", "memory_mb", "notes"),
)


def as_json(solution: Solution) -> dict[str, Any]:
    """Return the numbers of a solution by name, with labels described; those that are not finite are None."""
    others = {
        "rejects": solution.rejects._asdict(),
        "variable": solution.n_variable,
        "undetermined": [
            [
                {"label": label, "words": describe(label), "weight": weight}
                for label, weight in sorted(direction.items())
            ]
            for direction in solution.undetermined
        ],
        "entries_fixed_words": [describe(label) for label in solution.entries_fixed],
        "iterations": [row._asdict() for row in solution.iterations],
    }
    found: dict[str, Any] = finite({key: others[key] if key in others else getattr(solution, key) for key in KEYS})
    return found


def show(solution: Solution) -> None:
    """Write the solver's end, the sums, and remarks about the result."""
    told: Any = as_json(solution)
    console.say(solver_end(told))
    words = [
        f"{solution.records:,} records, {solution.rejects.total:,} rejected",
        f"{solution.free_parameters} free parameters ({solution.n_variable} variable, {solution.constraints} constraints)",
    ]
    if solution.chi2_per_ndf is not None:
        words.append(f"chi2/ndf {solution.chi2_per_ndf:.4f}")
    if solution.expected_decrease is not None:
        words.append(f"expected decrease of chi2 {solution.expected_decrease:.6g}")
    console.say("; ".join(words))
    if solution.rejects.total:
        reasons = solution.rejects._asdict().items()
        console.say("rejected: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in reasons))


def warn(solution: Solution) -> None:
    """Write warnings about a solution to standard error."""
    fixed = f"fixed for too few entries: {describe_all(solution.entries_fixed)}" if solution.entries_fixed else ""
    undetermined = (f"not determined by the data: {in_words(direction)}" for direction in solution.undetermined)
    console.warn(*filter(None, (solution.message, fixed)), *undetermined, *solution.notes)
