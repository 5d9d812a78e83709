"""Define the command ``replay``."""

from typing import TYPE_CHECKING, Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Json, Plain, campaign_names

if TYPE_CHECKING:
    from faser_align.operations.replay import Replayed


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(replay)


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
    The criteria of [convergence] can be set, and stages.2.convergence.patience and similar keys, which are those of stage 2 only. Other
    cuts, steps, files and numbers of iterations cannot be replayed, because their iterations never ran.
    Without --set, each decision is compared with the stored one; exit status 1 if one differs.

    Example: faser-align replay Y2023_R011705_F400-450 --set convergence.patience=3
    """
    from faser_align.cli.show import draw, replayed
    from faser_align.operations import replay as replaying

    found = replaying.replay(campaigns, rules or [])
    if as_json:
        console.show_json({"set": rules or [], "campaigns": [_plain(one) for one in found]})
    else:
        draw.show(replayed.blocks(found, rules or []), plain=plain)
    for one in found:
        if one.problem:
            console.warn(f"{one.campaign} cannot be judged again: {one.problem}")
    if any(one.problem or (one.changed and not rules) for one in found):
        raise typer.Exit(1)


def _plain(found: "Replayed") -> dict[str, object]:
    stages = [
        {**stage._asdict(), "distances": [distance._asdict() for distance in stage.distances]} for stage in found.stages
    ]
    return {**found._asdict(), "changed": [change._asdict() for change in found.changed], "stages": stages}
