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
    iteration: Annotated[int, typer.Option("--iteration", "-i", min=0, help="0: the latest that was judged.")] = 0,
    stage: Annotated[int, typer.Option(min=0, help="0: the stage of the latest.")] = 0,
    validation: Annotated[bool, typer.Option("--validation", help="The validation instead of an iteration.")] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Spell out why an iteration was judged as it was.

    Every criterion is there with its number and its limit: the rules of convergence, what forbids an iteration to count,
    and what may end the stage otherwise.

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
            raise UserError(f"{seen['name']} has not been validated; it is {seen['state']}")
    else:
        row = explain.verdict_of(seen, stage, iteration)
    if as_json:
        keys = ("stage", "iteration", "verdict", "reason", "criteria")
        console.show_json({"campaign": seen["name"], **{key: row[key] for key in keys}})
    else:
        draw.show(explain.why(seen, row), plain=plain)


def analyze(campaign: Campaign, plain: Plain = False, as_json: Json = False) -> None:
    """Show what went wrong in a campaign, by kind of failure.

    It counts every failed attempt and every hold: how often, on which nodes and hosts, with which reasons, and what helps.

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
