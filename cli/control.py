"""Commands that act on a campaign that was submitted: ``stop``, ``resume``; and ``notify test``."""

from typing import Annotated

import typer

from faser_align.cli import console

Campaign = Annotated[str, typer.Argument(help="Name of a campaign, or its folder.", metavar="CAMPAIGN")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(stop)
    app.command()(resume)
    notify = typer.Typer(no_args_is_help=True, help="Who is told what becomes of a campaign.")
    notify.command("test")(notify_test)
    app.add_typer(notify, name="notify")


def stop(
    campaign: Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a campaign; it can be resumed.

    No node is begun any more, its jobs are removed, and its state becomes removed.

    Example: faser-align stop Y2023_R011705_F400-450
    """
    from faser_align.cli import steering
    from faser_align.state import registry

    steering.stop(registry.find(campaign), yes=yes)


def resume(campaign: Campaign) -> None:
    """Go on with a campaign that failed or was removed.

    It goes on where it stopped; what was done is not done again.

    Example: faser-align resume Y2023_R011705_F400-450
    """
    from faser_align.cli import steering
    from faser_align.state import registry

    steering.resume(registry.find(campaign))


def notify_test(
    target: Annotated[str | None, typer.Argument(help="Name of a target [default: all]", metavar="[TARGET]")] = None,
    config: Annotated[
        str, typer.Option("--config", help="Configuration that names them [default: faser-align.toml, if it is here]")
    ] = "",
) -> None:
    """Send a sample message, and say what servers answered.

    Without a configuration all targets of ~/.config/faser-align/targets.toml are told.

    Example: faser-align notify test me
    """
    from faser_align.cli import samples

    chosen = samples.choose(target, config)
    console.say(f"targets of {chosen.file} ({f'as {chosen.config} says' if chosen.config else 'the default'})")
    refused = 0
    for name, problem in samples.send(chosen.targets):
        refused += problem is not None
        console.say(f"{name}: {'accepted' if problem is None else f'refused: {problem}'}")
    if refused:
        raise typer.Exit(1)
