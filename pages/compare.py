"""Compare campaigns: configuration, files, convergence and resulting constants. Pure."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, cast

from faser_align.alignment.parameters.constants import ZERO, Constants, Six
from faser_align.alignment.parameters.differences import Change, Moved, changes, moved, movers
from faser_align.alignment.quality import describe
from faser_align.alignment.quality.figure_data import FigureData
from faser_align.alignment.quality.grades import DESCRIBED
from faser_align.campaign.data import by_run
from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import format_files
from faser_align.fsm.metrics import Quality
from faser_align.fsm.rules import limits_of
from faser_align.pages import charts
from faser_align.pages.charts import Series
from faser_align.pages.collect import Facts
from faser_align.pages.figures import elements, style
from faser_align.pages.figures import page as drawing
from faser_align.pages.figures.distributions import residuals_of
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Measured
from faser_align.pages.figures.source import differences
from faser_align.pages.templating import rendered
from faser_align.system.formatting import NONE, chi2, number, shift

MOVERS_MAX, MISSING_MAX = 10, 1
NOT_COMPARED = ("campaign.folder", "campaign.name", "storage.data", "notify", "report")


class Difference(NamedTuple):
    """A configuration key that differs, with each campaign's value as JSON; empty where it has none."""

    key: str
    values: tuple[str, ...]


class Share(NamedTuple):
    """Files that some of the campaigns share, but not all."""

    campaigns: tuple[str, ...]
    files: str

    @property
    def whose(self) -> str:
        """Names of the campaigns, separated by commas."""
        return " and ".join(part for part in (", ".join(self.campaigns[:-1]), self.campaigns[-1]) if part)


class Curve(NamedTuple):
    """A quantity per iteration.

    Attributes:
        places: names of all iterations: the number, after that of the stage if a campaign has several.
        values: by campaign the values in its own iterations.
        aligned: by campaign the value in each of ``places``, None where it has no such iteration.
    """

    key: str
    title: str
    unit: str
    log: bool
    places: list[str]
    values: list[list[float | None]]
    aligned: list[list[float | None]]


CURVES = (
    ("chi2_per_ndf", describe.words("chi2_per_ndf"), "", False),
    ("effect_um", "Expected residual shift", "um", True),
    ("significance", "Expected delta chi2 per parameter", "", True),
)


class Comparison(NamedTuple):
    """Comparison of campaigns with the first of them.

    Attributes:
        names: names of the campaigns, with the folder where names are equal; keys of ``apart`` and ``movers``.
        common: files that all of them have.
        shares: the other files, grouped by the campaigns that have them.
        missing: unreadable data, and the campaign to which each belongs.
    """

    names: tuple[str, ...]
    states: tuple[str, ...]
    summary: list[tuple[str, tuple[str, ...]]]
    curves: list[Curve]
    differences: list[Difference]
    common: str
    shares: list[Share]
    apart: dict[str, list[Moved]]
    movers: dict[str, list[Change]]
    missing: list[str]


def compare(campaigns: Sequence[Facts]) -> Comparison:
    """Compare two or more campaigns; constants are compared with those of the first."""
    first, *others = campaigns
    names = _names(campaigns)
    files = [
        {(run, file) for run, of in by_run(c.record["run"], c.record["files"]).items() for file in of}
        for c in campaigns
    ]
    apart, largest = {}, {}
    for name, other in zip(names[1:], others, strict=True):
        if first.found is not None and other.found is not None:
            changed = changes(first.found, other.found, _together(first.errors, other.errors))
            apart[name] = moved(changed)
            largest[name] = [
                change for rotations in (False, True) for change in movers(changed, MOVERS_MAX, rotations=rotations)
            ]
    return Comparison(
        names=names,
        states=tuple(c.campaign["state"] for c in campaigns),
        summary=_summary(campaigns),
        curves=_curves(campaigns),
        differences=_differences(campaigns),
        common=_in_words(set.intersection(*files)),
        shares=_shares(names, files),
        apart=apart,
        movers=largest,
        missing=[f"{name}: {text}" for name, c in zip(names, campaigns, strict=True) for text in _missing(c)],
    )


