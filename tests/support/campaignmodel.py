"""Model a campaign in plain dictionaries, written from the design and not from the code.

It uses neither SQLite, nor the tables of ``fsm``, nor modules of ``state``. An event is the dictionary that a script or
the command line makes.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Event = dict[str, Any]
Iteration = tuple[int, int]  # stage and iteration

# State and event of a campaign, and the next state.
MOVES = {
    ("created", "submitted"): "submitted",
    **{(state, "reconstruction_started"): "reconstructing" for state in ("submitted", "solving")},
    **{(state, "solving_started"): "solving" for state in ("submitted", "reconstructing")},
    **{("solving", event): "solving" for event in ("go_on", "stage_finished")},
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
# Effect of a final decision of the last stage that the campaign had ignored because it came too early.
LATE_VERDICTS, GOOD_ENDS = ("limit", "converged"), ("exhausted", "converged")
SETTLED = ("done", "skipped", "lost")
CONVERGED, FATAL, SKIP = 42, 43, 77
ANSWERS = {"go_on": 0, "stage_finished": 0, "limit": 0, "converged": CONVERGED}
DAG_OK, DAG_REMOVED = (0, 3), (4, 6)
NO_JOB = "0.2147483647"  # DAGMan's value for a job that could not be submitted
TOGETHER, TRIES_MAX, PASSED_AT = ("held", "lost"), 6, 2


class Row(NamedTuple):
    """A row of the history, without times and words."""

    subject: str
    event: str
    moved: bool  # whether it changed the state
    at: Iteration = (0, 0)
    attempt: int = 0
    job: str = ""
    dag: str = ""


@dataclass
class Attempt:
    """An attempt of a node; ``job`` and ``outcome`` are empty while it is open."""

    dag: str
    job: str = ""
    outcome: str = ""


@dataclass
class Letter:
    """A row of the outbox."""

    target: str
    kind: str
    node: str
    state: str = "pending"
    tries: int = 0
    failed: bool = field(default=False, compare=False)  # just now: it must wait
    lease: int = field(default=0, compare=False)  # number of the lease, 0 without one


class Model:
    """State of a campaign.

    Attributes:
        state, at: state and position of the campaign.
        dag: its latest DAGMan.
        nodes, reasons: state of each node, and the reason.
        attempts: attempts of each node, oldest first.
        verdicts: decisions on each iteration that has begun; '' while there is none.
        finished: ended stages, from the first.
        rows: how often each row is in the history.
        letters: the outbox, oldest first.
    """

    def __init__(self, nodes: dict[str, tuple[int, int, int]], *, targets: Collection[str], lost_max: int) -> None:
        self._about = nodes  # stage, iteration, file or -1
        self._lost_max = lost_max
        self.targets = list(targets)
        self.state, self.at, self.dag, self.finished = "created", (0, 0), "", 0
        self.nodes, self.reasons = dict.fromkeys(nodes, "waiting"), dict.fromkeys(nodes, "")
        self.attempts: dict[str, list[Attempt]] = {node: [] for node in nodes}
        self.verdicts: dict[Iteration, str] = {}
        self._history = [Row("campaign", "created", moved=True)]
        self.letters: list[Letter] = []
        self._leases = 0
        self._answers: dict[tuple[object, ...], int] = {}
        self._dags: set[str] = set()
        self._event: Event = {}

    @property
    def rows(self) -> Counter[Row]:
        return Counter(self._history)

    def take(self, event: Event) -> int:
        """Process an event; return its script's exit status."""
        self._event = event
        if event["phase"] == "control" and event["event"] in ("notify_retried", "changed"):
            return self._wish(event)
        dag = event["dag_id"]
        if dag not in self._dags:
            self._dags.add(dag)
            self.dag = dag
            if self.state == "created":
                self._move("submitted", self.at)
            elif self.state in ENDS:
                self._move("resumed", self.at)
        return 0 if event["phase"] == "control" else int(getattr(self, f"_{event['phase']}")(event))

    def set_aside(self) -> None:
        """Quarantine a malformed file of the event queue."""
        self._note("spooled", moved=False)

    def lost(self) -> set[int]:
        """Return the dropped files."""
        return {self._about[node][2] for node, state in self.nodes.items() if state == "lost"}

    def _is_over(self, node: str) -> bool:
        stage, _, file = self._about[node]
        return file in self.lost() or stage <= self.finished

    def _move(self, name: str, at: Iteration, attempt: int = 0) -> None:
        to = MOVES.get((self.state, name))
        job, dag = self._event.get("job_id", ""), self._event["dag_id"]
        self._history.append(Row("campaign", name, to is not None, at, attempt, job, dag))
        if to is None:
            return
        self.state, self.at = to, at
        if name == "reconstruction_started":
            self.verdicts.setdefault(at, "")
        if to in ENDS:
            self._tell(to, "")

    def _note(self, name: str, *, moved: bool = True) -> None:
        self._history.append(Row("campaign", name, moved, self.at, dag=self.dag))

    def _tell(self, kind: str, node: str) -> None:
        self.letters += [Letter(target, kind, node) for target in self.targets]

    def _go(self, node: str, name: str, state: str) -> None:
        self.nodes[node] = state
        self._write(node, name, len(self.attempts[node]), moved=True)

    def _write(self, node: str, name: str, attempt: int, *, moved: bool) -> None:
        at, job = self._about[node][:2], self._event.get("job_id", "")
        self._history.append(Row(node, name, moved, at, attempt, job, self._event["dag_id"]))

    def _abandon(self, node: str) -> None:
        if self.attempts[node] and not self.attempts[node][-1].outcome:
            self.attempts[node][-1].outcome = "abandoned"

    def _begin(self, node: str) -> None:
        self._abandon(node)
        self.attempts[node].append(Attempt(self._event["dag_id"]))
        self._go(node, "started", "running")
        self.reasons[node] = ""

    def _is_open(self, node: str) -> bool:
        """Return whether the node's latest attempt is open and of this DAGMan."""
        latest = self.attempts[node][-1] if self.attempts[node] else None
        return latest is not None and not latest.outcome and latest.dag == self._event["dag_id"]

    def _pre(self, event: Event) -> int:
        node, dag = event["node"], event["dag_id"]
        stage, iteration, file = self._about[node]
        if self._is_open(node):
            return 0
        if self._is_over(node):
            if self.nodes[node] not in SETTLED:
                self._abandon(node)
                self._go(node, "passed_over", "skipped")
            return SKIP
        self._begin(node)
        if self.state in ("failed", "removed") and dag == self.dag:
            self._move("resumed", self.at)  # it is still there, or FINAL belonged to another DAGMan
        if file < 0:
            self._move("solving_started", (stage, iteration))
        elif self.state not in ("reconstructing", "solving") or self.at != (stage, iteration):
            self._move("reconstruction_started", (stage, iteration))
        return 0

    def _post(self, event: Event) -> int:
        node, job = event["node"], event["job_id"]
        stage, iteration, file = self._about[node]
        # A job without a name of its own is identified by its attempt.
        about = (event["dag_id"], node, "post", job)
        key = (*about, len(self.attempts[node])) if job == NO_JOB else about
        if key in self._answers:
            return self._answers[key]
        if not self._is_open(node):
            if self._is_over(node):
                return 0  # it had a job anyway, because the database could not be read in time
            self._begin(node)  # its PRE is unknown
            key = (*about, len(self.attempts[node])) if job == NO_JOB else about
        answer, outcome = event["exit"], "done" if event["ret"] == 0 else "failed"
        last = event["fatal"] or event["retry"] == event["max_retries"]
        if outcome == "failed" and file >= 0 and last and len(self.lost()) < self._lost_max:
            answer, outcome = 0, "lost"
        name = "succeeded" if outcome == "done" else outcome
        latest = self.attempts[node][-1]
        latest.job, latest.outcome = job, name
        self._go(node, name, outcome)
        self.reasons[node] = event["reason"]
        if outcome == "lost":
            self._tell("lost", node)
        if "verdict" in event:
            self.verdicts[stage, iteration] = event["verdict"]
            self._move(event["moves"], (stage, iteration), len(self.attempts[node]))
            if event["moves"] == "stage_finished":
                self.finished = max(self.finished, stage)
            answer = ANSWERS.get(event["moves"], FATAL)
        self._answers[key] = answer
        return answer

    def _hold(self, event: Event) -> int:
        node, job = event["node"], event["job_id"]
        key = (event["dag_id"], node, "hold", job, event["hold_time"])
        if key in self._answers:
            return 0
        self._answers[key] = 0
        self._tell("held", node)
        over = [number for number, attempt in enumerate(self.attempts[node], 1) if attempt.job == job]
        if over or self.nodes[node] not in ("running", "held"):
            self._write(node, "held", over[0] if over else len(self.attempts[node]), moved=False)
            return 0
        self._go(node, "held", "held")
        self.reasons[node] = event["reason"]
        return 0

    def _final(self, event: Event) -> int:
        key = (event["dag_id"], "final")
        if key in self._answers and self.state in ENDS:
            return self._answers[key]
        status = event["dag_status"]
        answer = 0 if status in DAG_OK else status
        if status in DAG_OK and self.state not in ENDS and not self._take_up():
            answer = 1
        if status not in DAG_OK or self.state not in ENDS:
            self._move("final_removed" if status in DAG_REMOVED else "final_failed", self.at)
        self._answers[key] = answer
        return answer

    def _take_up(self) -> bool:
        """Apply the last decision that the campaign ignored when it came, unless it has moved since."""
        past = [row for row in self._history if row.subject == "campaign"]
        early = [place for place, row in enumerate(past) if row.event in LATE_VERDICTS and not row.moved]
        unmoving = ("resumed", "final_failed", "final_removed", "notify_retried", "changed", "delivery_failed")
        if not early or any(row.moved and row.event not in unmoving for row in past[early[-1] + 1 :]):
            return False
        verdict = past[early[-1]]
        if self.state in ("submitted", "reconstructing"):
            self._move("solving_started", verdict.at)
        self._move(verdict.event, verdict.at, verdict.attempt)
        return self.state in GOOD_ENDS

    # Control requests, and messages

    def _wish(self, event: Event) -> int:
        """Process a request to retry messages, or to change recipients."""
        if event["event"] == "changed":
            self.targets = event["after"]
        else:
            for letter in self.letters:
                if letter.state in ("failed", "pending") and event["target"] in ("", letter.target):
                    letter.state, letter.tries, letter.failed = "pending", 0, False
        self._note(event["event"])
        return 0

    def claim(self, *, final: bool, unresponsive: Collection[str]) -> list[Letter]:
        """Lease the next message, which may be about several nodes; return empty if none is due.

        Messages keep the order of events; a due one includes earlier ones, and overtakes those that failed twice and
        wait.
        """
        for letter in self.letters:
            if letter.state == "claimed" and letter.tries >= TRIES_MAX:  # it kills its sender
                letter.state, letter.failed = "failed", True
                self._note("delivery_failed")
        waiting = [letter for letter in self.letters if letter.state in ("claimed", "pending")]
        killing = [one for one in waiting if one.state == "claimed" and one.tries >= PASSED_AT]
        waiting = [one for one in waiting if not any(one is other for other in killing)] + killing
        due = [one for one in waiting if one.state == "claimed" or final or not one.failed]
        answering = {one.target for one in due if one.target not in unresponsive}
        ends = {one.target for one in due if one.kind in ENDS}
        claimed: list[Letter] = []
        for letter in waiting:
            if letter.target not in answering and not (letter.kind in ENDS and letter.target in ends):
                continue
            if not claimed and (letter.tries < PASSED_AT or any(letter is one for one in due)):
                claimed.append(letter)
            elif claimed and letter.target == claimed[0].target:
                if claimed[0].kind not in TOGETHER or letter.kind not in TOGETHER:
                    break
                if (letter.kind, letter.lease) == (claimed[0].kind, claimed[0].lease):
                    claimed.append(letter)
        self._leases += 1
        for letter in claimed:
            letter.state, letter.tries, letter.lease = "claimed", letter.tries + 1, self._leases
        return claimed

    def mark(self, claimed: Collection[Letter], *, sent: bool) -> None:
        """Record whether a leased message has arrived."""
        given_up = max(letter.tries for letter in claimed) >= TRIES_MAX
        for letter in claimed:
            letter.state, letter.failed = ("sent", False) if sent else ("failed" if given_up else "pending", True)
            letter.lease = 0
        if not sent:
            self._note("delivery_failed")
