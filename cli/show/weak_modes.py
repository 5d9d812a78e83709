"""Show weak modes, fixed parameters, momentum changes and remarks as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.alignment.quality.notes import fields
from faser_align.cli.show.draw import Block, Grid, Line
from faser_align.system import formatting

Row = Mapping[str, Any]


def blocks(rows: Sequence[Row], *, staged: bool) -> list[Block]:
    """Return tables of the iterations ``rows`` that have such numbers; empty for metrics of older campaigns.

    Args:
        rows: iterations of a snapshot, with their metrics.
        staged: whether the campaign has several stages.
    """
    found: list[Block] = []
    split = [row for row in rows if any(step.get("parts") for step in row["metrics"].get("steps", ()))]
    if split:
        found += [Line(), Line("corrections along directions that the data determine, and along the others", "bold")]
        found.append(_parts(split, staged))
    surveyed = [row for row in rows if row["metrics"].get("weak_modes")]
    if surveyed:
        found += [Line(), *_surveyed(surveyed[-1], staged)]
    moved = [row for row in rows if row["metrics"].get("momentum", {}).get("since_before")]
    if moved:
        found += [Line(), Line("momenta of the same tracks: changes of the median", "bold"), _momenta(moved, staged)]
    if rows and (known := fields(rows[-1]["metrics"])):
        found += [Line(), Line(known)]
    notes = [(row, note) for row in rows for note in row["metrics"].get("notes", ())]
    if notes:
        found += [Line(), Line("to be known", "bold")]
        found += [Line(f"  iteration {_name(row, staged)}: {note}") for row, note in notes]
    return found


def held_fixed(row: Row, ended: str) -> list[Block]:
    """Return the expected decrease of chi2 from freeing an iteration's fixed parameters, by group; empty if unknown.

    ``ended`` says how the iteration ended the stage: ``converged in iteration 3``.
    """
    groups = row["metrics"].get("held_fixed", {})
    if not groups:
        return []
    columns = ("held fixed", ">parameters", ">expected decrease\nof chi2", ">per parameter")
    lines = [
        (
            name,
            formatting.number(g["parameters"], ","),
            formatting.size(g["expected_decrease"]),
            formatting.size(g["significance"]),
        )
        for name, g in groups.items()
    ]
    return [
        Line(f"{ended}, given what was held fixed; freeing it gains about 1 per parameter by chance alone:"),
        Grid(columns, lines),
    ]


def _name(row: Row, staged: bool) -> str:
    return f"{row['stage']}.{row['iteration']}" if staged else str(row["iteration"])


def _parts(rows: Sequence[Row], staged: bool) -> Grid:
    columns = ("iter", "step", ">determined\num rms", ">weak\num rms", ">weak\ndirections", "moved most (um, error)")
    lines = []
    for row in rows:
        for step in row["metrics"]["steps"]:
            parts = step.get("parts")
            if parts:
                strong, weak = parts["significant"], parts["weak"]
                mode = _mode(parts["modes"][0]) if parts["modes"] else formatting.NONE
                sizes = (formatting.shift(strong["rms_um"]), formatting.shift(weak["rms_um"]), str(weak["directions"]))
                lines.append((_name(row, staged), step["name"], *sizes, mode))
    return Grid(columns, lines)


def _mode(mode: Row) -> str:
    error = "undetermined" if mode["error_um"] is None else formatting.size(mode["error_um"])
    return f"{mode['name']} ({formatting.shift(mode['moved_um'])}, {error})"


def _surveyed(row: Row, staged: bool) -> list[Block]:
    """Return the weakest directions of an iteration, and the drift along them, in units of the survey."""
    modes = row["metrics"]["weak_modes"]
    weak = modes["weak"]
    title = f"drift since the start of the campaign, iteration {_name(row, staged)}: {weak} of {modes['directions']} directions weak"
    if weak:
        title += f", with {formatting.shift(modes['drift_um'])} um rms, at most {formatting.size(modes['drift_sigma'])} sigma"
    columns = ("direction", ">overlap", "weak", ">error of tracks\nsurvey sigma", ">drift\nsurvey sigma", "most (um)")
    lines = [
        (
            mode["name"],
            formatting.in_percent(mode["overlap"]),
            "yes" if mode["weak"] else "no",
            "undetermined" if mode["error_sigma"] is None else formatting.size(mode["error_sigma"]),
            formatting.size(mode["drift_sigma"]),
            f"{mode['where']} ({formatting.shift(mode['drift_um'])})",
        )
        for mode in modes["modes"]
    ]
    frozen = [(step["name"], step["frozen"]) for step in row["metrics"]["steps"] if step.get("frozen")]
    found: list[Block] = [Line(title, "bold"), Grid(columns, lines)]
    return found + [Line(f"  frozen in step {step}: {'; '.join(names)}") for step, names in frozen]


def _momenta(rows: Sequence[Row], staged: bool) -> Grid:
    columns = ("iter", ">tracks in\nboth", ">positive", ">negative", ">positive\nsince 1", ">negative\nsince 1")
    return Grid((*columns, ">lost at\nlow edge", ">lost at\nhigh edge"), [_momentum(row, staged) for row in rows])


def _momentum(row: Row, staged: bool) -> tuple[str, ...]:
    momentum = row["metrics"]["momentum"]
    before, first = momentum["since_before"], momentum.get("since_first", {})
    return (
        _name(row, staged),
        formatting.number(before.get("common"), ","),
        *(_change(since.get(f"momentum_change_{sign}")) for since in (before, first) for sign in ("plus", "minus")),
        formatting.number(before.get("lost_low"), ","),
        formatting.number(before.get("lost_high"), ","),
    )


def _change(change: float | None) -> str:
    return formatting.NONE if change is None else formatting.in_percent(change, 2, "+")
