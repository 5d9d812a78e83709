"""The report of a campaign as one HTML file that asks nothing of anybody: no script, style, font or picture from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import faser_align
import faser_align.templates
from faser_align.alignment.differences import changes, moved, movers
from faser_align.config.files import by_run, format_files
from faser_align.config.layout import raw_name
from faser_align.pages import charts, detector
from faser_align.pages.charts import Limit, Series
from faser_align.pages.collect import Facts

TEMPLATES = Path(faser_align.templates.__file__).parent
MOVERS_MAX, HISTORY_MAX, LISTED_MAX = 10, 400, 50
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
            staged=len(found.record["stages"]) > 1,
            charts=_charts(found, judged),
            residuals=_residuals(judged),
            picture=_picture(found),
            pictures=Markup(json.dumps(_pictures(found)).replace("</", "<\\/")),
            quantities=QUANTITIES,
            scale=detector.SCALE,
            spent=_times(found),
            moved=_moved(found),
            configuration=json.dumps(found.record["config"], indent=1),
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
    made.filters |= {"number": _number, "duration": _duration, "moment": _moment, "raw": raw_name, "words": _words}
    return made


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: object, form: str = ".4g") -> str:
    """A number, a large one that can be read without an exponent; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    text = format(value, form)
    return format(value, ",.0f") if "e+0" in text else text


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def _moment(utc: str) -> str:
    return f"{utc[:10]} {utc[11:19]} UTC" if utc else "–"


def _data(record: Mapping[str, Any]) -> str:
    """Year, runs and files in words."""
    runs = by_run(record["run"], record["files"])
    return f"{record['year']}, " + "; ".join(f"run {run} files {format_files(files)}" for run, files in runs.items())


def name_of(row: Mapping[str, Any], staged: bool) -> str:
    """An iteration's name: its number, behind that of its stage where there are several."""
    return f"{row['stage']}.{row['iteration']}" if staged else str(row["iteration"])


def limit_of(record: Mapping[str, Any], rule: str) -> Limit | None:
    """A threshold of ``[convergence]``; None for a campaign that was imported and had none."""
    value = record["config"].get("convergence", {}).get(rule)
    return None if value is None else Limit("limit", value)


def _charts(found: Facts, judged: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Heading and drawing of each convergence chart."""
    places = [name_of(row, len(found.record["stages"]) > 1) for row in judged]

    def chart(key: str, title: str, **options: Any) -> Markup:
        return charts.line_chart(title, places, [Series(title, [row["metrics"].get(key) for row in judged])], **options)

    effect_limit, significance_limit = (
        limit_of(found.record, "effect_um_max"),
        limit_of(found.record, "significance_max"),
    )
    drawn = [
        ("chi2/ndf of the reconstruction, before hits are cut", chart("chi2_per_ndf", "chi2/ndf")),
        (
            "Effect: what the correction still moves residuals by, rms",
            chart("effect_um", "effect", unit="um", log=True, limit=effect_limit),
        ),
        (
            "Significance: expected decrease of chi2 per free parameter",
            chart("significance", "significance", log=True, limit=significance_limit),
        ),
    ]
    dofs = list(dict.fromkeys(dof for row in judged for dof in row["metrics"].get("corrections", {})))
    for unit in ("um", "urad"):
        of_unit = [
            Series(dof, [row["metrics"].get("corrections", {}).get(dof, {}).get("rms") for row in judged])
            for dof in dofs
            if any(row["metrics"].get("corrections", {}).get(dof, {}).get("unit") == unit for row in judged)
        ]
        if of_unit:
            title = f"corrections, rms, in {unit}"
            drawn.append(
                (title[:1].upper() + title[1:], charts.line_chart(title, places, of_unit, unit=unit, log=True))
            )
    return drawn


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
    last = found.corrections[max(found.corrections)]
    quantity = "correction" if "correction" in last else "cut"
    title, unit = QUANTITIES[quantity]
    return detector.picture(last[quantity], title=title, unit=unit)


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
    """Rows of the timeline: where each bar begins and how long it is, as shares of the whole, and its sums."""
    if not found.times:
        return []
    begin = min(spent.begin_s for spent in found.times)
    whole = max(spent.end_s for spent in found.times) - begin or 1.0
    return [
        {
            **spent._asdict(),
            "left": 100 * (spent.begin_s - begin) / whole,
            "width": max(0.4, 100 * (spent.end_s - spent.begin_s) / whole),
            "shares": _shares(spent._asdict()),
        }
        for spent in found.times
    ]


def _shares(spent: Mapping[str, Any]) -> list[tuple[str, float]]:
    """How the jobs' time divides, in per cent."""
    kinds = ("waiting", "running", "retried", "held")
    whole = sum(spent[f"{kind}_s"] for kind in kinds)
    return [(kind, 100 * spent[f"{kind}_s"] / whole) for kind in kinds if whole and spent[f"{kind}_s"]]


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
