"""Choose the next command by a campaign's state or by the kind of a message.

Messages, pages, ``status`` and the README use this table. Standard library only, because scripts import this module.
"""

import shlex
from typing import NamedTuple

from faser_align.fsm import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Step(NamedTuple):
    """A sentence and the command that it introduces, ready to paste; one of the two may be empty."""

    words: str
    command: str


_FIRST = "next"
_WATCH, _STATUS = Step(_FIRST, "{command} watch {name}"), Step(_FIRST, "{command} status {name}")
_RESUME = Step(_FIRST, "{command} resume {name}")
_METRICS = Step(_FIRST, "{command} metrics {name}")
_REPORT = Step(_FIRST, "{command} report {name}")
_KEEP = Step("keep the initial constants: {start}", "")
_EXPORT = "{command} constants export {name} -o {name}.txt"
_CHOOSE = Step("then submit a new campaign with other free parameters", "")

# {command} is how the user calls the program, {name} the campaign, {constants} the file of its latest constants,
# {start} the file of the constants it started from.
NEXT: dict[str, tuple[Step, ...]] = {
    **dict.fromkeys(table.UNFINISHED, (_WATCH,)),
    "held": (_STATUS,),
    "lost": (_STATUS,),
    "stuck": (_STATUS,),  # its output names the command that helps
    "iteration": (_STATUS,),
    "converged": (_REPORT, Step("then, if you accept every line that is not good, export the constants", _EXPORT)),
    # What the report of a campaign in such a state leaves to do.
    "converged reported": (Step(_FIRST, _EXPORT),),
    "rejected reported": (Step(_FIRST, "{command} why {name}"), _KEEP),
    "exhausted": (
        _METRICS,
        Step("for five more iterations, unless the reason says to start again", "{command} extend {name} -i 5"),
    ),
    # An imported history without a DAG.
    "imported": (_METRICS, Step("to continue from its constants: submit --constants {constants}", "")),
    "reconstructed": (Step(_FIRST, "{command} solve {name}"),),
    # A `reco` campaign that its user has solved.
    "solved": (Step(_FIRST, _EXPORT), Step("reco with the next number starts from these constants", "")),
    "diverged": (_METRICS, _CHOOSE),
    "stalled": (_METRICS, Step("then submit a new campaign with other files or other free parameters", "")),
    "starved": (
        _METRICS,
        Step("then submit a new campaign with more files, fewer free parameters or wider cuts", ""),
        Step("or, if the constants drifted along weak modes, one with freeze_sigma = 2", ""),
    ),
    "rejected": (_REPORT, _KEEP),
    "failed": (Step("next, after removing the cause", _RESUME.command),),
    "removed": (_RESUME,),
}


def next_steps(
    state: str,
    *,
    command: str,
    name: str,
    constants: str | None,
    start: str,
    imported: bool = False,
    copy: str = "",
    reported: bool = False,
) -> list[Step]:
    """Return the next command in a state, or for a message's kind, and commands that may follow it.

    Args:
        state: the state, or the message's kind.
        command, name, constants, start: the fields of ``NEXT``; ``constants`` is None before the first result.
        imported: whether the campaign was imported, and so has no DAG to resume.
        copy: the campaign's folder if it is a copy or was moved aside: its name may be that of another campaign.
        reported: whether its user has the report.
    """
    if imported or copy:
        state = "imported"
    elif state == "reconstructed" and constants:
        state = "solved"
    elif reported and f"{state} reported" in NEXT:
        state = f"{state} reported"
    name = copy or name
    known = {
        "command": command,
        "name": shlex.quote(name),
        "constants": shlex.quote(constants or start),
        "start": shlex.quote(start),
    }
    return [Step(*(part.format(**known) for part in step)) for step in NEXT.get(state, (_STATUS,))]


def spoken(steps: "Iterable[Step]") -> str:
    """Return steps as one sentence: the first command, then the others in parentheses."""
    first, *others = steps
    more = "; ".join(f"{step.words}: {step.command}" if step.command else step.words for step in others)
    return f"{first.command} ({more})" if more else first.command


def held_steps(to_pool: str, jobs: list[str], dag_id: str, more_memory_mb: int) -> list[Step]:
    """Return the commands that let held jobs continue.

    ``to_pool`` is the prefix that directs HTCondor's commands to the campaign's pool, ``dag_id`` the jobs' DAGMan, and
    ``more_memory_mb`` the memory to request if they exceeded theirs, else 0.
    """
    many = len(jobs) > 1
    dagman = dag_id.partition(".")[0]
    chosen = f"-constraint 'DAGManJobId == {dagman} && JobStatus == 5'" if many else jobs[0]
    them, it = ("all held jobs", "them") if many else ("the job", "it")
    memory = Step(
        f"give {them} {more_memory_mb:,} MB of memory", f"{to_pool}condor_qedit {chosen} RequestMemory {more_memory_mb}"
    )
    release = Step(f"remove the cause, then release {them}", f"{to_pool}condor_release {chosen}")
    return [memory, release._replace(words=f"then release {it}")] if more_memory_mb else [release]
