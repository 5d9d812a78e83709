"""Draw the nodes of a campaign over time as SVG: a line per node, a panel per iteration. Pure.

The time axis of every panel starts with its iteration and has the same scale, which shows the slowest iteration and
node. Of very many nodes, a panel draws the unusual and slowest ones, and above them the mean of the others.
"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from faser_align.campaign.layout import AFTER, VALIDATION, raw_name
from faser_align.pages.charts import SIGN_PX
from faser_align.pages.nodetimes import Node
from faser_align.system.formatting import clock

NODES_MAX, DRAWN_MAX = 600, 120  # maximum lines in all panels, and in one that shows every node
UNUSUAL_MAX, SLOWEST = 24, 8  # maximum lines of a panel that does not, and how many of these are for the slowest nodes
LABELLED_MAX = UNUSUAL_MAX + 1  # lines that have room for a name
_DISTANCES_PX = ((LABELLED_MAX, 15.0), (60, 6.0), (DRAWN_MAX, 4.0))  # between lines, up to so many of them
_TOP_PX, _AXIS_PX, _END_PX = 4.0, 24.0, 16.0
_TICKS_MAX = 4
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_DAY_S = 86_400


class Panel(NamedTuple):
    """The drawing of an iteration, its name and a summary; the node counts are only on its first line."""

    name: str
    words: str
    summed: int
    drawn: Markup


class _Line(NamedTuple):
    """A line: the node, its label, its periods (kind, start and length in s, words), its marks (character, s)."""

    node: str
    label: str
    spans: list[tuple[str, float, float, str]]
    signs: list[tuple[str, float]]


def panels(nodes: Sequence[Node], *, staged: bool) -> list[Panel]:
    """Return one panel per iteration, in order of their start; in a ``staged`` campaign its name has its stage."""
    groups: dict[tuple[int, int], list[Node]] = {}
    for node in sorted(nodes, key=lambda node: node.begin_s):
        groups.setdefault((node.stage, node.iteration), []).append(node)
    most = min(DRAWN_MAX, max(UNUSUAL_MAX, NODES_MAX // (len(groups) or 1)))
    scale_s = max((_length_s(group) for group in groups.values()), default=0.0) or 1.0
    others = {key: _others(group, most) for key, group in groups.items()}
    lines = {key: list(_lines(group, others[key])) for key, group in groups.items()}
    labels = [len(line.label) for of in lines.values() if len(of) <= LABELLED_MAX for line in of]
    left_px = 8 + SIGN_PX * max(labels, default=0)
    return [
        Panel(
            _name(*key, staged),
            _words(group, others[key]),
            len(others[key]),
            _picture(f"{_name(*key, staged)}: {_sentence(group)}", lines[key], scale_s, left_px),
        )
        for key, group in groups.items()
    ]


def unusual(nodes: Sequence[Node], most: int) -> list[Node]:
    """Return the nodes that failed, were held or were retried, then the slowest others."""
    return sorted(
        nodes, key=lambda node: (not node.failed, not node.seconds("held"), len(node.jobs) == 1, -node.length_s)
    )[:most]


def node_name(node: Node) -> str:
    """Describe a node without its iteration."""
    return {"reco": f"file {raw_name(node.file)}", "mille": "Millepede"}.get(node.kind, "comparison")


def _others(group: Sequence[Node], most: int) -> list[Node]:
    """Return the nodes of an iteration that are not drawn, in order of submission."""
    if len(group) <= most:
        return []
    files = sorted((node for node in group if node.kind == "reco"), key=lambda node: -node.length_s)
    room = UNUSUAL_MAX - (len(group) - len(files)) - SLOWEST
    drawn = {node.name for node in (*files[:SLOWEST], *unusual(files[SLOWEST:], room))}
    return [node for node in group if node.kind == "reco" and node.name not in drawn]


def _length_s(group: Sequence[Node]) -> float:
    return max(node.end_s for node in group) - min(node.begin_s for node in group)


def _name(stage: int, iteration: int, staged: bool) -> str:
    if stage == VALIDATION:
        return f"Validation with the {'last' if iteration == AFTER else 'first'} constants"
    return f"Iteration {stage}.{iteration}" if staged else f"Iteration {iteration}"


def _words(group: Sequence[Node], left: Sequence[Node]) -> str:
    """Describe an iteration: when it ran, its nodes, and those not drawn."""
    began = datetime.fromtimestamp(min(node.begin_s for node in group), UTC)
    words = f"Began {began:%Y-%m-%d %H:%M:%S} UTC. {_sentence(group)}"
    drawn = len(group) - len(left)
    return f"{words} {drawn} are drawn; of the other {len(left):,}, {_counts(left)}." if left else words


def _sentence(group: Sequence[Node]) -> str:
    slowest = max(group, key=lambda node: node.length_s)
    return (
        f"{len(group):,} nodes in {clock(_length_s(group))}, {_counts(group)}; "
        f"slowest: {node_name(slowest)}, {clock(slowest.length_s)}."
    )


def _counts(group: Sequence[Node]) -> str:
    counts = (
        (sum(node.failed for node in group), "failed"),
        (sum(node.seconds("held") > 0 for node in group), "held"),
        (sum(len(node.jobs) > 1 for node in group), "retried"),
        (sum(node.jobs[-1].open for node in group), "still going"),
    )
    return ", ".join(f"{count:,} {words}" for count, words in counts if count) or "none failed, held or retried"


def _lines(group: Sequence[Node], left: Sequence[Node]) -> Iterator[_Line]:
    """Yield the mean of the nodes that are not drawn, if any, then the drawn nodes in order of submission, Millepede's last."""
    begin_s, hidden = min(node.begin_s for node in group), {node.name for node in left}
    if left:
        yield _mean(left, begin_s)
    drawn = (node for node in group if node.name not in hidden)
    for node in sorted(drawn, key=lambda node: (node.kind != "reco", node.begin_s, node.name)):
        spans = [
            (_kind(attempt, state, job.failed), begin - begin_s, end - begin, _hover(node, attempt, state, begin, end))
            for attempt, job in enumerate(node.jobs, start=1)
            for state, begin, end in job.spans
        ]
        signs = [("×", job.spans[-1].end_s - begin_s) for job in node.jobs if job.failed]
        signs += [("›", node.end_s - begin_s)] if node.jobs[-1].open else []
        yield _Line(node.name, node_name(node), spans, signs)


