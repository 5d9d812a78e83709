"""Define the commands that write a campaign for other programs: ``plots`` and ``export``."""

import os
from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json, Reference, one_of
from faser_align.reference.exports import EXPORT_FORMATS, EXPORTED
from faser_align.state import registry
from faser_align.system import formatting


def plots(
    campaign: Campaign,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder for the files [default: NAME_plots in this folder].")
    ] = "",
    stage: Annotated[int | None, typer.Option(min=1, help="Stage [default: the last solved one].")] = None,
    iteration: Annotated[
        int | None,
        typer.Option(
            "--iteration", min=1, help="Iteration to draw beside the first of its stage [default: the last one]."
        ),
    ] = None,
    forms: Annotated[
        str,
        typer.Option(
            "--format",
            help="File formats, separated by commas.",
            autocompletion=one_of("svg", "png", "pdf", "csv"),
        ),
    ] = "svg,png,pdf,csv",
    only: Annotated[
        list[str], typer.Option("--only", help="Name of a figure to write; may be repeated [default: all].")
    ] = [],  # noqa: B006
    label: Annotated[
        str, typer.Option(help="Label above the figures; its first word is bold [default: report.label].")
    ] = "",
    reference: Reference = "",
    as_json: Json = False,
) -> None:
    """Draw the figures of a campaign as SVG, PNG, PDF and CSV.

    The figures are those of the report: the detector, corrections and constants with errors, residuals, validation, hits.
    They show the first iteration of a stage in grey and the last one in colour. Files of the same names are replaced.

    Example: faser-align plots Y2023_R011705_F400-450 -o plots
    """
    from faser_align.campaign.manifest import read_record
    from faser_align.operations import outputs, plotting

    outputs.refuse_standard_output(output)
    folder = registry.find(campaign)
    place = output or f"{read_record(folder)['name']}_plots"
    suffixes = tuple(form.strip() for form in forms.split(",") if form.strip())
    figures, shown = plotting.write(
        folder,
        place,
        stage=stage or 0,
        iteration=iteration or 0,
        forms=suffixes,
        only=tuple(only),
        label=label,
        reference=reference,
    )
    where = os.path.abspath(place)
    if as_json:
        files = {plot.name: [os.path.join(where, f"{plot.name}.{form}") for form in suffixes] for plot in figures}
        console.show_json({"iteration": shown, "files": files})
        return
    for plot in figures:
        console.say(f"{plot.name:16} {plot.title}")
    if figures:
        console.say(f"{formatting.count(len(figures), 'figure')} of {shown} as {', '.join(suffixes)} in {where}")
    else:
        console.warn(f"{shown} has no figures: its solution and metrics lack the numbers")


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
    from faser_align.operations import exporting, outputs

    if output == outputs.STANDARD_OUTPUT:
        output = ""
    exporting.check(form, table, output)
    texts = exporting.texts(registry.find(campaign), form, table)
    if output:
        for path in exporting.write(texts, form, output, force=force):
            console.say(f"{path} written")
    else:
        for text in texts.values():
            typer.echo(text, nl=False)
