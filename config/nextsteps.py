"""What to type next, by a campaign's state or by the kind of a message about it: the one table of it.

Messages, ``status`` and the README say the same. Standard library only, because hooks load this.
"""

import shlex

from faser_align.fsm import table

_WATCH, _STATUS = "{command} watch {name}", "{command} status {name}"
_RESUME = "{command} resume {name}"
_METRICS = "{command} metrics {name}"

# {command} is how the user calls the program, {name} the campaign, {constants} the file of its latest constants,
# {start} that of the constants which it started from.
NEXT = {
    **dict.fromkeys(table.UNFINISHED, _WATCH),
    "held": _STATUS,
    "lost": _STATUS,
    "stuck": _STATUS,  # which has the command that helps
    "iteration": _STATUS,
    "converged": "{command} report {name}   (then take them: {command} constants export {name} -o FILE)",
    # Who reads the report of a campaign that converged has nothing left to do but this.
    "reported": "{command} constants export {name} -o FILE",
    "exhausted": _METRICS + "   (five iterations more: {command} extend {name} -i 5)",
    # A history without a DAG of ours.
    "imported": _METRICS + "   (to go on from here: {command} submit --constants {constants} ...)",
    "reconstructed": "{command} solve {name}",
    # A `reco` that its user has solved.
    "solved": "{command} constants export {name} -o FILE   (`reco` with the next number begins from these constants)",
    "diverged": _METRICS + "   (then submit anew with another choice of what is free)",
    "stalled": _METRICS + "   (then submit anew with another choice of what is free)",
    "starved": _METRICS + "   (then submit anew with more files, fewer free parameters or wider cuts)",
    "rejected": "{command} report {name}   (keep the constants that it started from: {start})",
    "failed": _RESUME + "   (once the cause is removed)",
    "removed": _RESUME,
}


def next_step(state: str, *, command: str, name: str, constants: str | None, start: str) -> str:
    """The command that comes next, and in parentheses what is behind it.

    Args:
        state: a campaign's state, or a message's kind.
        command: how the user calls the program.
        name: the campaign's.
        constants: its latest constants, None where it has found none.
        start: the constants that it started from.
    """
    return NEXT.get(state, _STATUS).format(
        command=command,
        name=shlex.quote(name),
        constants=shlex.quote(constants or start),
        start=shlex.quote(start),
    )
