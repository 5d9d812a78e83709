"""Show the metrics of every iteration as tables, with weak modes and remarks, and as rows for other programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.alignment.quality.notes import fields, solver_end
from faser_align.cli.show.draw import Block, Grid, Line
from faser_align.fsm import renamed
from faser_align.fsm.metrics import Metrics
from faser_align.operations.exporting import as_csv
from faser_align.state import facts
from faser_align.system import formatting

Row = Mapping[str, Any]

CORRECTIONS = "corrections: rms; largest ± error (in sigma), its module (3 digits) or layer"
FIT = (
    *("iter", ">chi2\n/ndf", ">shift\num", ">dchi2\n/param", ">relative\ncorrection", ">solver's\nchi2/ndf"),
    *("solver", "decision"),
)
USE = (
    *("iter", ">files", ">tracks\nread", ">tracks\nused", ">hits\nkept", ">cut by\nresidual", ">cut at\nmm"),
    *(">rejects", ">time"),
)
MOMENTA = (
    *("iter", ">tracks in\nboth", ">positive", ">negative", ">positive\nsince 1", ">negative\nsince 1"),
    *(">lost at\nlow edge", ">lost at\nhigh edge"),
)
DOFS_ABREAST = 3  # degrees of freedom per table on 80 columns


def tables(seen: Row) -> list[Block]:
    """Return the tables of ``metrics``: data, judged quantities, and corrections per degree of freedom."""
    rows = [
        {**row, "name": f"{row['stage']}.{row['iteration']}" if seen["stages"] > 1 else str(row["iteration"])}
        for row in seen["iterations"]
        if row["metrics"]
    ]
    blocks: list[Block] = [Grid(FIT, list(map(_fit, rows))), Line(), Grid(USE, list(map(_use, rows)))]
    dofs = list(dict.fromkeys(dof for row in rows for dof in row["metrics"].get("corrections", {})))
    if dofs:
        blocks += [Line(), Line(CORRECTIONS, "bold")]
    for at in range(0, len(dofs), DOFS_ABREAST):
        blocks.append(_corrections(rows, dofs[at : at + DOFS_ABREAST]))
    solvers = [row["metrics"].get("solver", {}) for row in rows[-1:]]
    warned = [solver_end(solver) for solver in solvers if solver.get("end_code")]
    blocks += [block for end in warned for block in (Line(), Line(f"solver of the last iteration: {end}"))]
    return [*blocks, *_weak_modes(rows)]


def _fit(row: Row) -> tuple[str, ...]:
    metrics: Metrics = row["metrics"]
    solver = metrics.get("solver", {})
    return (
        row["name"],
        formatting.chi2(metrics.get("chi2_per_ndf")),
        formatting.shift(metrics.get("effect_um")),
        formatting.size(metrics.get("significance")),
        formatting.number(metrics.get("relative"), ".2g"),
        formatting.chi2(solver.get("chi2_per_ndf")),
        f"{solver.get('backend', formatting.NONE)} {solver.get('end_code', '')}".strip(),
        row["verdict"].replace("_", " "),
    )


def _use(row: Row) -> tuple[str, ...]:
    metrics: Metrics = row["metrics"]
    files, tracks, hits = metrics.get("files", {}), metrics.get("tracks", {}), metrics.get("hits", {})
    cut = hits.get("cut", {}).get("residual")
    kept = hits.get("kept")
    share = cut / (kept + cut) if cut is not None and kept else None
    return (
        row["name"],
        f"{files.get('used', formatting.NONE)}/{files.get('expected', formatting.NONE)}",
        formatting.number(tracks.get("read"), ","),
        formatting.number(tracks.get("used"), ","),
        formatting.number(kept, ","),
        formatting.percent(share),
        formatting.number(metrics.get("residual_max_mm"), "g"),
        formatting.number(_rejects(metrics), ","),
        formatting.duration(row["wall_s"]),
    )


def _rejects(metrics: Metrics) -> int | None:
    """Return the number of records that the solver rejected."""
    found = metrics.get("solver", {}).get("rejects")
    return sum(found.values()) if isinstance(found, Mapping) else found


def _corrections(rows: Sequence[Row], dofs: Sequence[str]) -> Grid:
    units = {dof: c.get("unit", "") for row in rows for dof, c in row["metrics"].get("corrections", {}).items()}
    columns = ("iter", *(f">{dof}\n{units[dof]}" for dof in dofs))
    return Grid(columns, [(row["name"], *(_cell(row["metrics"], dof) for dof in dofs)) for row in rows])


def _cell(metrics: Metrics, dof: str) -> str:
    return ", ".join(filter(None, correction(metrics, dof))).replace(" sigma", "")


def correction(metrics: Metrics, dof: str) -> tuple[str, str]:
    """Return the rms of a degree of freedom's corrections, and the largest with its element: ``280±40 (7.1 sigma) 014``."""
    found = metrics.get("corrections", {}).get(dof)
    if not found:
        return formatting.NONE, ""
    key, largest = found.get("where"), found.get("largest")
    error = facts.error_of_correction(metrics, dof, key) if key and largest is not None else None
    shown = formatting.size(largest)
    if error and largest is not None:
        shown = formatting.plus_minus(largest, error) + formatting.in_sigma(largest, error)
    return formatting.shift(found.get("rms")), f"{shown} {key or ''}".rstrip()


