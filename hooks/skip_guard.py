"""Passing a node over, and ending, where an answer that is usual otherwise would kill DAGMan for good.

DAGMan (23.9) numbers the nodes that a PRE passes over and the FINAL node, for which there is no job. A DAGMan process that takes
up where a killed, held or restarted one was begins to number anew, finds the same number twice in its log, and dies of that
("Assertion ERROR ... dag.cpp"), again and again, as often as the schedd starts it. So the first process of a DAGMan job that
passes a node over leaves its name, and a later one of the same job passes over by letting the job run, which sees a mark and
ends at once. A rescue run begins a new log, and may pass over again.
"""

import os

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.system.atomic import write_text

ENDED = 1  # exit status of a FINAL that must not be submitted: the campaign has its end, DAGMan leaves with an error


def answer(folder: str, node: str, status: int) -> int:
    """What DAGMan is to be told instead of ``status``, which passes ``node`` over or lets FINAL succeed.

    Raises:
        OSError: the campaign's folder cannot be written.
    """
    if node == layout.FINAL_NODE:
        return status if _first(folder) else ENDED
    if _first(folder, leave_name=True):
        return status
    mark = layout.passed_file(folder, node)
    os.makedirs(os.path.dirname(mark), exist_ok=True)  # FINAL removes folders that no job has used
    write_text(mark, f"{exit_codes.SKIP}\n")
    return 0


def _first(folder: str, *, leave_name: bool = False) -> bool:
    """Whether no earlier process of this DAGMan job has passed a node over."""
    path = f"{folder}/{layout.PASSING}"
    job, process = os.environ.get("CONDOR_ID", ""), _process(os.getppid())
    try:
        with open(path, encoding="utf-8") as file:
            known = file.read().splitlines()
    except FileNotFoundError:
        known = []
    if known[:1] == [job]:
        return known[1:] == [process]
    if leave_name:
        write_text(path, f"{job}\n{process}\n")
    return True


def _process(pid: int) -> str:
    """A process by its number and when it began (proc(5): field 22 of stat, the third behind the name's parenthesis is 5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return f"{pid} {file.read().rpartition(')')[2].split()[19]}"
    except OSError:
        return str(pid)
