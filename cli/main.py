"""The command ``faser-align``: the commands of all groups, and the one place where errors become exit statuses.

A command's module is imported at the start, what it works with only when it runs.
"""

import os
import sys

import typer

import faser_align
from faser_align.cli import console, control, demo, engine, pool, reading, setup, upkeep
from faser_align.fsm.errors import CampaignError

INTERRUPTED = 130  # 128 + SIGINT, as shells do

app = typer.Typer(
    name="faser-align",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Iterative detector alignment on HTCondor: submit once, be told when the constants stand still.",
    epilog="Exit status: 0 done, 1 the thing failed, 2 the user's mistake; `wait` has one for each end state.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"faser-align {faser_align.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and leave."
    ),
) -> None:
    """Options before the command."""


for group in (setup, reading, control, upkeep, engine, pool, demo):
    group.register(app)


def main() -> None:
    """Run the command line; a mistake becomes one sentence on standard error, never a traceback."""
    try:
        app()
    except CampaignError as problem:
        # Sentences that are made deeper inside name the program by its own name.
        typer.echo(f"error: {problem}".replace("`faser-align ", f"`{console.program()} "), err=True)
        sys.exit(problem.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has left; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