def _kind(attempt: int, state: str, failed: bool) -> str:
    if state != "running":
        return state
    return "failed" if failed else "later" if attempt > 1 else "running"


def _hover(node: Node, attempt: int, state: str, begin_s: float, end_s: float) -> str:
    job = node.jobs[attempt - 1]
    words = [f"{node_name(node)}, attempt {attempt}" if len(node.jobs) > 1 else node_name(node)]
    words.append(f"{state} {clock(end_s - begin_s)}")
    begin, end = (datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S") for at in (begin_s, end_s))
    words.append(f"{begin} to {end} UTC")
    if end_s == job.spans[-1].end_s and (job.failed or job.open):
        words.append("failed" if job.failed else "continues")
    return f"{words[0]}: {', '.join(words[1:])}"


def _mean(nodes: Sequence[Node], begin_s: float) -> _Line:
    at = sum(node.begin_s for node in nodes) / len(nodes) - begin_s
    spans = []
    for state in ("waiting", "held", "failed", "running"):
        seconds = sum(node.seconds(state) for node in nodes) / len(nodes)
        if seconds:
            words = "running in failed attempts" if state == "failed" else state
            spans.append((state, at, seconds, f"mean of {len(nodes):,} other nodes: {words} {clock(seconds)}"))
            at += seconds
    return _Line("", "mean of others", spans, [])


def _picture(sentence: str, lines: Sequence[_Line], scale_s: float, left_px: float) -> Markup:
    distance = next(distance for most, distance in _DISTANCES_PX if len(lines) <= most or most == DRAWN_MAX)
    height = _TOP_PX + distance * len(lines)
    parts = [_axis(scale_s, height)]
    for at, line in enumerate(lines):
        parts.append(_line(line, _TOP_PX + distance * at, distance, scale_s, len(lines) <= LABELLED_MAX))
    return Markup(
        "<svg class='nodes' role='img' aria-label='{sentence}' style='height:{height:g}px;padding:0 {end:g}px {axis:g}px "
        "{left:g}px'>{parts}</svg>"
    ).format(
        sentence=sentence,
        height=height + _AXIS_PX,
        end=_END_PX,
        axis=_AXIS_PX,
        left=left_px,
        parts=Markup("").join(parts),
    )


def _axis(scale_s: float, height: float) -> Markup:
    """Draw vertical lines at round times, with labels below."""
    steps = itertools.chain(_STEPS_S, (2**power * _DAY_S for power in itertools.count()))
    step = next(step for step in steps if scale_s / step <= _TICKS_MAX)
    size, unit = next(
        (size, unit) for size, unit in ((_DAY_S, "d"), (3600, "h"), (60, "min"), (1, "s")) if step % size == 0
    )
    return Markup("").join(
        Markup(
            "<line class='grid' x1='{x:.2f}%' x2='{x:.2f}%' y1='0' y2='{height:g}'/><text class='place{ends}' x='{x:.2f}%' y='{y:g}'>"
            "{words}</text>"
        ).format(
            x=100 * at / scale_s,
            height=height,
            ends=" last" if at > 0.9 * scale_s else "",
            y=height + 17,
            words=f"{at // size} {unit}" if at else "0",
        )
        for at in range(0, int(scale_s) + 1, step)
    )


def _line(line: _Line, top: float, distance: float, scale_s: float, labelled: bool) -> Markup:
    high = distance * 0.7
    parts = [
        Markup("<text class='tick' x='-6' y='{y:.1f}'>{label}</text>").format(y=top + high, label=line.label)
        if labelled
        else Markup("")
    ]
    parts += [
        segment(kind, 100 * begin / scale_s, max(0.3, 100 * length / scale_s), top, high, words)
        for kind, begin, length, words in line.spans
    ]
    parts += [
        Markup("<text class='sign' x='{x:.2f}%' y='{y:.1f}'>{sign}</text>").format(
            x=100 * at / scale_s, y=top + high / 2 + 5, sign=sign
        )
        for sign, at in line.signs
    ]
    return Markup("<g data-node='{node}'>{parts}</g>").format(node=line.node, parts=Markup("").join(parts))


def segment(kind: str, left: float, width: float, top: float, high: float, words: str) -> Markup:
    """Draw a period from ``left`` with the given ``width`` (per cent); waiting is a thin line."""
    thin = kind == "waiting"
    return Markup(
        "<rect class='{kind}' x='{left:.2f}%' y='{y:.1f}' width='{width:.2f}%' height='{high:.1f}'><title>{words}</title></rect>"
    ).format(
        kind=kind,
        left=left,
        width=width,
        y=top + high / 3 if thin else top,
        high=high / 3 if thin else high,
        words=words,
    )
