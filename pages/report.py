"""Write the report of a campaign as one HTML file that loads nothing from elsewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

import faser_align
from faser_align.alignment.parameters.constants import DOFS, ZERO
from faser_align.alignment.parameters.differences import UM, URAD, Change, changes, moved, movers
from faser_align.alignment.quality.grades import DESCRIBED, GRADES
from faser_align.alignment.quality.notes import fields
from faser_align.campaign.data import by_run
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import format_files
from faser_align.fsm.metrics import Line
from faser_align.fsm.table import NODE_STATES
from faser_align.pages import convergence, quantities, repeat, timeline
from faser_align.pages.charts import number
from faser_align.pages.collect import Facts
from faser_align.pages.figures import catalogue, page, style
from faser_align.pages.figures.source import Reference, source
from faser_align.pages.nodetimes import Node
from faser_align.pages.numbers import signed
from faser_align.pages.templating import rendered
from faser_align.reference import meanings
from faser_align.state.facts import error_of_correction
from faser_align.system.formatting import with_error

MOVERS_MAX, HISTORY_MAX, LISTED_MAX, UNUSUAL_MAX = 10, 400, 50, 20


def render(facts: Facts, *, written_utc: str, reference: Reference = None) -> str:
    """Return the page, with the difference to other constants if there is a ``reference``."""
    judged, state = facts.judged, str(facts.campaign["state"])
    meaning = meanings.STATES.get(state, state)
    return rendered(
        "report.html.j2",
        found=facts,
        title=f"{facts.record['name']} {facts.campaign['state']}",
        written_utc=written_utc,
        version=faser_align.__version__,
        data=_data(facts.record),
        judged=judged,
        quality=facts.quality,
        graded=_graded(facts.quality["lines"]) if facts.quality else [],
        meaning=meaning[:1].upper() + meaning[1:],
        progress=_progress(facts),
        momenta=any(row["metrics"].get("momentum", {}).get("since_first") for row in judged),
        fields=fields(judged[-1]["metrics"]) if judged else "",
        parted=any(step.get("parts") for row in judged for step in row["metrics"].get("steps", [])),
        staged=facts.staged,
        charts=convergence.drawn(facts),
        asked=convergence.asked(facts.record),
        residuals=_residuals(facts),
        **_detector(facts, reference),
        **_figures(facts, reference),
        corrections=[
            (row, dof, of, error_of_correction(row["metrics"], dof, of["where"]))
            for row in judged
            for dof, of in row["metrics"].get("corrections", {}).items()
        ],
        spent=_times(facts.nodes),
        panels=timeline.panels(facts.nodes, staged=facts.staged),
        unusual=timeline.unusual(facts.nodes, UNUSUAL_MAX),
        slowest=timeline.SLOWEST,
        segment=timeline.segment,
        node_name=timeline.node_name,
        moved=_moved(facts),
        configuration=json.dumps(facts.record["config"], indent=1),
        repeat=repeat,
        ends=_ends(facts),
        compared=reference is not None,
        history=facts.history[-HISTORY_MAX:],
        history_left_out=max(0, len(facts.history) - HISTORY_MAX),
        listed_max=LISTED_MAX,
    )


def _detector(facts: Facts, reference: Reference) -> dict[str, Any]:
    """Return the quantities in the picture of the detector, and their numbers for the page's script and table."""
    shown = quantities.quantities(facts, reference)
    return {
        "picture": quantities.picture(shown),
        "pictures": Markup(json.dumps(quantities.for_script(facts, shown)).replace("</", "<\\/")),
        "quantities": shown,
        "upper": f"{number(shown[0].most)} {shown[0].unit}".strip() if shown else "",
        "modules": quantities.by_element(shown),
    }


def _figures(facts: Facts, reference: Reference) -> dict[str, Any]:
    """Return the figures of the last stage by section, those of earlier stages, and why there are none."""
    stages = list(dict.fromkeys(row["stage"] for row in facts.judged))
    why = style.missing() if stages else ""
    found = {stage: {} if why else _of_stage(facts, stage, reference) for stage in stages}
    earlier = [
        (stage, facts.record["stages"][stage - 1]["name"], [drawn for made in found[stage].values() for drawn in made])
        for stage in stages[:-1]
    ]
    last = found[stages[-1]] if stages else {}
    return {
        "links": {
            drawn.name.removesuffix(f"-{stages[-1]}" if facts.staged else ""): drawn.name
            for made in last.values()
            for drawn in made
        },
        "figures": {section: last.get(section, []) for section in catalogue.SECTIONS},
        "earlier": earlier,
        "no_figures": why,
    }


def _of_stage(facts: Facts, stage: int, reference: Reference) -> dict[str, list[page.Drawn]]:
    """Draw the figures of a stage; the page has curves of the convergence of its own."""
    label = style.label(facts.record["config"])
    made = catalogue.sections(source(facts, stage, reference=reference))
    return {
        section: [page.drawn(plot, label, f"{plot.name}-{stage}" if facts.staged else plot.name) for plot in plots]
        for section, plots in made.items()
        if section != "convergence"
    }


