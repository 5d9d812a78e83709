"""The status screen of a campaign, drawn again whenever its snapshot changes."""

import os
import sys
import time
from collections.abc import Callable
from datetime import tzinfo

from faser_align.cli.show import draw, screens
from faser_align.operations import snapshot
from faser_align.operations.waiting import SILENCE_S, ended
from faser_align.state import queries

LATEST = (10, 5, 3, 1)  # iterations that are shown where the terminal has no room for more


def watch_live(
    folder: str,
    *,
    program: str,
    trouble: str = "",
    ask: Callable[[], str] = str,
    ask_every_s: float = SILENCE_S,
    interval_s: float = 1.0,
    where: tzinfo | None = None,
) -> str:
    """Show the status screen live on the terminal until the campaign has ended; returns the end state.

    Nothing of it stays on the terminal, neither at the end nor after Ctrl-C. ``trouble`` is what the schedd was heard to say of
    the campaign; ``ask`` asks it again, every ``ask_every_s``.
    """
    from rich.console import Console
    from rich.live import Live

    end: str | None = None
    stamp: object = None
    seen, asked = snapshot.take(folder), time.monotonic()
    console = Console(highlight=False, markup=False, emoji=False)
    # Transient: the live display cuts what is higher than the terminal; whoever called shows the last screen whole.
    with Live(console=console, auto_refresh=False, transient=True) as display:
        while not end:
            now = snapshot.stamp(folder)
            if now != stamp and now[0]:
                stamp = now
                seen = snapshot.take(folder)
                end = ended(folder)
            elif now[0]:
                seen["published_age_s"] = queries.age_s(folder)
            if time.monotonic() - asked >= ask_every_s:
                trouble, asked = ask(), time.monotonic()
            display.update(draw.live(_fitting(seen, program, trouble, where)), refresh=True)
            if not end:
                time.sleep(interval_s)
    return end


def _fitting(seen: snapshot.Snapshot, program: str, trouble: str, where: tzinfo | None) -> list[draw.Block]:
    """The status with as many iterations as the terminal has room for: what is unusual, and what comes next, stay in sight."""
    for latest in (screens.ITERATIONS_MAX, *LATEST):
        blocks = screens.status(seen, program=program, trouble=trouble, where=where, latest=latest)
        if draw.height(blocks) < draw.lines():
            break
    return blocks


def has_terminal() -> bool:
    """Whether standard output is a terminal on which lines can be drawn again."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
