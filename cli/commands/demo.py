"""Define the command ``demo``."""

from typing import Annotated

import typer

Processors = Annotated[int | None, typer.Option(min=1, help="Processors of the pool [default: all of this machine].")]
Pede = Annotated[str | None, typer.Option(metavar="PROGRAM", help="Solve with this pede, not with what is built in.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(demo)


def demo(cpus: Processors = None, pede: Pede = None) -> None:
    """Run a whole campaign of simulated data on this machine.

    A real HTCondor pool aligns a simulated detector and delivers an e-mail.
    The pool is stopped again at the end if it did not run before; the campaign stays, to look around in.

    Example: faser-align demo
    """
    from faser_align.cli.commands import demonstration

    if demonstration.run(cpus, pede) != "converged":
        raise typer.Exit(1)
