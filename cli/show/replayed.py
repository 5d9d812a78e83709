"""Show campaigns that were judged again, as lines and grids. Pure: no terminal, no files."""

from collections.abc import Iterator, Sequence

from faser_align.cli.show.draw import Block, Grid, Line
from faser_align.operations.replay import Replayed, Stage
from faser_align.system import formatting

DETAILED_MAX = 5  # campaigns whose stages are explained below the table
HOUR_S = 3600.0
COLUMNS = (
    *("campaign", ">stage", ">ran", "stored", ">would end\nafter", "as", ">iterations\nsaved", ">CPU h\nsaved"),
    *(">largest\num", ">largest\nurad"),
)


def blocks(found: Sequence[Replayed], rules: Sequence[str]) -> list[Block]:
    """Return the result of a replay: the ends of the stages, or without ``rules`` whether decisions equal the stored ones."""
    judged = [one for one in found if not one.problem]
    if not rules:
        return [block for one in judged for block in _compared(one)]
    staged = [(one, stage) for one in judged for stage in one.stages]
    shown: list[Block] = [Line(f"judged again with {', '.join(rules)}", "bold"), Line()]
    if staged:
        shown.append(Grid(COLUMNS, [_row(one, stage) for one, stage in staged], narrow=(0, 1, 2, 3, 4, 5)))
    for one in judged:
        shown += [Line(f"{one.campaign} has no decision yet; it is {one.state}")] if not one.stages else []
        if len(found) <= DETAILED_MAX:
            shown += [block for stage in one.stages for block in _explained(one, stage)]
        shown += [Line(f"{one.campaign}: {note}", "yellow") for note in one.notes]
    return [*shown, *_sums(judged)] if len(found) > 1 else shown


def _compared(found: Replayed) -> Iterator[Block]:
    if not found.decisions:
        yield Line(f"{found.campaign} has no decision yet; it is {found.state}")
        return
    same = found.decisions - len(found.changed)
    yield Line(
        f"{found.campaign}: {same} of {formatting.count(found.decisions, 'decision')} {'is' if found.decisions == 1 else 'are'} as stored",
        "yellow" if found.changed else "",
    )
    for one in found.changed:
        where = f"iteration {one.iteration} of stage {one.stage}" if one.stage else "the validation"
        yield Line(f"  {where} is stored as {_words(one.stored)}, and its metrics say {_words(one.now)}: {one.reason}")


def _row(found: Replayed, stage: Stage) -> tuple[str, ...]:
    goes_on = stage.stops_after is None
    after = formatting.NONE if goes_on else str(stage.stops_after)
    saved = (formatting.NONE,) * 2 if goes_on else (str(stage.saved_iterations), _hours(stage.saved_cpu_s))
    largest = [
        max((one.largest for one in stage.distances if one.unit == unit), default=None) for unit in ("um", "urad")
    ]
    return (
        *(found.campaign, str(stage.stage), str(stage.ran), _words(stage.stored)),
        *(after, _words(stage.decision) or "not begun", *saved),
        *map(formatting.size, largest),
    )


def _explained(found: Replayed, stage: Stage) -> Iterator[Block]:
    yield Line()
    yield Line(f"{found.campaign}, stage {stage.stage} ({stage.name})", "bold")
    if stage.stops_after is None:
        yield Line(f"  would have continued after iteration {stage.ran}, which is the last that ran: {stage.reason}")
        if stage.iteration_cpu_s is not None:
            yield Line(f"  each iteration more costs about {_hours(stage.iteration_cpu_s)} CPU h of reconstruction")
    elif not stage.stops_after:
        yield Line(f"  would not have begun: {stage.reason}")
    else:
        yield Line(
            f"  would have ended after iteration {stage.stops_after} of {stage.ran} as {_words(stage.decision)}: {stage.reason}"
        )
    if stage.saved_iterations:
        cost = f"{_hours(stage.saved_cpu_s)} CPU h" if stage.saved_cpu_s is not None else "an unknown CPU time"
        yield Line(f"  saves {formatting.count(stage.saved_iterations, 'iteration')} and {cost} of reconstruction")
    if stage.problem:
        yield Line(f"  {stage.problem}", "yellow")
    if stage.distances:
        if stage.delta_chi2_per_parameter is not None:
            yield Line(
                f"  chi2 is larger by {formatting.value(stage.delta_chi2_per_parameter)} per parameter with the constants of "
                f"iteration {stage.stops_after}, which is a residual shift of {formatting.shift(stage.residual_shift_um)} um"
            )
        yield Line(f"  constants of iteration {stage.ran} minus those of iteration {stage.stops_after}:")
        rows = [
            (d.kind, d.dof, str(d.elements), *map(formatting.size, (d.rms, d.largest)), d.where, d.unit)
            for d in stage.distances
        ]
        yield Grid(("of", "dof", ">elements", ">rms", ">largest", "where", "unit"), rows)
    elif stage.stops_after and stage.saved_iterations and not stage.problem:
        yield Line(f"  the constants of iterations {stage.stops_after} and {stage.ran} are equal")


def _sums(found: Sequence[Replayed]) -> Iterator[Block]:
    """Yield the savings of all campaigns together."""
    stages = [stage for one in found for stage in one.stages]
    earlier = sum(any(stage.saved_iterations for stage in one.stages) for one in found)
    longer = sum(any(stage.stops_after is None for stage in one.stages) for one in found)
    known = [stage.saved_cpu_s for stage in stages]
    cost = None if None in known else sum(value for value in known if value is not None)
    yield Line()
    yield Line(
        f"{earlier:,} of {formatting.count(len(found), 'campaign')} would have ended earlier, which saves "
        f"{formatting.count(sum(stage.saved_iterations for stage in stages), 'iteration')} and "
        f"{_hours(cost) if cost is not None else 'an unknown number of'} CPU h of reconstruction; "
        f"{longer:,} would have continued after the last iteration that ran"
    )
    if len(found) > DETAILED_MAX:
        yield Line(f"--json, or a replay of at most {DETAILED_MAX} campaigns, shows reasons and each degree of freedom")


def _hours(seconds: float | None) -> str:
    hours = None if seconds is None else seconds / HOUR_S
    return formatting.number(hours, ".2g" if hours is not None and 0 < hours < 1 else ",.1f")


def _words(verdict: str) -> str:
    return verdict.replace("_", " ")
