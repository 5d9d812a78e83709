"""Comparing campaigns: what was configured otherwise, which files they share, how they converged, where they ended. Pure."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from faser_align.alignment import describe
from faser_align.alignment.constants import DOFS, ZERO, Constants, subtract_constants
from faser_align.alignment.differences import UM, URAD, changes, movers
from faser_align.config.files import by_run, format_files
from faser_align.pages import charts
from faser_align.pages.charts import Series
from faser_align.pages.collect import Facts
from faser_align.pages.report import environment, limit_of

MOVERS_MAX = 10
NOT_COMPARED = ("campaign.folder", "campaign.name", "storage.data", "notify", "report")


class Difference(NamedTuple):
    """A key of the configuration that differs, with the value of each campaign as JSON; empty where it has none."""

    key: str
    values: tuple[str, ...]


class Apart(NamedTuple):
    """How far two campaigns' constants are apart in one degree of freedom (um, urad).

    ``sigma`` is the rms of the differences over their errors, of the elements that have errors; None where none has.
    """

    kind: str
    dof: str
    elements: int
    rms: float
    largest: float
    where: str
    sigma: float | None
    unit: str


class Comparison(NamedTuple):
    """Campaigns against the first of them."""

    names: tuple[str, ...]
    states: tuple[str, ...]
    summary: list[tuple[str, tuple[str, ...]]]
    differences: list[Difference]
    common: str
    alone: tuple[str, ...]
    apart: dict[str, list[Apart]]
    movers: dict[str, list[Any]]


def compare(campaigns: Sequence[Facts]) -> Comparison:
    """Compare campaigns, two at least; constants are held against those of the first."""
    first, *others = campaigns
    files = [
        {(run, file) for run, of in by_run(c.record["run"], c.record["files"]).items() for file in of}
        for c in campaigns
    ]
    common = set.intersection(*files)
    apart, moved = {}, {}
    for other in others:
        if first.found is not None and other.found is not None:
            apart[other.record["name"]] = _apart(first, other)
            found = changes(first.found, other.found)
            moved[other.record["name"]] = [
                *movers(found, MOVERS_MAX, rotations=False),
                *movers(found, MOVERS_MAX, rotations=True),
            ]
    return Comparison(
        names=tuple(c.record["name"] for c in campaigns),
        states=tuple(c.campaign["state"] for c in campaigns),
        summary=_summary(campaigns),
        differences=_differences(campaigns),
        common=_in_words(common),
        alone=tuple(_in_words(own - common) for own in files),
        apart=apart,
        movers=moved,
    )


def _in_words(files: set[tuple[str, int]]) -> str:
    runs: dict[str, list[int]] = {}
    for run, file in sorted(files):
        runs.setdefault(run, []).append(file)
    return "; ".join(f"run {run} files {format_files(numbers)}" for run, numbers in runs.items()) or "none"


def _summary(campaigns: Sequence[Facts]) -> list[tuple[str, tuple[str, ...]]]:
    """Rows of numbers, one column for each campaign."""
    last = [next((row for row in reversed(c.iterations) if row["metrics"]), {}) for c in campaigns]
    solved = [sum(bool(row["metrics"]) for row in c.iterations) for c in campaigns]

    def numbers(key: str, form: str) -> tuple[str, ...]:
        return tuple(format(row[key], form) if isinstance(row.get(key), int | float) else "-" for row in last)

    return [
        ("state", tuple(c.campaign["state"] for c in campaigns)),
        ("files", tuple(str(len(c.record["files"])) for c in campaigns)),
        ("files lost", tuple(str(len(c.lost)) for c in campaigns)),
        ("iterations", tuple(str(count) for count in solved)),
        ("tracks", numbers("tracks", ",")),
        ("chi2/ndf", numbers("chi2_per_ndf", ".4f")),
        ("effect (um)", numbers("effect_um", ".3g")),
        ("significance", numbers("significance", ".3g")),
    ]


def _differences(campaigns: Sequence[Facts]) -> list[Difference]:
    flat = [dict(_flat("", c.record["config"] | {"stages": c.record["stages"]})) for c in campaigns]
    keys = list(dict.fromkeys(key for values in flat for key in values))
    found = [Difference(key, tuple(values.get(key, "") for values in flat)) for key in keys]
    return [d for d in found if len(set(d.values)) > 1 and not d.key.startswith(NOT_COMPARED)]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for at, inner in enumerate(value, start=1):
            yield from _flat(f"{prefix}[{at}]", inner)
    else:
        yield prefix, json.dumps(value)


def _apart(first: Facts, other: Facts) -> list[Apart]:
    difference = subtract_constants(other.found or {}, first.found or {})
    found = []
    for kind, length in (("layer", 2), ("module", 3)):
        for place, dof in enumerate(DOFS):
            values = {key: six[place] for key, six in difference.items() if len(key) == length and six[place]}
            if values:
                found.append(_row(kind, dof, place, values, (first.errors, other.errors)))
    return found


def _row(kind: str, dof: str, place: int, values: Mapping[str, float], errors: tuple[Constants, Constants]) -> Apart:
    factor, unit = (URAD, "urad") if dof.startswith("r") else (UM, "um")
    where = max(values, key=lambda key: abs(values[key]))
    sigmas = []
    for key, value in values.items():
        error = math.hypot(*(one.get(key, ZERO)[place] for one in errors))
        if error > 0:
            sigmas.append((value / error) ** 2)
    return Apart(
        kind=kind,
        dof=dof,
        elements=len(values),
        rms=factor * math.sqrt(sum(value**2 for value in values.values()) / len(values)),
        largest=factor * values[where],
        where=where,
        sigma=math.sqrt(sum(sigmas) / len(sigmas)) if sigmas else None,
        unit=unit,
    )


def render(campaigns: Sequence[Facts], *, written_utc: str) -> str:
    """The comparison as one HTML page."""
    found = compare(campaigns)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(found=found, charts=_charts(campaigns), written_utc=written_utc, title=" and ".join(found.names))
    )


def _charts(campaigns: Sequence[Facts]) -> list[tuple[str, Any]]:
    """Convergence curves over each other, by the number of the iteration in the campaign."""
    solved = [[row["metrics"] for row in c.iterations if row["metrics"]] for c in campaigns]
    places = [str(number) for number in range(1, max(map(len, solved)) + 1)] if any(solved) else []
    first = campaigns[0].record
    drawn = []
    for key, title, unit, log, limit in (
        ("chi2_per_ndf", describe.words("chi2_per_ndf"), "", False, None),
        ("effect_um", "Effect", "um", True, limit_of(first, "effect_um_max")),
        ("significance", "Significance", "", True, limit_of(first, "significance_max")),
    ):
        series = [
            Series(c.record["name"], [m.get(key) for m in metrics])
            for c, metrics in zip(campaigns, solved, strict=True)
        ]
        drawn.append((title, charts.line_chart(title, places, series, unit=unit, log=log, limit=limit)))
    return drawn
