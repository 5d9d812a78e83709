"""Build the screens of the reading commands from a snapshot. Pure: no terminal, no clock."""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from faser_align.campaign.next_steps import Step, next_steps
from faser_align.cli.show import draw, incidents
from faser_align.cli.show.draw import Bar, Block, Grid, Line
from faser_align.system import formatting

Row = Mapping[str, Any]

ITERATIONS_MAX = 20  # latest ones, in the status
WRITTEN_OUT_MAX = 999  # with more nodes or files, an iteration's row has no exact counts
WHEN = ("before", "after")  # with the first constants, with the last constants
_MARKS = {"good": draw.GOOD, "doubt": draw.DOUBT, "bad": draw.BAD, "going": draw.BUSY}


def mark(name: str) -> draw.Mark:
    """Return the mark of a state or a grade, which is always shown with its name."""
    return _MARKS[formatting.kind(name)]


def status(
    seen: Row,
    *,
    program: str,
    trouble: str = "",
    stuck: bool = False,
    cure: Sequence[Step] = (),
    where: tzinfo | None = None,
    latest: int = ITERATIONS_MAX,
    items: int = incidents.ITEMS_MAX,
) -> list[Block]:
    """Return the screen of a campaign: state, iterations, incidents, and the next commands.

    Args:
        seen, program: a snapshot, and what the user types to call this program.
        trouble, stuck, cure: problem of the campaign's DAGMan, whether no script can run because of it, and the fix.
        where: zone of the times; None is this machine's.
        latest, items: maximum numbers of iterations, and of incidents of a kind.
    """
    symbol, colour = mark(seen["state"])
    blocks: list[Block] = [Line(f"{seen['name']}  {seen['state']}", f"bold {colour}", symbol=symbol)]
    blocks += [Line(f"  {seen['reason']}")] if seen["reason"] else []
    blocks += [Line(f"  {text}") for text in _place(seen, where)]
    blocks += _progress(seen)
    blocks += quality(seen)
    if seen["iterations"]:
        blocks += [Line(), iterations(seen, latest)]
        hidden = len(seen["iterations"]) - latest
        if hidden > 0:
            every = f"`{program} metrics {shlex.quote(seen['name'])}`"
            blocks.append(Line(f"{formatting.count(hidden, 'earlier iteration')} left out; all with {every}"))
    blocks += validation(seen)
    blocks += [] if stuck else [Line(text) for text in estimate(seen, where)]
    strange = incidents.blocks(seen, program, items)
    if trouble:
        look, symbol = ("bold red", draw.BAD.symbol) if stuck else ("yellow", draw.DOUBT.symbol)
        strange.insert(0, Line(trouble, look, symbol=symbol))
    if strange:
        blocks += [Line(), *strange]
    return [*blocks, Line(), *onwards(seen, program, cure=cure)]


def quality(seen: Row) -> list[Block]:
    """Return the quality block, a line for each of its lines; empty before the first constants."""
    found = seen.get("quality")
    if not found:
        return []
    return [
        Line(),
        *(
            draw.Item(mark(line["grade"]), line["grade"], f"{line['title']}{line['short'] or ': ' + line['text']}")
            for line in found["lines"]
        ),
    ]


def _place(seen: Row, where: tzinfo | None) -> list[str]:
    """Return the data, the current iteration, and the start time."""
    stage = f"stage {seen['stage']} of {seen['stages']}, " if seen["stages"] > 1 and seen["stage"] else ""
    at = f", {stage}iteration {seen['iteration']} of {seen['limit']}" if seen["iteration"] else ""
    news = f"last news {formatting.ago(seen['published_age_s'])}"
    if seen["ended"]:
        news = f"took {formatting.duration(seen['elapsed_s'])}"
    parent = seen.get("parent")
    return [
        *([f"forked from {formatting.origin(parent)}"] if parent else []),
        f"{seen['year']} run {seen['run']}, {files(seen)}{at}",
        f"begun {formatting.day_and_time(seen['created_utc'], where)}, {news}",
    ]


