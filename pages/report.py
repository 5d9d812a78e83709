"""The report of a campaign as one HTML file that asks nothing of anybody: no script, style, font or picture from elsewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import faser_align
import faser_align.templates
from faser_align.alignment.constants import DOFS, ZERO
from faser_align.alignment.differences import UM, URAD, Change, changes, moved, movers
from faser_align.config import layout
from faser_align.config.files import by_run, format_files
from faser_align.config.record import convergence_of
from faser_align.fsm import criteria, meanings
from faser_align.fsm.table import NODE_STATES
from faser_align.pages import charts, detector, nodetimes, timeline
from faser_align.pages.charts import Limit, Series
from faser_align.pages.collect import Facts
from faser_align.pages.repeat import recipe

TEMPLATES = Path(faser_align.templates.__file__).parent
MOVERS_MAX, HISTORY_MAX, LISTED_MAX, UNUSUAL_MAX = 10, 400, 50, 20
QUANTITIES = {
    "correction": ("correction across the strips", "um"),
    "significance": ("correction over its error", "standard deviations"),
    "cut": ("share of hits cut by residual", ""),
}


def render(found: Facts, *, written_utc: str) -> str:
    """The page.

    Args:
        found: the campaign.
        written_utc: now.
    """
    judged = [row for row in found.iterations if row["metrics"]]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            found=found,
            title=f"{found.record['name']} {found.campaign['state']}",
            written_utc=written_utc,
            version=faser_align.__version__,
            data=_data(found.record),
            judged=judged,
            meaning=_meaning(found.campaign["state"]),
            progress=_progress(found),
            lost=_lost(found),
            momenta=any(row["metrics"].get("momentum", {}).get("since_first") for row in judged),
            parted=any(step.get("parts") for row in judged for step in row["metrics"].get("steps", [])),
            staged=len(found.record["stages"]) > 1,
            charts=_charts(found, judged),
            asked=_asked(found.record),
            residuals=_residuals(judged),
            picture=_picture(found),
            pictures=Markup(json.dumps(_pictures(found)).replace("</", "<\\/")),
            quantities=QUANTITIES,
            quantity=_quantity(found),
            upper=_most(found),
            modules=_module_rows(found),
            corrections=[(row, dof, of) for row in judged for dof, of in row["metrics"].get("corrections", {}).items()],
            scale=detector.SCALE,
            spent=_times(found),
            panels=timeline.panels(found.nodes, staged=len(found.record["stages"]) > 1),
            unusual=timeline.unusual(found.nodes, UNUSUAL_MAX),
            slowest=timeline.SLOWEST,
            segment=timeline.segment,
            node_name=timeline.node_name,
            node_words=_node_words,
            moved=_moved(found),
            configuration=json.dumps(found.record["config"], indent=1),
            repeat=None if "imported" in found.record else recipe(found.record),
            ends=_ends(found),
            history=found.history[-HISTORY_MAX:],
            history_left_out=max(0, len(found.history) - HISTORY_MAX),
            listed_max=LISTED_MAX,
        )
    )


def environment() -> Environment:
    """Templates of pages: everything that is put in is escaped."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "duration": nodetimes.duration,
        "moment": _moment,
        "words": _words,
    }
    return made


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: object, form: str = ".4g") -> str:
    """A number, a large one that can be read without an exponent; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    text = format(value, form)
    return format(value, ",.0f") if "e+0" in text else text


def _moment(utc: str) -> str:
    return f"{utc[:10]} {utc[11:19]} UTC" if utc else "–"


def _meaning(state: str) -> str:
    """What a state means, as the beginning of a sentence."""
    words = meanings.STATES.get(state, state)
    return words[:1].upper() + words[1:]


def _progress(found: Facts) -> str:
    """How far the iteration is that was begun last: how many of its nodes are in which state."""
    row = found.latest
    if not row:
        return ""
    name = name_of(row, len(found.record["stages"]) > 1)
    return f"iteration {name}: " + ", ".join(f"{row[s]:,} {s}" for s in NODE_STATES if row.get(s))


def _node_words(row: Mapping[str, Any]) -> str:
    """A node of the store in words."""
    if row["stage"] == layout.VALIDATION:
        place = "the validation"
    else:
        place = f"iteration {row['iteration']}" + (f" of stage {row['stage']}" if row["stage"] > 1 else "")
    what = {"reco": f"file {layout.raw_name(row['file'])}", "mille": "Millepede"}.get(row["kind"], "the comparison")
    return f"{what} in {place}"


def _lost(found: Facts) -> list[tuple[str, int, str]]:
    """Files that were lost, by reason: why, how many, which."""
    reasons: dict[str, list[int]] = {}
    for row in found.lost:
        reasons.setdefault(row["why"], []).append(row["file"])
    run = found.record["run"]
    return [
        (why, len(files), "; ".join(f"run {r} files {format_files(of)}" for r, of in by_run(run, files).items()))
        for why, files in sorted(reasons.items(), key=lambda item: -len(item[1]))
    ]


def _data(record: Mapping[str, Any]) -> str:
    """Year, runs and files in words."""
    runs = by_run(record["run"], record["files"])
    return f"{record['year']}, " + "; ".join(f"run {run} files {format_files(files)}" for run, files in runs.items())


def name_of(row: Mapping[str, Any], staged: bool) -> str:
    """An iteration's name: its number, behind that of its stage where there are several."""
    return f"{row['stage']}.{row['iteration']}" if staged else str(row["iteration"])


