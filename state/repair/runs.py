"""Read the runs of scripts in one of DAGMan's logs. Pure: lines in, tuples out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.state import dagmanlogs
from faser_align.state.dagmanlogs import Line

UNKNOWN = "unknown"  # id of a DAGMan that is not in the logs
# In place of an exit status: the script died on a signal; its end is in no log.
KILLED, UNENDED = -9, -1000
NODES_FAILED = 2  # $DAG_STATUS


class ScriptRun(NamedTuple):
    """One script's run, or the start of a DAGMan."""

    at_s: int  # Unix time
    dag_id: str
    phase: str  # ``dagman``: DAGMan began
    node: str = ""
    job_id: str = ""
    ret: int | None = None  # of FINAL: UNENDED if it never ended
    # Exit status, or -signal of a script that was killed; 1 if only its failure is known; of FINAL: $DAG_STATUS.
    status: int | None = None
    late: bool = False  # whether the script began while FINAL ran


def runs_in(lines: Sequence[Line], began: Sequence[tuple[int, str]], values: Mapping[str, int]) -> list[ScriptRun]:
    """Return the runs in one log. ``began`` gives the DAGMan where the log does not, ``values`` a job's exit status."""
    return list(_Reader(began, values).read(lines))


class _Reader:
    """Reads the lines of one log in order."""

    def __init__(self, began: Sequence[tuple[int, str]], values: Mapping[str, int]) -> None:
        self._began, self._values = began, values
        self._dag_id = ""
        self._returned: dict[str, int] = {}
        # POST scripts: when they began, job, its exit status.
        self._running: dict[str, tuple[int, str, int | None]] = {}
        self._ended: set[tuple[str, str]] = set()  # POST scripts, by node and job
        self._killed: set[tuple[str, str]] = set()  # of these, which DAGMan may run again
        self._final: ScriptRun | None = None  # without its $DAG_STATUS yet
        self._dag_status: int | None = None  # since FINAL began
        self._removed = False  # whether condor_rm removed the DAGMan
        self._final_began = False
        self._unended: ScriptRun | None = None  # FINAL of a DAG whose nodes failed, while it runs
        self._late: set[str] = set()  # nodes whose script began after FINAL

    def read(self, lines: Sequence[Line]) -> Iterator[ScriptRun]:
        for line in _with_lost_pres(lines):
            if line.what in ("PRE_SCRIPT_STARTED", "POST_SCRIPT_STARTED") and not _is_final(line.node):
                (self._late.add if self._final_began else self._late.discard)(line.node)
            if line.what == "DAGMAN_STARTED":
                yield from self._started(line)
            elif line.node == dagmanlogs.DAGMAN:
                yield from self._dagman(line)
            elif line.what in ("JOB_SUCCESS", "JOB_FAILURE"):
                if line.value.lstrip("-").isdigit():
                    self._returned[line.node] = int(line.value)
            elif line.what == "POST_SCRIPT_STARTED":
                self._ended -= self._killed & {(line.node, line.value)}
                self._running[line.node] = (line.at_s, line.value, self._returned.get(line.node))
            elif _is_final(line.node) and line.what == "PRE_SCRIPT_STARTED":
                if self._dag_status == NODES_FAILED and not self._removed:
                    self._unended = self._script_run(line.at_s, "final", line.node)._replace(
                        status=NODES_FAILED, ret=UNENDED
                    )
                self._dag_status, self._final_began = None, True
            else:
                yield from self._ended_script(line)
        yield from self._left()

    def _dagman(self, line: Line) -> Iterator[ScriptRun]:
        if line.what == "REMOVED":
            self._removed = True
        elif line.what == "DAG_STATUS":
            self._dag_status = int(line.value)
            yield from self._finish_final()

    def _left(self) -> Iterator[ScriptRun]:
        """Yield the scripts of a past DAGMan that never ended."""
        yield from self._lost_posts()
        yield from self._finish_final()
        if self._unended is not None:  # it commits soon after its start, and then delivers messages
            yield self._unended
            self._unended = None

    def _started(self, line: Line) -> Iterator[ScriptRun]:
        self._final_began = self._removed = False
        if line.value == self._dag_id:
            self._running, self._unended = {}, None  # a recovering DAGMan runs them again
            return
        yield from self._left()
        self._dag_id, self._returned = line.value, {}  # a recovering DAGMan does not repeat JOB_SUCCESS
        yield ScriptRun(line.at_s, line.value, "dagman")

    def _lost_posts(self) -> Iterator[ScriptRun]:
        """Yield POST scripts of failed jobs that DAGMan did not wait for: the exit status alone decides these."""
        for node, (at_s, job_id, told) in self._running.items():
            ret = self._values.get(job_id, 0) if told is None else told
            if ret != 0 and _phase(Line(at_s, node, "POST_SCRIPT_FAILURE", job_id)) == "post":
                yield self._script_run(at_s, "post", node)._replace(job_id=job_id, ret=ret, status=UNENDED)
        self._running = {}

    def _finish_final(self) -> Iterator[ScriptRun]:
        if self._final is not None:
            yield self._final if self._final.status is not None else self._final._replace(status=self._dag_status)
            self._final = None

    def _script_run(self, at_s: int, phase: str, node: str) -> ScriptRun:
        dag_id = self._dag_id or _dagman_at(self._began, at_s)
        return ScriptRun(at_s, dag_id, phase, node, late=phase in ("pre", "post") and node in self._late)

    def _ended_script(self, line: Line) -> Iterator[ScriptRun]:
        at_s, node, what, value = line
        phase = _phase(line)
        if phase is None:
            return
        this = self._script_run(at_s, phase, node)
        if phase == "final":
            yield from self._finish_final()
            known = int(value) if value.isdigit() else self._dag_status
            self._final, self._unended = this._replace(status=known), None
            if known is not None:
                yield from self._finish_final()
            return
        if phase == "pre" and what == dagmanlogs.PRE_FAILED:
            this = this._replace(status=int(value) if value.lstrip("-").isdigit() else 1)
        elif phase == "hold":
            this = this._replace(job_id=value)
        elif phase == "post":
            _, _, told = self._running.pop(node, (0, "", None))
            returned = self._returned.pop(node, None) if told is None else told
            self._returned.pop(node, None)
            if (node, value) in self._ended:
                return  # a recovering DAGMan repeats it
            self._ended.add((node, value))
            if what == dagmanlogs.POST_KILLED:
                self._killed.add((node, value))
            status = {"POST_SCRIPT_SUCCESS": 0, dagmanlogs.POST_KILLED: KILLED}.get(what, 1)
            ret = self._values.get(value, max(status, 0)) if returned is None else returned
            this = this._replace(job_id=value, ret=ret, status=status)
        yield this