def files(seen: Row) -> str:
    """Return the number of raw files of the alignment, and of those held back for the validation."""
    held_back = len(seen["held_back"])
    return formatting.count(seen["files"], "file") + (f" and {held_back} for the validation" if held_back else "")


def _progress(seen: Row) -> list[Block]:
    """Return a bar of the nodes that are done in the current iteration; empty if none runs."""
    row = seen["iterations"][-1] if seen["iterations"] and not seen["ended"] else None
    if row is None or row["verdict"] or not row["nodes"]:
        return []
    done, nodes = row["nodes"].get("done", 0) + row["nodes"].get("skipped", 0), sum(row["nodes"].values())
    return [Bar(done, nodes, f"{int(100 * done / nodes)} % of iteration {row['iteration']}")]


def iterations(seen: Row, latest: int = ITERATIONS_MAX) -> Grid:
    """Return the table of the latest iterations: nodes done of all, files, tracks, and the judged quantities."""
    used = ("iter", ">nodes\ndone", ">files\nused", ">tracks\nused")
    judged = (">chi2\n/ndf", ">shift\num", ">dchi2\n/param", "largest\ncorrection", "decision,\nor now")
    rows = [_iteration(row, staged=seen["stages"] > 1, ended=seen["ended"]) for row in seen["iterations"][-latest:]]
    return Grid((*used, *judged), rows, narrow=(0, 1, 4, 5, 8))


def _iteration(row: Row, *, staged: bool, ended: bool) -> tuple[str, ...]:
    counts = row["nodes"]
    return (
        f"{row['stage']}.{row['iteration']}" if staged else str(row["iteration"]),
        _nodes(counts.get("done", 0) + counts.get("skipped", 0), sum(counts.values())),
        _files(row["files_used"], row["files_expected"]),
        formatting.number(row["tracks"], ","),
        formatting.chi2(row["chi2_per_ndf"]),
        formatting.shift(row["effect_um"]),
        formatting.size(row["significance"]),
        formatting.largest(row["largest"]),
        row["verdict"].replace("_", " ") or ", ".join(formatting.busy(counts, ended=ended)),
    )


def _nodes(done: int, nodes: int) -> str:
    """Return how many nodes are done: ``4/7``, or a percentage, which is below 100 % unless all are done."""
    return f"{done}/{nodes}" if nodes <= WRITTEN_OUT_MAX else f"{int(1000 * done / nodes) / 10:g} %"


def _files(used: int | None, expected: int | None) -> str:
    """Return how many files are used of those expected; of very many only the first number."""
    if used is None:
        return formatting.NONE
    return f"{used:,}" if (expected or 0) > WRITTEN_OUT_MAX else f"{used}/{expected}"


def validation(seen: Row) -> list[Block]:
    """Return the comparison by the validation, and the decision; empty before a validation."""
    found = seen.get("validation", {})
    groups = found.get("metrics", {}).get("groups")
    if not groups:
        return []
    columns = ("validation", ">tracks", ">chi2/ndf\nbefore", ">chi2/ndf\nafter")
    names = {"all": "all files", "unused": "files not used"}
    lines = [
        (
            names[name],
            formatting.number(of["after"]["tracks"], ","),
            *(formatting.chi2(of[w]["chi2_per_ndf"]) for w in WHEN),
        )
        for name, of in groups.items()
    ]
    # The reason of a campaign that the validation ended contains the validation's.
    said = [] if found["reason"] in seen.get("reason", "") else [Line(f"{found['verdict']}: {found['reason']}")]
    return [Line(), Grid(columns, lines), *said]


