"""Define the command ``demo``."""

from typing import Annotated

import typer

Processors = Annotated[int | None, typer.Option(min=1, help="CPUs of the pool [default: all of this machine].")]
Pede = Annotated[
    str | None, typer.Option(metavar="PROGRAM", help="Solve with this pede instead of the built-in solver.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(demo)


def demo(cpus: Processors = None, pede: Pede = None) -> None:
    """Run a whole campaign with simulated data on this machine.

    A real HTCondor pool aligns a simulated detector and delivers an e-mail.
    The command stops the pool at the end unless it was already running. The campaign stays on disk for you to explore.

    Example: faser-align demo
    """
    from faser_align.cli.commands import demonstration

    if demonstration.run(cpus, pede) != "converged":
        raise typer.Exit(1)