def _with_lost_pres(lines: Sequence[Line]) -> list[Line]:
    """Return the lines, with the end of a killed PRE after the start of one that was killed with its DAGMan."""
    found: list[Line] = []
    ended: set[str] = set()
    for line in reversed(lines):
        if line.what == "DAGMAN_STARTED":
            ended = set()
        elif line.what == "PRE_SCRIPT_STARTED" and not _is_final(line.node):
            if line.node not in ended:
                found.append(line._replace(what=dagmanlogs.PRE_FAILED, value=f"{UNENDED}"))
            ended.add(line.node)  # an earlier start has its end, or was deferred
        elif _PHASES.get(line.what) == "pre":
            ended.add(line.node)
        found.append(line)
    return found[::-1]


_PHASES = {
    "PRE_SCRIPT_SUCCESS": "pre",
    dagmanlogs.PRE_FAILED: "pre",
    "PRESKIP": "pre",
    "POST_SCRIPT_SUCCESS": "post",
    "POST_SCRIPT_FAILURE": "post",
    dagmanlogs.POST_KILLED: "post",
    "JOB_HELD": "hold",
}


def _is_final(node: str) -> bool:
    return node == layout.FINAL_NODE


def _phase(line: Line) -> str | None:
    """Return the script whose end a line reports, or None; for FINAL that of its PRE."""
    try:
        kind = layout.parse_node(line.node)[0]
    except ValueError:
        return None
    phase = _PHASES.get(line.what)
    if kind == "final":
        return "final" if phase == "pre" else None
    return phase


def _dagman_at(began: Sequence[tuple[int, str]], at_s: int) -> str:
    """Return the DAGMan that ran at a time."""
    before = [dag_id for started_s, dag_id in began if started_s <= at_s]
    return before[-1] if before else began[0][1] if began else UNKNOWN
