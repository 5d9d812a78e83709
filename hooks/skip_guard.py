"""Skip a node, and let FINAL succeed, without killing DAGMan.

DAGMan (23.9) numbers the nodes that a PRE script skips, and the FINAL node, for which there is no job. A DAGMan process that
continues for one that was killed, held or restarted counts from the start again, finds the same number twice in its
log, and aborts ("Assertion ERROR ... dag.cpp") each time the schedd starts it. So the first process of a DAGMan job
that skips a node records its own name. A later process of the same job skips a node by letting the job run, which sees
a mark and ends at once. A rescue run starts a new log, and may skip nodes again.
"""

import os

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.system.atomic import write_text

ENDED = 1  # exit status of a FINAL that must not be submitted: the campaign has its end, DAGMan leaves with an error


def answer(folder: str, node: str, status: int) -> int:
    """Return the exit status for DAGMan instead of ``status``, which skips ``node`` or lets FINAL succeed.

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
    """Return whether no earlier process of this DAGMan job has skipped a node."""
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
    """Return a process's number and start time (proc(5): field 22 of stat; after the name's parenthesis comes field 3)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return f"{pid} {file.read().rpartition(')')[2].split()[19]}"
    except OSError:
        return str(pid)