def estimate(seen: Row, where: tzinfo | None = None) -> list[str]:
    """Return the estimated end of the campaign with its assumptions; empty if there is no estimate."""
    found = seen.get("estimate")
    if not found:
        return []
    each = f"about {formatting.duration(found['iteration_s'])}"
    learnt = "part of the first" if not found["iterations"] else f"median of {found['iterations']}"
    most = f"if each of at most {formatting.count(found['left'], 'iteration')} to come takes {each} ({learnt})"
    if not found["left"]:
        most = f"if the validation takes as long as an iteration, {each} ({learnt})"
    told = ["", f"estimate: over by {formatting.day_and_time(found['end_utc'], where)} at the latest, {most}"]
    at = found["converges"]
    if at is not None and at > seen["limit"]:
        told.append(f"  at its pace so far it needs about {at} iterations to converge, and may have {seen['limit']}")
    elif at is not None:
        told.append(
            f"  at its pace so far it converges in about iteration {at}, {formatting.day_and_time(found['converges_utc'], where)}"
        )
    return told


def onwards(seen: Row, program: str, *, cure: Sequence[Step] = ()) -> list[Block]:
    """Return the path of the constants, and the next command."""
    label = "constants" if seen["ended"] else "constants so far"
    if seen["state"] == "rejected":
        label = "rejected constants"
    path = seen["constants"] or f"none yet; it starts from {seen['start_constants']}"
    return [Line(f"{label}: {path}"), *incidents.typed(steps(seen, program, cure=cure))]


def steps(seen: Row, program: str, *, cure: Sequence[Step] = ()) -> list[Step]:
    """Return the next commands in the campaign's state, or the fix if no script can advance it."""
    return list(cure) or next_steps(
        seen["state"],
        command=program,
        name=seen["name"],
        constants=seen["constants"],
        start=seen["start_constants"],
        imported=bool(seen.get("imported")),
        copy=seen["folder"] if seen.get("moved_from") else "",
    )


def trouble(seen: Row, program: str) -> str:
    """Return which jobs of the campaign do not continue, and the command that shows them; empty if there are none."""
    counts = (
        ("vanished", "vanished from HTCondor's queue"),
        ("disconnected", "disconnected from the execute machine"),
    )
    told = [f"{formatting.count(len(seen[key]), 'job')} {what}" for key, what in counts if seen.get(key)]
    held = [item for item in seen.get("held", ()) if not item.get("recorded", True)]
    told += [f"{formatting.count(len(held), 'job')} on hold that no script recorded"] if held else []
    return f"{', '.join(told)}; see `{program} status {shlex.quote(seen['name'])}`" if told else ""


def campaigns(rows: Sequence[Row], where: tzinfo | None = None, stuck: Collection[str] = ()) -> list[Block]:
    """Return the table of all campaigns and their number; ``stuck`` are the folders of those that no script can advance."""
    columns = ("name", "state", ">iter", ">files", ">chi2\n/ndf", ">shift\num", "updated")
    marks = {}
    for at, row in enumerate(rows):
        held = draw.DOUBT if row.get("nodes_held") else mark(row["state"])
        marks[at, 1] = draw.BAD if row["folder"] in stuck else held
        if row["lost"]:
            marks[at, 3] = draw.DOUBT
    cells = [_campaign(row, where, stuck=row["folder"] in stuck) for row in rows]
    counts = Counter(row["state"] for row in rows)
    states = ", ".join(f"{number:,} {state}" for state, number in counts.most_common())
    return [
        Grid(columns, cells, narrow=(0, 1, 2), marks=marks),
        Line(),
        Line(f"{formatting.count(len(rows), 'campaign')}: {states}"),
    ]


def _campaign(row: Row, where: tzinfo | None, *, stuck: bool) -> tuple[str, ...]:
    stage, held = f"{row['stage']}." if row["stages"] > 1 else "", row.get("nodes_held")
    return (
        row["name"],
        ", ".join([row["state"], *(["stuck"] if stuck else []), *([f"{held:,} held"] if held else [])]),
        f"{stage}{row['iteration']}/{row['limit']}",
        f"{row['files'] - row['lost']:,}/{row['files']:,}" if row["lost"] else f"{row['files']:,}",
        formatting.chi2(row["chi2_per_ndf"]),
        formatting.shift(row["effect_um"]),
        formatting.day_and_time(row["updated_utc"], where),
    )
