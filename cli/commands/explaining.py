"""Define the commands ``why`` and ``analyze``."""

from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json, Plain


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(why)
    app.command()(analyze)


def why(
    campaign: Campaign,
    iteration: Annotated[
        int,
        typer.Option(
            "--iteration", "-i", min=0, help="Iteration [default: the latest with a decision].", show_default=False
        ),
    ] = 0,
    stage: Annotated[
        int, typer.Option(min=0, help="Stage [default: that of the latest decision].", show_default=False)
    ] = 0,
    validation: Annotated[
        bool, typer.Option("--validation", help="Explain the validation pass instead of an iteration.")
    ] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Explain the decision on an iteration.

    Shows every criterion with its value and its limit: the convergence rules, the conditions that an iteration must meet to
    count, and the criteria that end the stage without convergence.

    Example: faser-align why Y2023_R011705_F400-450 --iteration 3
    """
    from faser_align.cli.show import draw, explain
    from faser_align.fsm.errors import UserError
    from faser_align.operations import snapshot
    from faser_align.state import registry

    seen = snapshot.take(registry.find(campaign))
    if validation:
        row = seen["validation"]
        if not row.get("verdict"):
            raise UserError(f"{seen['name']} has no validation result; its state is {seen['state']}")
    else:
        row = explain.verdict_of(seen, stage, iteration)
    if as_json:
        keys = ("stage", "iteration", "verdict", "reason", "criteria")
        console.show_json({"campaign": seen["name"], **{key: row[key] for key in keys}})
    else:
        draw.show(explain.why(seen, row), plain=plain)


def analyze(campaign: Campaign, plain: Plain = False, as_json: Json = False) -> None:
    """Show the failures of a campaign, by kind.

    Counts every failed attempt and every hold, and shows the nodes, the machines, the messages and the fix.

    Example: faser-align analyze Y2023_R011705_F400-450
    """
    from faser_align.cli.show import draw, explain
    from faser_align.operations import failures, snapshot
    from faser_align.state import registry

    folder = registry.find(campaign)
    seen = snapshot.take(folder)
    kinds = failures.kinds(failures.attempts(folder, {held["job_id"] for held in seen["held"]}))
    if as_json:
        console.show_json(
            {
                "campaign": seen["name"],
                "state": seen["state"],
                "reason": seen["reason"],
                "failures": [{"name": kind.name, "cure": kind.cure, "attempts": kind.attempts} for kind in kinds],
                "release": seen["release"],
            }
        )
        return
    draw.show(explain.analysis(seen, kinds, failures.logs(folder, kinds)), plain=plain)
