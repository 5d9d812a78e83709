"""What to type next, by a campaign's state or by the kind of a message about it: the one table of it.

Messages, pages, ``status`` and the README say the same. Standard library only, because hooks load this.
"""

import shlex
from typing import NamedTuple

from faser_align.fsm import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Step(NamedTuple):
    """Words, and the command that they introduce, which can be pasted as it is; one of the two may be empty."""

    words: str
    command: str


_FIRST = "next"
_WATCH, _STATUS = Step(_FIRST, "{command} watch {name}"), Step(_FIRST, "{command} status {name}")
_RESUME = Step(_FIRST, "{command} resume {name}")
_METRICS = Step(_FIRST, "{command} metrics {name}")
_REPORT = Step(_FIRST, "{command} report {name}")
_EXPORT = "{command} constants export {name} -o FILE"
_CHOOSE = Step("then submit anew with another choice of free parameters", "")

# {command} is how the user calls the program, {name} the campaign, {constants} the file of its latest constants,
# {start} that of the constants which it started from.
NEXT: dict[str, tuple[Step, ...]] = {
    **dict.fromkeys(table.UNFINISHED, (_WATCH,)),
    "held": (_STATUS,),
    "lost": (_STATUS,),
    "stuck": (_STATUS,),  # which has the command that helps
    "iteration": (_STATUS,),
    "converged": (_REPORT, Step("then take the constants", _EXPORT)),
    # Who reads the report of a campaign that converged has nothing left to do but this.
    "reported": (Step(_FIRST, _EXPORT),),
    "exhausted": (_METRICS, Step("for five more iterations", "{command} extend {name} -i 5")),
    # A history without a DAG of ours.
    "imported": (_METRICS, Step("to continue from its constants: submit --constants {constants}", "")),
    "reconstructed": (Step(_FIRST, "{command} solve {name}"),),
    # A `reco` that its user has solved.
    "solved": (Step(_FIRST, _EXPORT), Step("reco with the next number begins from these constants", "")),
    "diverged": (_METRICS, _CHOOSE),
    "stalled": (_METRICS, _CHOOSE),
    "starved": (_METRICS, Step("then submit anew with more files, fewer free parameters or wider cuts", "")),
    "rejected": (_REPORT, Step("keep the constants that it started from: {start}", "")),
    "failed": (Step("next, once the cause is removed", _RESUME.command),),
    "removed": (_RESUME,),
}


def next_steps(state: str, *, command: str, name: str, constants: str | None, start: str) -> list[Step]:
    """Return the command that comes next, and what may follow it.

    Args:
        state: a campaign's state, or a message's kind.
        command: how the user calls the program.
        name: the campaign's.
        constants: its latest constants, None where it has found none.
        start: the constants that it started from.
    """
    known = {
        "command": command,
        "name": shlex.quote(name),
        "constants": shlex.quote(constants or start),
        "start": shlex.quote(start),
    }
    return [Step(*(part.format(**known) for part in step)) for step in NEXT.get(state, (_STATUS,))]


def spoken(steps: "Iterable[Step]") -> str:
    """Return steps in one sentence: the first command, and in parentheses what follows it."""
    first, *others = steps
    more = "; ".join(f"{step.words}: {step.command}" if step.command else step.words for step in others)
    return f"{first.command} ({more})" if more else first.command


def held_steps(to_pool: str, jobs: list[str], dag_id: str, more_memory_mb: int) -> list[Step]:
    """Return what lets held jobs continue.

    Args:
        to_pool: what precedes HTCondor's commands so that they reach the campaign's pool.
        jobs: ids of the jobs.
        dag_id: that of their DAGMan.
        more_memory_mb: what the jobs are to be given if they needed more memory, else 0.
    """
    many = len(jobs) > 1
    dagman = dag_id.partition(".")[0]
    chosen = f"-constraint 'DAGManJobId == {dagman} && JobStatus == 5'" if many else jobs[0]
    them, it = ("all held jobs", "them") if many else ("the job", "it")
    memory = Step(
        f"give {them} {more_memory_mb} MB of memory", f"{to_pool}condor_qedit {chosen} RequestMemory {more_memory_mb}"
    )
    release = Step(f"remove the cause, then release {them}", f"{to_pool}condor_release {chosen}")
    return [memory, release._replace(words=f"then release {it}")] if more_memory_mb else [release]