def _shares(names: Sequence[str], files: Sequence[set[tuple[str, int]]]) -> list[Share]:
    owned: dict[tuple[str, ...], set[tuple[str, int]]] = {}
    for file in set.union(*files):
        who = tuple(name for name, own in zip(names, files, strict=True) if file in own)
        if len(who) < len(names):
            owned.setdefault(who, set()).add(file)
    ordered = sorted(owned.items(), key=lambda item: (len(item[0]), [names.index(name) for name in item[0]]))
    return [Share(who, _in_words(own)) for who, own in ordered]


def _missing(campaign: Facts) -> list[str]:
    """Return the unreadable parts of a campaign, its constants first; a long list is cut with a count."""
    missing = sorted(campaign.missing, key=lambda text: not campaign.found_path or campaign.found_path not in text)
    more = len(missing) - MISSING_MAX
    return [*missing[:MISSING_MAX], *([f"and {more} more, which its report names"] if more > 0 else [])]


def _names(campaigns: Sequence[Facts]) -> tuple[str, ...]:
    names = [c.record["name"] for c in campaigns]
    return tuple(
        f"{name} ({c.record['folder']})" if names.count(name) > 1 else name
        for name, c in zip(names, campaigns, strict=True)
    )


def _in_words(files: set[tuple[str, int]]) -> str:
    runs = groupby(sorted(files), key=itemgetter(0))
    return "; ".join(f"run {run} files {format_files([file for _, file in of])}" for run, of in runs) or "none"


def _summary(campaigns: Sequence[Facts]) -> list[tuple[str, tuple[str, ...]]]:
    """Return rows of numbers with one column per campaign."""
    last = [c.judged[-1] if c.judged else {} for c in campaigns]

    def numbers(key: str, form: str) -> tuple[str, ...]:
        return tuple(number(row.get(key), form) for row in last)

    return [
        ("state", tuple(c.campaign["state"] for c in campaigns)),
        ("files", tuple(str(len(c.record["files"])) for c in campaigns)),
        ("files dropped", tuple(str(c.files_dropped) for c in campaigns)),
        ("iterations", tuple(str(len(c.judged)) for c in campaigns)),
        ("tracks", numbers("tracks", ",")),
        ("chi2/ndf", tuple(chi2(row.get("chi2_per_ndf")) for row in last)),
        ("expected residual shift (um)", tuple(shift(row.get("effect_um")) for row in last)),
        ("expected delta chi2 per parameter", numbers("significance", ".3g")),
        *_grades(campaigns),
    ]


