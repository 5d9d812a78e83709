"""Define the commands that judge a campaign: ``why``, ``analyze``, ``compare`` and ``replay``."""

from typing import TYPE_CHECKING, Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Campaigns, Json, Plain, campaign_names
from faser_align.cli.show import draw
from faser_align.cli.show.draw import Block, Grid, Line
from faser_align.fsm import renamed
from faser_align.fsm.errors import UserError
from faser_align.state import registry
from faser_align.system import formatting

if TYPE_CHECKING:
    from faser_align.pages.compare import Comparison


def why(
    campaign: Campaign,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", "-i", min=1, help="Iteration [default: the latest with a decision]."),
    ] = None,
    stage: Annotated[int | None, typer.Option(min=1, help="Stage [default: that of the latest decision].")] = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="Explain the validation instead of an iteration.")
    ] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Explain the decision on an iteration.

    Shows every criterion with its value and its limit: the convergence rules, the conditions that an iteration must meet to
    count, and the criteria that end the stage without convergence. Of a rejected campaign, shows the validation first.

    Example: faser-align why Y2023_R011705_F400-450 --iteration 3
    """
    from faser_align.cli.show import explain
    from faser_align.operations import snapshot

    if validation and (stage or iteration):
        raise UserError("--validation explains no iteration; give it without --iteration and --stage")
    seen = snapshot.take(registry.find(campaign))
    if validation:
        row = seen["validation"]
        if not row.get("verdict"):
            raise UserError(f"{seen['name']} has no validation result; its state is {seen['state']}")
    else:
        row = explain.verdict_of(seen, stage or 0, iteration or 0)
    if as_json:
        keys = ("stage", "iteration", "verdict", "reason", "criteria")
        console.show_json({"campaign": seen["name"], **{key: row[key] for key in keys}})
        return
    latest = not (validation or stage or iteration)
    draw.show(explain.latest(seen) if latest else explain.why(seen, row), plain=plain)


def analyze(campaign: Campaign, plain: Plain = False, as_json: Json = False) -> None:
    """Show the failures of a campaign, by kind.

    Counts every failed attempt and every hold, and shows the nodes, the machines, the messages and the fix.

    Example: faser-align analyze Y2023_R011705_F400-450
    """
    from faser_align.cli.show import explain
    from faser_align.operations import failures, snapshot

    folder = registry.find(campaign)
    seen = snapshot.take(folder)
    kinds = failures.kinds(failures.attempts(folder, {held["job_id"] for held in seen["held"]}))
    if as_json:
        about = {"campaign": seen["name"], "state": seen["state"], "reason": seen["reason"]}
        failed = [{"name": kind.name, "cure": kind.cure, "attempts": kind.attempts} for kind in kinds]
        console.show_json({**about, "failures": failed, "release": seen["release"]})
    else:
        draw.show(explain.analysis(seen, kinds, failures.logs(folder, kinds)), plain=plain)


def compare(
    campaigns: Campaigns,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Also write an HTML page with plots to this file.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Compare campaigns with the first of them.

    Shows the differences in configuration, the files in common, the convergence of each, and the differences of the constants
    per degree of freedom, also relative to their errors. A campaign imported from faser-alignment-script can be one of them.

    Example: faser-align compare Y2023_R011705_F400-450 Y2023_R011705_F451-500 -o both.html
    """
    from faser_align.operations import outputs
    from faser_align.pages import compare as comparing
    from faser_align.pages.collect import collect
    from faser_align.state import database

    if len(campaigns) < 2:
        raise UserError("one campaign cannot be compared; name two campaigns or more")
    found = [collect(folder) for folder in registry.find_all(campaigns)]
    compared = comparing.compare(found)
    if output:
        outputs.write(output, comparing.render(found, written_utc=database.utc()), force=force)
    if as_json:
        curves = {curve.key: dict(zip(compared.names, curve.values, strict=True)) for curve in compared.curves}
        console.show_json(compared._asdict() | {"curves": renamed.metrics(curves)})
        return
    draw.show(_blocks(compared), plain=plain)
    if output:
        console.say(f"\n{output} written")


def _blocks(compared: "Comparison") -> list[Block]:
    names = [f">{name}" for name in compared.names]
    blocks: list[Block] = [Grid(("", *names), [(name, *values) for name, values in compared.summary])]
    everybody = "" if len(names) == 2 else f" of all {len(names)}"
    blocks += [Line(), Line(f"files in common{everybody}: {compared.common}")]
    blocks += [Line(f"only in {share.whose}: {share.files}") for share in compared.shares]
    blocks += [Line(f"missing for {sentence}", "yellow") for sentence in compared.missing]
    for curve in compared.curves:
        title = f"{curve.title}, in {curve.unit}" if curve.unit else curve.title
        form = {"chi2_per_ndf": formatting.chi2, "effect_um": formatting.shift}.get(curve.key, formatting.value)
        values = [(at, *map(form, of)) for at, *of in zip(curve.places, *curve.aligned, strict=True)]
        if values:
            blocks += [Line(), Line(f"{title}, by iteration", "bold"), Grid((">iteration", *names), values)]
    if compared.differences:
        blocks += [Line(), Line("differences in configuration", "bold")]
        values = [(d.key, *(value or formatting.NONE for value in d.values)) for d in compared.differences]
        blocks.append(Grid(("key", *compared.names), values))
    columns = ("of", "dof", ">elements", ">rms", ">largest", "where", ">rms over\nerror", "unit")
    for name, rows in compared.apart.items():
        blocks += [Line(), Line(f"constants of {name} minus those of {compared.names[0]}", "bold")]
        lines = [
            (
                *(r.kind, r.dof, str(r.elements), formatting.shift(r.rms)),
                formatting.plus_minus(r.largest, r.error) + formatting.in_sigma(r.largest, r.error),
                *(r.where, formatting.number(r.sigma, ".2g"), r.unit),
            )
            for r in rows
        ]
        blocks += [Grid(columns, lines)] if lines else [Line("  no difference")]
    return blocks


def replay(
    campaigns: Annotated[
        list[str],
        typer.Argument(
            help="Names of campaigns, or their folders.", metavar="CAMPAIGN...", autocompletion=campaign_names
        ),
    ],
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another value of a key of [convergence], as in the configuration; repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Judge stored campaigns again with other rules.

    Shows after which iteration each stage would have ended, how many iterations and CPU hours of reconstruction that would have
    saved, and how far the constants then were from the last ones. Nothing of the campaigns is changed.
    --set takes the criteria of [convergence], or those of one stage, such as stages.2.convergence.patience. Other
    cuts, steps, files and numbers of iterations cannot be replayed, because their iterations never ran.
    Without --set, each decision is compared with the stored one; exit status 1 if one differs.

    Example: faser-align replay Y2023_R011705_F400-450 --set convergence.patience=3
    """
    from faser_align.cli.show import replayed
    from faser_align.operations import replay as replaying

    found = replaying.replay(campaigns, rules or [])
    if as_json:
        console.show_json({"set": rules or [], "campaigns": found})
    else:
        draw.show(replayed.blocks(found, rules or []), plain=plain)
    console.warn(*(f"{one.campaign} cannot be judged again: {one.problem}" for one in found if one.problem))
    if any(one.problem or (one.changed and not rules) for one in found):
        raise typer.Exit(1)