def records(seen: Row) -> list[dict[str, Any]]:
    """Return for ``--json`` each solved iteration's decision and its metrics as the Millepede job wrote them."""
    keys = ("stage", "iteration", "verdict", "reason", "started_utc", "ended_utc", "wall_s")
    return [
        {**{key: row[key] for key in keys}, "metrics": renamed.metrics(row["metrics"])}
        for row in seen["iterations"]
        if row["metrics"]
    ]


def write_csv(found: Sequence[Row]) -> None:
    """Write records to standard output, one line per iteration, with the columns of all of them."""
    rows = [flat(record) for record in found]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    sys.stdout.write(as_csv(columns or ["stage", "iteration"], ([row.get(key) for key in columns] for row in rows)))


def flat(record: Row) -> dict[str, Any]:
    """Flatten a record for ``--csv``: names joined by dots; steps are counted from 1, other lists are JSON."""
    found: dict[str, Any] = {}
    # The metrics have their own wall time, that of the Millepede job.
    about = {"iteration_wall_s" if key == "wall_s" else key: value for key, value in record.items() if key != "metrics"}
    _flatten("", {**about, **_but_place(record["metrics"])}, found)
    return found


def _but_place(metrics: Row) -> dict[str, Any]:
    # The largest table, two numbers for each of 96 modules, is only in JSON.
    hits = {key: value for key, value in metrics.get("hits", {}).items() if key != "modules"}
    return {**{k: v for k, v in metrics.items() if k not in ("format", "stage", "iteration", "hits")}, "hits": hits}


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), inner, into)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for at, inner in enumerate(value, start=1):
            _flatten(f"{prefix}.{at}", inner, into)
    else:
        into[prefix] = json.dumps(value) if isinstance(value, list) else value


def _weak_modes(rows: Sequence[Row]) -> list[Block]:
    """Return tables of the iterations ``rows`` that have such numbers; empty for metrics of older campaigns."""
    found: list[Block] = []
    split = [row for row in rows if any(step.get("parts") for step in row["metrics"].get("steps", ()))]
    if split:
        found += [
            Line(),
            Line(
                "corrections along directions that the data determine, and along poorly determined ones (error above ten times the median)",
                "bold",
            ),
        ]
        found.append(_parts(split))
    surveyed = [row for row in rows if row["metrics"].get("weak_modes")]
    if surveyed:
        found += [Line(), *_surveyed(surveyed[-1])]
    moved = [row for row in rows if row["metrics"].get("momentum", {}).get("since_before")]
    if moved:
        found += [Line(), Line("momenta of the same tracks: changes of the median", "bold")]
        found.append(Grid(MOMENTA, list(map(_momentum, moved))))
    if rows and (known := fields(rows[-1]["metrics"])):
        found += [Line(), Line(known)]
    notes = [(row, note) for row in rows for note in row["metrics"].get("notes", ())]
    if notes:
        found += [Line(), Line("remarks", "bold")]
        found += [Line(f"  iteration {row['name']}: {note}") for row, note in notes]
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
            *map(formatting.size, (g["expected_decrease"], g["significance"])),
        )
        for name, g in groups.items()
    ]
    title = f"{ended}, given what was held fixed; freeing it decreases chi2 by about 1 per parameter by chance alone:"
    return [Line(title), Grid(columns, lines)]


def _parts(rows: Sequence[Row]) -> Grid:
    columns = (
        "iter",
        "step",
        ">determined\num rms",
        ">poorly\num rms",
        ">poorly determined\ndirections",
        "moved most (um, error)",
    )
    lines = []
    for row in rows:
        for step in row["metrics"]["steps"]:
            parts = step.get("parts")
            if parts:
                strong, weak = parts["significant"], parts["weak"]
                mode = _mode(parts["modes"][0]) if parts["modes"] else formatting.NONE
                sizes = (formatting.shift(strong["rms_um"]), formatting.shift(weak["rms_um"]), str(weak["directions"]))
                lines.append((row["name"], step["name"], *sizes, mode))
    return Grid(columns, lines)


def _mode(mode: Row) -> str:
    error = "undetermined" if mode["error_um"] is None else formatting.size(mode["error_um"])
    return f"{mode['name']} ({formatting.shift(mode['moved_um'])}, {error})"


def _surveyed(row: Row) -> list[Block]:
    """Return the weakest directions of an iteration, and the drift along them, in units of the survey."""
    modes = row["metrics"]["weak_modes"]
    weak = modes["weak"]
    title = f"drift since the start of the campaign, iteration {row['name']}: {weak} of {modes['directions']} directions are weak modes"
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


def _momentum(row: Row) -> tuple[str, ...]:
    momentum = row["metrics"]["momentum"]
    before, first = momentum["since_before"], momentum.get("since_first", {})
    changes = [since.get(f"momentum_change_{sign}") for since in (before, first) for sign in ("plus", "minus")]
    return (
        row["name"],
        formatting.number(before.get("common"), ","),
        *(formatting.NONE if change is None else formatting.in_percent(change, 2, "+") for change in changes),
        formatting.number(before.get("lost_low"), ","),
        formatting.number(before.get("lost_high"), ","),
    )