def _charts(found: Facts, judged: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Heading and drawing of each convergence chart."""
    places = [name_of(row, len(found.record["stages"]) > 1) for row in judged]
    asked = [criteria.limits(convergence_of(found.record, row["stage"])) for row in judged]

    def chart(title: str, series: list[Series], number: str, **options: Any) -> Markup:
        limits = [of.get(number) for of in asked]
        if len(set(limits)) > 1:  # stages have their own
            return charts.line_chart(title, places, [*series, Series("limit", limits)], **options)
        limit = Limit("limit", limits[0]) if limits and limits[0] is not None else None
        return charts.line_chart(title, places, series, limit=limit, **options)

    def curve(number: str, title: str, **options: Any) -> Markup:
        return chart(title, [Series(title, [row["metrics"].get(number) for row in judged])], number, **options)

    drawn = [
        ("chi2/ndf of the reconstruction, before hits are cut", curve("chi2_per_ndf", "chi2/ndf")),
        ("Effect: how far residuals still move, rms", curve("effect_um", "effect", unit="um", log=True)),
        ("Significance: chi2 to gain per parameter", curve("significance", "significance", log=True)),
    ]
    if any("relative" in of for of in asked):
        drawn.append(("Relative: the correction over the constants", curve("relative", "relative", log=True)))
    for size, number in (("rms", ""), ("largest", "largest_")):
        for unit in ("um", "urad"):
            of_unit = _corrections(judged, unit, size)
            if of_unit and (size == "rms" or any(number + unit in of for of in asked)):
                title = f"corrections, {size}, in {unit}"
                svg = chart(title, of_unit, number + unit, unit=unit, log=True)
                drawn.append((title[:1].upper() + title[1:], svg))
    return drawn


def _corrections(judged: Sequence[Mapping[str, Any]], unit: str, size: str) -> list[Series]:
    """The corrections of each degree of freedom of a unit: their ``rms``, or the ``largest`` without its sign."""
    of = [row["metrics"].get("corrections", {}) for row in judged]
    dofs = dict.fromkeys(dof for one in of for dof, found in one.items() if found.get("unit") == unit)
    sizes = {dof: [one.get(dof, {}).get(size) for one in of] for dof in dofs}
    return [Series(dof, [None if value is None else abs(value) for value in found]) for dof, found in sizes.items()]


_RULES = {
    "effect": "effect",
    "significance": "significance",
    "relative": "relative",
    "absolute": "the largest correction",
}


def _asked(record: Mapping[str, Any]) -> list[str]:
    """What must be below its limit for the constants to stand still: one sentence, or one for each stage where they differ."""
    told: dict[str, str] = {}
    for place, stage in enumerate(record["stages"], start=1):
        convergence = convergence_of(record, place)
        if convergence:
            rules = criteria.Rules.from_config(convergence)
            every = rules.require == "all" and len(rules.rules) > 1
            names = (" and " if every else " or ").join(_RULES[rule] for rule in rules.rules)
            below = f"{names} {'are below their limits' if every else 'is below its limit'} (dashed)"
            in_a_row = f" in {rules.patience} iterations running" if rules.patience > 1 else ""
            told[f"stage {place}, {stage['name']}"] = f"{below}{in_a_row}"
    if len(set(told.values())) > 1:
        return [f"In {stage}, the constants stand still when {words}." for stage, words in told.items()]
    return [f"The constants stand still when {words}; no other curve has a limit." for words in set(told.values())]


def _residuals(judged: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, float], Mapping[str, float]]]:
    """Per layer: residuals of the first and of the last iteration."""
    if not judged:
        return []
    first, last = judged[0]["metrics"].get("residuals", {}), judged[-1]["metrics"].get("residuals", {})
    return [(layer, first.get(layer, {}), last.get(layer, {})) for layer in sorted({*first, *last})]


def _picture(found: Facts) -> Markup:
    """The detector as the page shows it before a script runs: the last iteration's corrections."""
    if not found.corrections:
        return Markup("")
    last, quantity = found.corrections[max(found.corrections)], _quantity(found)
    title, unit = QUANTITIES[quantity]
    return detector.picture(last[quantity], title=title, unit=unit)


def _quantity(found: Facts) -> str:
    """The quantity that the picture shows at first: that of which the last iteration has numbers."""
    last = found.corrections[max(found.corrections)] if found.corrections else {}
    return next((key for key in QUANTITIES if any(v is not None for v in last.get(key, {}).values())), "cut")


def _most(found: Facts) -> str:
    """The largest value of that picture, in words: the upper end of its scale."""
    quantity = _quantity(found)
    last = found.corrections[max(found.corrections)].get(quantity, {}) if found.corrections else {}
    known = [abs(value) for value in last.values() if value is not None]
    return f"{charts.number(max(known))} {QUANTITIES[quantity][1]}".strip() if known else "no module has a number"


def _module_rows(found: Facts) -> list[tuple[str, list[float | None]]]:
    """Each module that has a number in the last iteration, with those of all quantities."""
    last = found.corrections[max(found.corrections)] if found.corrections else {}
    keys = sorted({key for values in last.values() for key, value in values.items() if value is not None})
    return [(key, [last.get(quantity, {}).get(key) for quantity in QUANTITIES]) for key in keys]


def _ends(found: Facts) -> Callable[[Change], str]:
    """A function that says of a change from what to what it was."""
    start, last = found.start or {}, found.found or {}

    def ends(change: Change) -> str:
        place, factor = DOFS.index(change.dof), URAD if change.rotation else UM
        before, after = (charts.number(factor * of.get(change.key, ZERO)[place]) for of in (start, last))
        return f"from {before} to {after}"

    return ends


def _pictures(found: Facts) -> dict[str, Any]:
    """Numbers of the detector's picture for each iteration, with four digits."""
    staged = len(found.record["stages"]) > 1
    return {
        name_of({"stage": stage, "iteration": iteration}, staged): {
            quantity: {key: None if value is None else float(f"{value:.4g}") for key, value in values.items()}
            for quantity, values in by_quantity.items()
        }
        for (stage, iteration), by_quantity in sorted(found.corrections.items())
    }


def _times(found: Facts) -> list[dict[str, Any]]:
    """Sums by iteration and kind of job, each with its bar: (kind, where it begins, how long it is) in per cent."""
    times = nodetimes.spent(found.nodes)
    if not times:
        return []
    begin = min(spent.begin_s for spent in times)
    whole = max(spent.end_s for spent in times) - begin or 1.0
    return [{**spent._asdict(), "bar": list(_bar(spent._asdict(), begin, whole))} for spent in times]


def _bar(spent: Mapping[str, Any], begin_s: float, whole_s: float) -> Iterator[tuple[str, float, float]]:
    """How the jobs' time divides, over the time that they took by the clock."""
    kinds = ("waiting", "held", "failed", "running")
    left = 100 * (spent["begin_s"] - begin_s) / whole_s
    width = max(0.4, 100 * (spent["end_s"] - spent["begin_s"]) / whole_s)
    together = sum(spent[f"{kind}_s"] for kind in kinds)
    if not together:  # HTCondor's log counts whole seconds
        yield "running", left, width
    for kind in kinds:
        if together and spent[f"{kind}_s"]:
            share = width * spent[f"{kind}_s"] / together
            yield kind, left, share
            left += share


def _moved(found: Facts) -> dict[str, Any]:
    """What became of the constants: per degree of freedom, and the largest movers."""
    if found.start is None or found.found is None:
        return {}
    changed = changes(found.start, found.found)
    return {
        "dofs": moved(changed),
        "lengths": movers(changed, MOVERS_MAX, rotations=False),
        "angles": movers(changed, MOVERS_MAX, rotations=True),
    }
