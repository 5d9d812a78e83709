"""Define arguments and options shared by many commands."""

import os
from collections.abc import Callable
from typing import Annotated

import typer

from faser_align.fsm.errors import CampaignError
from faser_align.state import registry


def campaign_names(incomplete: str) -> list[str]:
    """Return campaign names for the shell's completion; any error gives none."""
    try:
        names = [entry.name for entry in registry.entries() if entry.name.startswith(incomplete)]
    except (OSError, CampaignError):
        return []
    # Other shells quote what they insert.
    in_bash = os.environ.get("_FASER_ALIGN_COMPLETE", "").endswith("_bash")
    return [name.replace(" ", "\\ ") for name in names] if in_bash else names


def one_of(*known: str) -> Callable[[str], list[str]]:
    """Return the shell completion for one of these words."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


Campaign = Annotated[
    str, typer.Argument(help="Name of a campaign, or its folder.", metavar="CAMPAIGN", autocompletion=campaign_names)
]
Campaigns = Annotated[
    list[str],
    typer.Argument(help="Names of campaigns, or their folders.", metavar="A B [C...]", autocompletion=campaign_names),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
Utc = Annotated[bool, typer.Option("--utc", help="Show times in UTC instead of this machine's time zone.")]
Plain = Annotated[
    bool,
    typer.Option(
        "--plain", help="Show one value per line instead of tables; FASER_ALIGN_PLAIN=1 makes this the default."
    ),
]
Reference = Annotated[
    str, typer.Option("--reference", help="Constants to draw the difference to, for example those in use.")
]
