"""Define the command ``compare``."""

from typing import TYPE_CHECKING, Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaigns, Json, Plain

if TYPE_CHECKING:
    from faser_align.cli.show.draw import Block
    from faser_align.pages.compare import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(compare)


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
    from faser_align.cli.show import draw, reporting
    from faser_align.fsm.errors import UserError
    from faser_align.pages import compare as comparing
    from faser_align.pages.collect import collect
    from faser_align.state import database, registry

    if len(campaigns) < 2:
        raise UserError("one campaign cannot be compared; name two campaigns or more")
    folders = [registry.find(name) for name in campaigns]
    twice = [name for at, name in enumerate(campaigns) if folders[at] in folders[:at]]
    if twice:
        raise UserError(f"{twice[0]} is named twice; name each campaign once")
    found = [collect(folder) for folder in folders]
    compared = comparing.compare(found)
    if output:
        reporting.write(output, comparing.render(found, written_utc=database.utc()), force=force)
    if as_json:
        console.show_json(_plain(compared))
        return
    draw.show(_blocks(compared), plain=plain)
    if output:
        console.say(f"\n{output} written")


def _plain(compared: "Comparison") -> dict[str, object]:
    return {
        **compared._asdict(),
        "curves": {curve.key: dict(zip(compared.names, curve.values, strict=True)) for curve in compared.curves},
        "differences": [difference._asdict() for difference in compared.differences],
        "shares": [share._asdict() for share in compared.shares],
        "apart": {name: [row._asdict() for row in rows] for name, rows in compared.apart.items()},
        "movers": {name: [change._asdict() for change in rows] for name, rows in compared.movers.items()},
    }


def _blocks(compared: "Comparison") -> "list[Block]":
    from faser_align.cli.show.draw import Grid, Line
    from faser_align.system import formatting

    names = [f">{name}" for name in compared.names]
    blocks: list[Block] = [Grid(("", *names), [(name, *values) for name, values in compared.summary])]
    everybody = "" if len(names) == 2 else f" of all {len(names)}"
    blocks += [Line(), Line(f"files in common{everybody}: {compared.common}")]
    blocks += [Line(f"only in {share.whose}: {share.files}") for share in compared.shares]
    blocks += [Line(f"missing for {sentence}", "yellow") for sentence in compared.missing]
    for curve in compared.curves:
        title = f"{curve.title}, in {curve.unit}" if curve.unit else curve.title
        form = {"chi2_per_ndf": formatting.chi2, "effect_um": formatting.shift}.get(curve.key, formatting.value)
        values = [(at, *map(form, of)) for at, of in zip(curve.places, curve.rows, strict=True)]
        if values:
            blocks += [Line(), Line(f"{title}, by iteration", "bold"), Grid((">iteration", *names), values)]
    if compared.differences:
        blocks += [Line(), Line("differences in configuration", "bold")]
        blocks.append(
            Grid(
                ("key", *compared.names),
                [(d.key, *(value or formatting.NONE for value in d.values)) for d in compared.differences],
            )
        )
    columns = ("of", "dof", ">elements", ">rms", ">largest", "where", ">rms over\nerror", "unit")
    for name, rows in compared.apart.items():
        blocks += [Line(), Line(f"constants of {name} minus those of {compared.names[0]}", "bold")]
        lines = [
            (
                *(
                    r.kind,
                    r.dof,
                    str(r.elements),
                    formatting.shift(r.rms),
                    formatting.plus_minus(r.largest, r.error) + formatting.in_sigma(r.largest, r.error),
                    r.where,
                ),
                formatting.number(r.sigma, ".2g"),
                r.unit,
            )
            for r in rows
        ]
        blocks += [Grid(columns, lines)] if lines else [Line("  no difference")]
    return blocks
