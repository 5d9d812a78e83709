"""Send sample messages to targets."""

import os
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from faser_align.campaign.message_facts import Facts, Row
from faser_align.campaign.next_steps import Step, held_steps, next_steps
from faser_align.config.near import nearest
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import UserError
from faser_align.notifiers.targets import DEFAULT_FILE, END_EVENTS, EVENTS, Target, load_targets
from faser_align.state import database
from faser_align.system.bounded import Worker

if TYPE_CHECKING:
    from faser_align.notifiers.services import Answer

ANSWER_S_MAX = 20.0  # as in a script

# Reasons and facts of the events, and metrics of the iterations.
_SAMPLES = tomllib.loads(Path(__file__).with_name("samples.toml").read_text(encoding="utf-8"))
_UNSOLVED = ("test", "iteration", "held", "lost", "failed", "removed")  # in the third iteration, before it is solved
_NUMBERS = ("iteration", "tracks", "chi2_per_ndf", "effect_um", "significance")  # of an iteration
_RELEASE = held_steps("", ["6712.0"], "6700.0", 4000)


class Choice(NamedTuple):
    """Recipients and templates of a sample.

    ``file`` contains the targets, ``config`` is the configuration that named it (empty: the default), ``templates`` the
    user's folder (empty: none).
    """

    targets: list[Target]
    file: str
    config: str
    templates: str


def events_of(word: str) -> list[str]:
    """Return the events for a word: itself, all of them, or every end. Raise UserError if it is unknown."""
    if word not in {*EVENTS, "all"}:
        near = nearest(word, EVENTS)
        advice = f"did you mean {near}?" if near else f"must be all, {', '.join(sorted(EVENTS))}"
        raise UserError(f"--event {word}: no such event; {advice}")
    if word == "all":
        return sorted(EVENTS - {"end", "test"})
    return sorted(END_EVENTS) if word == "end" else [word]


def send(choice: Choice, events: Iterable[str]) -> "Iterator[tuple[str, str, Answer]]":
    """Send sample messages about events to targets one after the other; yield target, event and answer of each."""
    from faser_align.notifiers.send import ask

    utc = database.utc()
    with Worker() as worker:
        for event in events:
            message = sample(event, utc, choice.templates)
            about = {"key": f"test/{event}/{utc}", "thread": "faser-align-test"}
            for target in choice.targets:
                yield target.name, event, ask(worker, target, message, **about, wait_s=ANSWER_S_MAX)


def sample(event: str, utc: str, templates: str) -> Any:
    """Return the message about an event of an invented campaign; raise UserError if the user's template cannot be used."""
    from faser_align.notifiers.message import compose

    message = compose(facts(utc, event), templates)
    if message.problems:
        raise UserError(message.problems[0])
    return message


def facts(utc: str, event: str = "test") -> Facts:
    """Return the payload of a sample event."""
    usual = _SAMPLES["rows"]["usual"]
    solved_before = _SAMPLES["rows"].get(event, usual[:2] if event in _UNSOLVED else usual)
    rows: list[Row] = [
        _SAMPLES["row"]
        | dict(zip(_NUMBERS, numbers, strict=True))
        | {"largest": _SAMPLES["largest"] | {"value": largest}}
        for *numbers, largest in solved_before
    ]
    solved, known = len(rows), _SAMPLES["facts"]
    constants = f"{known['all']['folder']}/iter{solved:02d}/3millepede/inputforalign.txt"
    latest = None if event == "reconstructed" else constants
    steps = next_steps(event, command="faser-align", name="example", constants=latest, start="start.txt")
    found: Any = {
        **known["all"],
        "event": event,
        "state": event,
        "utc": utc,
        "key": f"test/{event}/{utc}",
        "reason": _SAMPLES["reasons"].get(event, ""),
        "steps": [*(_RELEASE if event == "held" else steps), Step("a sample: no campaign has this name", "")],
    }
    if event not in ("submitted", "reconstructed"):
        found |= {
            **known["solved"],
            "rows": rows,
            "iteration": solved + (event in ("held", "stuck", "lost", "failed", "removed")),
            "quality": None if event in ("held", "lost", "stuck") else _SAMPLES["quality"],
            "wall_s": 3_840.0 * solved,
            "cpu_s": 21_600.0 * solved,
            "constants": constants,
        }
    facts: Facts = found | known.get(event, {}) | _nodes(event)
    return facts


def _nodes(event: str) -> dict[str, Any]:
    """Return a sample's node, in words of real failures."""
    node = "reco_s1_i03_00417"
    log = ["reading the raw file", "Traceback (most recent call last):", "RuntimeError: no geometry"]
    if event == "failed":
        name, _, cure = exit_codes.JOB_FAILURES[exit_codes.CRASHED]
        return {"failed": [{"node": node, "why": f"{name}: {log[-1]}", "cure": cure, "log": log}]}
    if event == "held":
        return {"held": [{"node": node, "job": "6712.0", "reason": _SAMPLES["reasons"]["held"].partition(": ")[2]}]}
    if event == "lost":
        cure = "put the raw file in place; a new campaign uses it again"
        why = exit_codes.JOB_FAILURES[exit_codes.RAW_MISSING][0]
        return {"files_lost": [{"file": 417, "node": node, "why": why, "cure": cure}]}
    return {}


def choose(target: str | None, config: str, templates: str = "") -> Choice:
    """Choose the recipients.

    Args:
        target: its name; None: all that the configuration names, or all of the user's file without a configuration.
        config: path of a configuration; empty: ``faser-align.toml`` if it is here, as for ``check`` and ``submit``.
        templates: folder with templates; empty: that of the configuration.

    Raises UserError if the configuration or the file of targets is malformed, or has no such target.
    """
    from faser_align.config import load

    path, names = DEFAULT_FILE, []
    config = config or (load.DEFAULT_FILE if os.path.lexists(load.DEFAULT_FILE) else "")
    if config:
        notify = load.load_config(config).notify
        path, names = notify.file, list(notify.targets)
        templates = templates or notify.templates
        if not names and target is None:
            raise UserError(
                f"{config}: notify.targets is empty; add targets of {path}, or name a target in the command"
            )
    known = load_targets(path)
    if not known:
        raise UserError(f'{os.path.expanduser(path)} has no target; write name = "address" below [targets]')
    wanted = [target] if target is not None else names or list(known)
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            advice = f"the nearest is {near!r}" if near else f"its targets are {', '.join(known)}"
            raise UserError(f"{os.path.expanduser(path)} has no target {name!r}; {advice}")
    return Choice([known[name] for name in wanted], os.path.expanduser(path), config, templates)
