"""Define the command ``export`` for a campaign's data."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, one_of
from faser_align.reference.exports import EXPORT_FORMATS, EXPORTED


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(export)


def export(
    campaign: Campaign,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"{' or '.join(EXPORT_FORMATS)}.",
            metavar="FORMAT",
            autocompletion=one_of(*EXPORT_FORMATS),
        ),
    ] = "json",
    table: Annotated[
        str, typer.Option("--table", help=f"Write only one of {', '.join(EXPORTED)}.", autocompletion=one_of(*EXPORTED))
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", help="File to write; for several tables as CSV a folder.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Write history, iterations and nodes for other programs.

    Writes JSON or CSV that pandas can read, from the snapshot `published.db`, itself an SQLite file. docs/schema.md explains
    the columns, and how to write Parquet.

    Example: faser-align export Y2023_R011705_F400-450 --format csv -o exported
    """
    from faser_align.operations import exporting
    from faser_align.state import registry

    exporting.check(form, table, output)
    texts = exporting.texts(registry.find(campaign), form, table)
    if output:
        for path in exporting.write(texts, form, output, force=force):
            console.say(f"wrote {path}")
    else:
        for text in texts.values():
            typer.echo(text, nl=False)
