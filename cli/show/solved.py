"""Show the result of ``solve``."""

from typing import Any

from faser_align.alignment.parameters.labels import describe, describe_all
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.quality.metrics_file import finite
from faser_align.alignment.quality.notes import solver_end
from faser_align.alignment.solver.undetermined import in_words
from faser_align.cli import console


def as_json(solution: Solution) -> dict[str, Any]:
    """Return the numbers of a solution by name, with labels described; those that are not finite are None."""
    values = {
        "end_code": solution.end_code,
        "end_text": solution.end_text,
        "message": solution.message,
        "records": solution.records,
        "rejects": solution.rejects._asdict(),
        "chi2": solution.chi2,
        "ndf": solution.ndf,
        "chi2_per_ndf": solution.chi2_per_ndf,
        "variable": solution.n_variable,
        "free_parameters": solution.free_parameters,
        "constraints": solution.constraints,
        "constraint_rank": solution.constraint_rank,
        "rank_defect": solution.rank_defect,
        "undetermined": [
            [
                {"label": label, "words": describe(label), "weight": weight}
                for label, weight in sorted(direction.items())
            ]
            for direction in solution.undetermined
        ],
        "measurements": solution.measurements,
        "expected_decrease": solution.expected_decrease,
        "entries_fixed": list(solution.entries_fixed),
        "entries_fixed_words": [describe(label) for label in solution.entries_fixed],
        "iterations": [row._asdict() for row in solution.iterations],
        "memory_mb": solution.memory_mb,
        "notes": list(solution.notes),
    }
    found: dict[str, Any] = finite(values)
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