def _grades(campaigns: Sequence[Facts]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the quality of the constants, and each of its lines that a campaign has."""
    graded = [_grades_of(c.quality) for c in campaigns]
    for title in ("quality", *(of["title"] for of in DESCRIBED.values())):
        if any(title in of for of in graded):
            yield title.lower(), tuple(of.get(title, NONE) for of in graded)


def _grades_of(quality: Quality | None) -> dict[str, str]:
    if quality is None:
        return {}
    return {"quality": quality["grade"]} | {line["title"]: str(line["grade"]) for line in quality["lines"]}


def _differences(campaigns: Sequence[Facts]) -> list[Difference]:
    flat = [dict(_flat("", c.record["config"] | {"stages": c.record["stages"]})) for c in campaigns]
    keys = list(dict.fromkeys(key for values in flat for key in values))
    differences = [Difference(key, tuple(values.get(key, "") for values in flat)) for key in keys]
    return [d for d in differences if len(set(d.values)) > 1 and not d.key.startswith(NOT_COMPARED)]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for at, inner in enumerate(value, start=1):
            yield from _flat(f"{prefix}[{at}]", inner)
    else:
        yield prefix, json.dumps(value)


def render(campaigns: Sequence[Facts], *, written_utc: str) -> str:
    """Return the comparison as an HTML page."""
    comparison = compare(campaigns)
    return rendered(
        "compare.html.j2",
        found=comparison,
        charts=_charts(comparison, campaigns),
        figures=_figures(comparison, campaigns),
        significance={
            name: elements.significance(differences_of(campaigns[0], other))
            for name, other in zip(comparison.names[1:], campaigns[1:], strict=True)
        },
        written_utc=written_utc,
        title=" and ".join(comparison.names),
    )


def _figures(comparison: Comparison, campaigns: Sequence[Facts]) -> dict[str, Any]:
    """Return by campaign the figures of its differences to the first; empty without matplotlib."""
    if style.missing():
        return {}
    label, (first, *others) = style.label(campaigns[0].record["config"]), campaigns
    found: dict[str, Any] = {}
    for at, (name, other) in enumerate(zip(comparison.names[1:], others, strict=True), start=1):
        made = plots((comparison.names[0], name), first, other)
        found[name] = [drawing.drawn(plot, label, f"{plot.name}-{at}") for plot in made]
    return found


def _curves(campaigns: Sequence[Facts]) -> list[Curve]:
    staged = any(c.staged for c in campaigns)
    places = sorted({(row["stage"], row["iteration"]) for c in campaigns for row in c.judged})
    names = [f"{stage}.{iteration}" if staged else str(iteration) for stage, iteration in places]
    curves = []
    for curve in CURVES:
        own = [{(row["stage"], row["iteration"]): row["metrics"].get(curve[0]) for row in c.judged} for c in campaigns]
        aligned = [[of.get(place) for place in places] for of in own]
        curves.append(Curve(*curve, names, [list(of.values()) for of in own], aligned))
    return curves


def _charts(comparison: Comparison, campaigns: Sequence[Facts]) -> list[tuple[str, Any]]:
    """Return the overlaid convergence curves, each with its heading."""
    drawn = []
    for curve in comparison.curves:
        limits = [_limits(c.record, curve.key) for c in campaigns]
        known = sorted({value for of in limits for value in of})
        heading = curve.title
        if len(known) > 1:
            ends = [f"{name} {_then(of)}" for name, of in zip(comparison.names, limits, strict=True) if of]
            heading += f" (limits: {'; '.join(ends)})"
        chart = charts.line_chart(
            curve.title,
            curve.places,
            [Series(*series) for series in zip(comparison.names, curve.aligned, strict=True)],
            unit=curve.unit,
            log=curve.log,
            limit=known[0] if len(known) == 1 else None,
            groups=[name.partition(".")[0] for name in curve.places] if "." in "".join(curve.places) else (),
        )
        drawn.append((heading, chart))
    return drawn


def _then(limits: Sequence[float]) -> str:
    return ", then ".join(f"{value:g}" for value in dict.fromkeys(limits))


def _limits(record: Manifest, number: str) -> list[float]:
    """Return a quantity's limit in each stage that has one; empty for an imported campaign."""
    limits = [limits_of(convergence_of(record, stage)).get(number) for stage in range(1, len(record["stages"]) + 1)]
    return [value for value in limits if value is not None]


def plots(names: tuple[str, str], first: Facts, other: Facts) -> list[Plot]:
    """Return the figures of two campaigns after their last iterations, ``other`` minus ``first``.

    Errors of both campaigns are added in quadrature, which is too large where they share files.
    """
    made: list[Plot | None] = []
    apart = differences_of(first, other)
    if any(one.value for of in apart.values() for one in of.values()):
        made.append(elements.picture("map", f"Constants of {names[1]} minus those of {names[0]}", apart))
        title, caption = "Differences with their errors", "Statistical errors of both in quadrature."
        made.append(elements.values("difference", title, caption, names[1], apart))
    made.append(residuals_of(dict(zip(names, map(_last, (first, other)), strict=True))))
    return [plot for plot in made if plot is not None]


def differences_of(first: Facts, other: Facts) -> dict[str, dict[str, Measured]]:
    """Return the differences of two campaigns' constants with their errors (um, urad); empty without both."""
    if first.found is None or other.found is None:
        return {}
    return differences(other.found, first.found, _together(first.errors, other.errors))


def _last(facts: Facts) -> FigureData | None:
    """Return the data of the last iteration that has any."""
    known = [at for at in facts.solutions if at in facts.figures]
    return facts.figures[max(known)] if known else None


def _together(first: Constants, other: Constants) -> Constants:
    return {
        key: cast(Six, tuple(map(math.hypot, first.get(key, ZERO), other.get(key, ZERO))))
        for key in first.keys() | other.keys()
    }
