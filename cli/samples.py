"""Sample messages: what a target would be told, sent for real."""

import difflib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from faser_align.fsm.errors import UserError
from faser_align.notifiers.targets import DEFAULT_FILE, Target, load_targets
from faser_align.state import database

ANSWER_S_MAX = 20.0  # as long as a hook would wait

# The numbers of a campaign that went well, so that the sample looks like what will come.
_ROWS = (
    (1, 17_012, 1.31, 9.1, 3.2, 120.1),
    (2, 17_230, 1.04, 1.9, 0.14, 21.4),
    (3, 17_241, 1.003, 0.41, 0.008, 3.2),
)


class Choice(NamedTuple):
    """To whom a sample goes: the targets, their file, and the configuration that named the file (empty: the default)."""

    targets: list[Target]
    file: str
    config: str


def send(targets: Iterable[Target]) -> Iterator[tuple[str, str | None]]:
    """Send a sample message to targets, one after the other.

    Yields:
        The target's name, and None if its server accepted the message, else why not.
    """
    from faser_align.notifiers.message import compose
    from faser_align.notifiers.send import deliver

    utc = database.utc()
    message = compose(facts(utc))
    for one in targets:
        with _alarm():
            problem = deliver(one, message, key=f"test/{utc}", thread="faser-align-test")
        yield one.name, problem


def facts(utc: str) -> dict[str, object]:
    """The facts of the sample: a campaign that converged, called a test."""
    keys = ("iteration", "tracks", "chi2_per_ndf", "effect_um", "significance")
    rows = [
        {
            **dict(zip(keys, row[:-1], strict=True)),
            "stage": 1,
            "files_used": 6,
            "files_expected": 6,
            "largest": {"dof": "module.y", "where": "003", "value": row[-1], "unit": "um"},
        }
        for row in _ROWS
    ]
    return {
        "campaign": "example",
        "event": "test",
        "state": "test",
        "utc": utc,
        "key": f"test/{utc}",
        "thread": "test",
        "reason": "somebody typed `faser-align notify test` to see whether messages arrive",
        "rows": rows,
        "stage": 1,
        "stages": 1,
        "iteration": 3,
        "iterations": 10,
    }


def choose(target: str | None, config: str) -> Choice:
    """Find out who shall be told.

    Args:
        target: its name; None: all that the configuration names, or all of the user's file without a configuration.
        config: path of a configuration; empty: ``faser-align.toml`` if it is here, as for ``check`` and ``submit``.

    Raises:
        UserError: the configuration or the file of targets is not as it must be, or has no such target.
    """
    from faser_align.config import load

    path, names = DEFAULT_FILE, []
    config = config or (load.DEFAULT_FILE if os.path.lexists(load.DEFAULT_FILE) else "")
    if config:
        notify = load.load_config(config).notify
        path, names = notify.file, list(notify.targets)
        if not names and target is None:
            raise UserError(
                f"{config}: notify.targets names nobody; name targets of {path} there, or one to notify test"
            )
    known = load_targets(path)
    if not known:
        raise UserError(f'{os.path.expanduser(path)} has no target; write name = "address" below [targets]')
    wanted = [target] if target is not None else names or list(known)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            advice = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(known)}"
            raise UserError(f"{os.path.expanduser(path)} has no target {name!r}; {advice}")
    return Choice([known[name] for name in wanted], os.path.expanduser(path), config)


@contextmanager
def _alarm() -> Iterator[None]:
    """Bound a delivery: a server that is silent would be waited for without end."""

    def late(signum: int, frame: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_S_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
