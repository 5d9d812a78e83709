"""A campaign of one stage in plain dictionaries: what the store must say, written from the design and not from the store.

It knows nothing of SQLite, of the tables of ``fsm`` or of the modules of ``state``. An event is the dictionary that a hook makes.
"""

from collections import Counter
from typing import Any

Event = dict[str, Any]

# State and event of a campaign, and where that leads.
MOVES = {
    ("created", "submitted"): "submitted",
    **{(state, "reconstruction_started"): "reconstructing" for state in ("submitted", "solving")},
    **{(state, "solving_started"): "solving" for state in ("submitted", "reconstructing")},
    ("solving", "go_on"): "solving",
    ("solving", "converged"): "converged",
    ("solving", "limit"): "exhausted",
    **{("solving", end): end for end in ("diverged", "stalled", "starved")},
    **{
        (state, f"final_{end}"): end
        for state in ("created", "submitted", "reconstructing", "solving")
        for end in ("failed", "removed")
    },
    **{
        (state, "resumed"): "submitted"
        for state in ("exhausted", "diverged", "stalled", "starved", "failed", "removed")
    },
}
ENDS = ("converged", "exhausted", "diverged", "stalled", "starved", "failed", "removed")
CONVERGED, FATAL, SKIP = 42, 43, 77
DAG_OK, DAG_REMOVED = (0, 3), (4, 6)


class Model:
    """What has become of a campaign.

    Attributes:
        state, iteration: where the campaign is.
        nodes: state of each node.
        attempts: of each node, as [DAGMan, job or '', outcome or ''], oldest first.
        verdicts: of each iteration that has begun; '' while there is none.
        rows: how often each thing stands in the history, as (subject, event, whether it moved something).
        messages: how many there are, by (target, kind, node or '').
    """

    def __init__(self, nodes: dict[str, tuple[int, int]], *, targets: tuple[str, ...], lost_max: int) -> None:
        self._about = nodes  # (iteration, file or -1)
        self._targets, self._lost_max = targets, lost_max
        self.state, self.iteration, self.dag = "created", 0, ""
        self.nodes = dict.fromkeys(nodes, "waiting")
        self.attempts: dict[str, list[list[str]]] = {node: [] for node in nodes}
        self.verdicts: dict[int, str] = {}
        self.rows: Counter[tuple[str, str, bool]] = Counter({("campaign", "created", True): 1})
        self.messages: Counter[tuple[str, str, str]] = Counter()
        self._answers: dict[tuple[str, ...], int] = {}
        self._dags: set[str] = set()

    def take(self, event: Event) -> int:
        """Take an event in; returns what its script is answered."""
        dag = event["dag_id"]
        if dag not in self._dags:
            self._dags.add(dag)
            self.dag = dag
            if self.state == "created":
                self._move("submitted")
            elif self.state in ENDS:
                self._move("resumed")
        return 0 if event["phase"] == "control" else int(getattr(self, f"_{event['phase']}")(event))

    def lost(self) -> set[int]:
        """Files that are lost for good."""
        return {self._about[node][1] for node, state in self.nodes.items() if state == "lost"}

    def _move(self, name: str, iteration: int | None = None) -> None:
        to = MOVES.get((self.state, name))
        self.rows["campaign", name, to is not None] += 1
        if to is None:
            return
        self.state = to
        self.iteration = self.iteration if iteration is None else iteration
        if name == "reconstruction_started":
            self.verdicts.setdefault(self.iteration, "")
        if to in ENDS:
            self._tell(to, "")

    def _tell(self, kind: str, node: str) -> None:
        self.messages.update((target, kind, node) for target in self._targets)

    def _go(self, node: str, name: str, state: str) -> None:
        self.nodes[node] = state
        self.rows[node, name, True] += 1

    def _pre(self, event: Event) -> int:
        node, dag = event["node"], event["dag_id"]
        iteration, file = self._about[node]
        latest = self.attempts[node][-1] if self.attempts[node] else None
        is_open = latest is not None and not latest[2]
        if latest and is_open and latest[0] == dag:
            return 0
        if latest and is_open and (file not in self.lost() or self.nodes[node] not in ("done", "skipped", "lost")):
            latest[2] = "abandoned"
        if file in self.lost():
            if self.nodes[node] not in ("done", "skipped", "lost"):
                self._go(node, "passed_over", "skipped")
            return SKIP
        self.attempts[node].append([dag, "", ""])
        self._go(node, "started", "running")
        if file < 0:
            self._move("solving_started", iteration)
        elif self.state not in ("reconstructing", "solving") or self.iteration != iteration:
            self._move("reconstruction_started", iteration)
        return 0

    def _post(self, event: Event) -> int:
        node, job = event["node"], event["job_id"]
        iteration, file = self._about[node]
        key = (event["dag_id"], node, "post", job)
        if key in self._answers:
            return self._answers[key]
        if self.nodes[node] in ("skipped", "lost"):
            return 0  # it had a job all the same, because the store could not be asked in time
        answer, outcome = event["exit"], "done" if event["ret"] == 0 else "failed"
        last = event["fatal"] or event["retry"] == event["max_retries"]
        if outcome == "failed" and file >= 0 and last and len(self.lost()) < self._lost_max:
            answer, outcome = 0, "lost"
        name = "succeeded" if outcome == "done" else outcome
        self.attempts[node][-1][1:] = [job, name]
        self._go(node, name, outcome)
        if outcome == "lost":
            self._tell("lost", node)
        if "verdict" in event:
            self.verdicts[iteration] = event["verdict"]
            self._move(event["verdict"], iteration)
            answer = {"go_on": 0, "limit": 0, "converged": CONVERGED}.get(event["verdict"], FATAL)
        self._answers[key] = answer
        return answer

    def _hold(self, event: Event) -> int:
        node, job = event["node"], event["job_id"]
        key = (event["dag_id"], node, "hold", job, event["hold_time"])
        if key in self._answers:
            return 0
        self._answers[key] = 0
        late = any(attempt[1] == job for attempt in self.attempts[node])
        if late or self.nodes[node] not in ("running", "held"):
            self.rows[node, "held", False] += 1
            return 0
        self._go(node, "held", "held")
        self._tell("held", node)
        return 0

    def _final(self, event: Event) -> int:
        key = (event["dag_id"], "final")
        if key in self._answers and self.state in ENDS:
            return self._answers[key]
        status = event["dag_status"]
        answer = 0 if status in DAG_OK else status
        if status in DAG_OK and self.state not in ENDS:
            answer = 1
        if status not in DAG_OK or self.state not in ENDS:
            self._move("final_removed" if status in DAG_REMOVED else "final_failed")
        self._answers[key] = answer
        return answer