def _progress(facts: Facts) -> str:
    """Return the progress of the latest iteration: how many of its nodes are in which state."""
    row = facts.latest
    if not row:
        return ""
    counts = ", ".join(
        f"{row[state]:,} {'dropped' if state == 'lost' else state}" for state in NODE_STATES if row.get(state)
    )
    return f"iteration {facts.name_of(row['stage'], row['iteration'])}: {counts}"


def _data(record: Manifest) -> str:
    """Describe year, runs and files, and those held back for the validation."""
    held_back = record.get("validation", {}).get("held_back", ())
    both = (
        "; ".join(f"run {run} files {format_files(files)}" for run, files in by_run(record["run"], chosen).items())
        for chosen in (record["files"], held_back)
    )
    return f"{record['year']}, {'; held back for the validation: '.join(filter(None, both))}"


def _graded(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Return the grades, the worst first, each with the lines of the quality block that have it, and those without one.

    Metrics of older versions lack most lines, and one that is good says nothing about the others.
    """
    found: dict[str, list[str]] = {
        grade: [line["title"] for line in lines if line["grade"] == grade] for grade in reversed(GRADES)
    }
    known = {line["name"] for line in lines} | {"truth"}  # of simulated detectors only
    unknown = [described["title"] for name, described in DESCRIBED.items() if name not in known]
    named = [(grade, ", ".join(titles)) for grade, titles in {**found, "unknown": unknown}.items() if titles]
    return named if len(named) > 1 else [(grade, "all lines") for grade, _ in named]


def _residuals(facts: Facts) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Return per layer the residuals (um) of the first and the last iteration, the medians with errors if known."""
    if not facts.judged:
        return []
    first, last = (_of_layers(facts, facts.judged[at]) for at in (0, -1))
    return [(layer, first.get(layer, {}), last.get(layer, {})) for layer in sorted({*first, *last})]


def _of_layers(facts: Facts, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    data = facts.figures.get((row["stage"], row["iteration"]))
    centres = data.layer_medians() if data is not None else None
    drawn = {layer: {"median_um": of.median_um, "error_um": of.error_um} for layer, of in (centres or {}).items()}
    return {layer: of | drawn.get(layer, {}) for layer, of in row["metrics"].get("residuals", {}).items()}


def _ends(facts: Facts) -> Callable[[Change], str]:
    """Return a function that describes a change by its old and new value."""
    start, last = facts.start or {}, facts.found or {}

    def ends(change: Change) -> str:
        place, factor = DOFS.index(change.dof), URAD if change.unit == "urad" else UM
        before, after = (with_error(factor * of.get(change.key, ZERO)[place], change.error)[0] for of in (start, last))
        return signed(f"from {before} to {after}")

    return ends


def _times(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return the jobs' times (s) by iteration and kind, in order of their start, each with a bar."""
    groups: dict[tuple[int, int, str], list[Node]] = {}
    for node in nodes:
        groups.setdefault((node.stage, node.iteration, node.kind), []).append(node)
    begin = min((node.begin_s for node in nodes), default=0.0)
    whole = max((node.end_s for node in nodes), default=0.0) - begin or 1.0
    rows = []
    for (stage, iteration, kind), of in groups.items():
        parts = {state: sum(node.seconds(state) for node in of) for state in ("waiting", "held", "failed", "running")}
        first, last = min(node.begin_s for node in of), max(node.end_s for node in of)
        left, width = 100 * (first - begin) / whole, max(0.4, 100 * (last - first) / whole)
        row = {"stage": stage, "iteration": iteration, "kind": kind, "jobs": sum(len(node.jobs) for node in of)}
        row |= {"begin_s": first, "end_s": last, **{f"{state}_s": seconds for state, seconds in parts.items()}}
        rows.append(row | {"bar": list(_bar(parts, left, width))})
    return sorted(rows, key=lambda row: row["begin_s"])


def _bar(parts: Mapping[str, float], left: float, width: float) -> Iterator[tuple[str, float, float]]:
    """Yield how the jobs' time divides, scaled to their wall time: state, start and length in per cent."""
    together = sum(parts.values())
    if not together:  # HTCondor's log has whole seconds
        yield "running", left, width
    for kind, seconds in parts.items():
        if seconds:
            share = width * seconds / together
            yield kind, left, share
            left += share


def _moved(facts: Facts) -> dict[str, Any]:
    """Return how the constants changed: per degree of freedom, and the largest corrections."""
    if facts.start is None or facts.found is None:
        return {}
    changed = changes(facts.start, facts.found, facts.errors)
    return {
        "dofs": moved(changed),
        "lengths": movers(changed, MOVERS_MAX, rotations=False),
        "angles": movers(changed, MOVERS_MAX, rotations=True),
    }
