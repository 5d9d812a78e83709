"""Show the status screen of a campaign, and redraw it whenever its snapshot changes."""

import itertools
import os
import sys
import time
from collections.abc import Callable
from datetime import tzinfo

from faser_align.campaign.next_steps import Step
from faser_align.cli.show import draw, screens
from faser_align.operations import snapshot
from faser_align.operations.snapshot_types import Snapshot
from faser_align.operations.waiting import SILENCE_S, ended
from faser_align.state import queries

# Iterations and incidents of a kind that are shown, depending on the room on the terminal.
LATEST = ((screens.ITERATIONS_MAX, 6), (10, 6), (10, 2), (5, 2), (5, 1), (5, 0), (3, 0), (1, 0))
_STEPS = (Step("Ctrl-C ends this display; the campaign continues", ""),)


def watch_live(
    folder: str,
    *,
    program: str,
    trouble: str = "",
    ask: Callable[[], str] = str,
    interval_s: float = 1.0,
    where: tzinfo | None = None,
) -> None:
    """Show the status screen live until the campaign has ended.

    Nothing remains on the terminal, neither at the end nor after Ctrl-C. ``trouble`` is the schedd's first answer about
    the campaign; ``ask`` asks again every ``SILENCE_S``.
    """
    from rich.console import Console
    from rich.live import Live

    end: str | None = None
    stamp: object = None
    seen, asked = snapshot.take(folder), time.monotonic()
    console = Console(highlight=False, markup=False, emoji=False)
    # Transient: the live display cuts a high screen; the caller shows the last screen completely.
    with Live(console=console, auto_refresh=False, transient=True) as display:
        while not end:
            now = snapshot.stamp(folder)
            if now != stamp and now[0]:
                stamp = now
                seen = snapshot.take(folder)
                end = ended(folder)
            elif now[0]:
                seen["published_age_s"] = queries.age_s(folder)
            if time.monotonic() - asked >= SILENCE_S:
                trouble, asked = ask(), time.monotonic()
            display.update(draw.live(_fitting(seen, program, trouble, where)), refresh=True)
            if not end:
                time.sleep(interval_s)


def _fitting(seen: Snapshot, program: str, trouble: str, where: tzinfo | None) -> list[draw.Block]:
    """Return the status with as many incidents and iterations as fit beside constants and next command."""
    for (latest, items), blank in itertools.product(LATEST, (True, False)):
        blocks = screens.status(
            seen, program=program, trouble=trouble, where=where, latest=latest, items=items, cure=_STEPS
        )
        blocks = [block for block in blocks if blank or block != draw.Line()]
        if draw.height(blocks) < draw.lines():
            return blocks
    last = screens.onwards(seen, program, cure=_STEPS)
    return draw.cut(blocks[: -len(last)], last, draw.lines() - 1)


def has_terminal() -> bool:
    """Return whether standard output is a terminal on which lines can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
