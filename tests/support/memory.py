"""A campaign in plain dictionaries, moved by ``fsm.reduce``, and any sequence of events that may move it."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from campaigns import metrics
from hypothesis import strategies as st

from faser_align.campaign import layout
from faser_align.fsm import exit_codes, table
from faser_align.fsm.next_message import TOGETHER, Open, choose
from faser_align.fsm.reduce import react
from faser_align.fsm.rows import Campaign, Known, NewNode, Node
from faser_align.state.outbox import TRIES_MAX

Event = dict[str, Any]
FILES, ITERATIONS = (400, 401), (1, 2)
NODES: list[NewNode] = [(layout.reco_node(1, i, f), "reco", 1, i, f) for i in ITERATIONS for f in FILES]
NODES += [(layout.mille_node(1, i), "mille", 1, i, -1) for i in ITERATIONS]
DAGS = st.sampled_from(["1.0", "2.0"])


class Memory:
    """The rows of a campaign: by default of two files, one of which may be dropped, and two iterations."""

    def __init__(self, lost_max: int = 1, nodes: Sequence[NewNode] = NODES, targets: Sequence[str] = ()) -> None:
        self.campaign: Campaign = {
            "state": table.INITIAL,
            "stage": 0,
            "iteration": 0,
            "stages": max(stage for _, _, stage, *_ in nodes),
            "stages_done": 0,
            "lost_max": lost_max,
            "lost": 0,
            "dag_id": "",
            "updated_utc": "",
        }
        self.targets = list(targets)
        self.nodes: dict[str, Node] = {}
        self.attempts: dict[str, list[Any]] = {}
        self.processed: dict[tuple[Any, ...], int] = {}
        self.history: list[tuple[Any, ...]] = []
        self.iterations: dict[tuple[int, int], str] = {}
        self.messages: list[str] = []
        self.outbox: list[Open] = []
        self.states: list[str] = []  # of each row of the outbox
        for node in nodes:
            self._add_node(*node)

    def take(self, event: Event) -> int:
        """Apply an event to the rows; return its exit status."""
        changes, exit_status = react(self._known(event), event)  # type: ignore[arg-type]
        for kind, *values in changes:
            getattr(self, f"_{kind}")(*values)
        return exit_status

    def _known(self, event: Event) -> Known:
        name, dag_id = event.get("node", ""), event.get("dag_id", "")
        key = (event["phase"], event.get("job_id", event.get("id", "")), event.get("hold_time", ""))
        known: Known = {
            "campaign": self.campaign,
            "new_dagman": (dag_id, "", 0, "dagman", "", "") not in self.processed,
            "processed": sorted(
                ((k[2], status) for k, status in self.processed.items() if (*k[:2], *k[3:]) == (dag_id, name, *key)),
                reverse=True,
            ),
            "failed": [node["node"] for node in sorted(self.nodes.values(), key=_place) if node["state"] == "failed"],
            "only_iteration": None,
            "early_end": self._early_end(),
            "unsent": 0,
        }
        if name in self.nodes:
            node = self.nodes[name]
            known["node"], known["attempts"] = node, list(self.attempts[name])
            known["file_lost"] = any(n["file"] == node["file"] and n["state"] == "lost" for n in self.nodes.values())
            known["converged"] = False
        return known

    def _early_end(self) -> Any:
        rows = [row for row in self.history if row[1] == "campaign"]
        early = [place for place, row in enumerate(rows) if row[5] and row[3] in ("limit", "converged")]
        if not early:
            return None
        end = rows[early[-1]]
        about = {"event": end[3], "stage": end[6], "iteration": end[7], "attempt": end[9], "facts": json.dumps(end[-1])}
        return {**about, "since": [row[3] for row in rows[early[-1] :] if not row[5]]}

    def note(self, event: str, ignored: str = "") -> None:
        """Add a row to the history that moves nothing."""
        now = self.campaign
        at = (now["stage"], now["iteration"], "", 0, "", now["dag_id"], "")
        self.history.append(("", "campaign", now["state"], event, now["state"], ignored, *at, {}))

    def claim(self, *, final: bool, unresponsive: Sequence[str]) -> list[int]:
        """Lease the next message; return the places of its rows in the outbox."""
        for place, letter in enumerate(self.outbox):
            if self.states[place] == "claimed" and letter.tries >= TRIES_MAX:
                self.states[place] = "failed"
                self.note("delivery_failed")
        waiting = [one for one in self.outbox if self.states[one.id] in ("pending", "claimed")]
        waiting = [one._replace(due=one.due or final or bool(one.leased)) for one in waiting]
        choice = choose(waiting, unresponsive=unresponsive)
        places = [one.id for one in choice.messages] if choice else []
        lease = max((one.leased for one in self.outbox), default="") + "x"
        for place in places:
            self.states[place] = "claimed"
            self.outbox[place] = self.outbox[place]._replace(tries=self.outbox[place].tries + 1, leased=lease)
        return places

    def mark(self, places: Sequence[int], *, sent: bool) -> None:
        """Record whether a leased message has arrived."""
        given_up = max(self.outbox[place].tries for place in places) >= TRIES_MAX
        for place in places:
            self.states[place] = "sent" if sent else "failed" if given_up else "pending"
            self.outbox[place] = self.outbox[place]._replace(leased="", due=False)
        if not sent:
            self.note("delivery_failed")

    def _add_node(self, node: str, kind: str, stage: int, iteration: int, file: int) -> None:
        place = {"node": node, "kind": kind, "stage": stage, "iteration": iteration, "file": file}
        self.nodes[node] = {**place, "state": "waiting", "attempts": 0, "reason": ""}  # type: ignore[typeddict-item]
        self.attempts[node] = []

    def _open_attempt(self, node: str, attempt: int, dag_id: str, *_: str) -> None:
        self.attempts[node].append(
            {"attempt": attempt, "dag_id": dag_id, "closed_utc": "", "job_id": "", "outcome": ""}
        )

    def _close_attempt(self, utc: str, job_id: str, outcome: str, *rest: Any) -> None:
        *_, node, attempt = rest
        self.attempts[node][attempt - 1] |= {"closed_utc": utc, "job_id": job_id, "outcome": outcome}

    def _update_node(self, state: str, attempts: int, reason: str, node: str) -> None:
        self.nodes[node] = {**self.nodes[node], "state": state, "attempts": attempts, "reason": reason}

    def _update_campaign(self, *values: Any) -> None:
        columns = ("state", "stage", "iteration", "stages_done", "lost", "dag_id", "updated_utc")
        self.campaign = {**self.campaign, **dict(zip(columns, values, strict=True))}  # type: ignore[typeddict-item]

    def _add_history(self, *row: Any) -> None:
        self.history.append(row)

    def _enqueue(self, kind: str, _former: str) -> None:
        self.messages.append(kind)
        if kind in (*table.ENDS, *TOGETHER):
            for target in self.targets:
                self.outbox.append(Open(len(self.outbox), len(self.history) - 1, target, kind, 0, "", True))
                self.states.append("pending")

    def _change_targets(self, targets: str) -> None:
        self.targets = json.loads(targets)

    def _notify_again(self, target: str, _again: str) -> None:
        for place, letter in enumerate(self.outbox):
            if self.states[place] in ("failed", "pending") and target in ("", letter.target):
                self.states[place] = "pending"
                self.outbox[place] = letter._replace(tries=0, due=True, leased="")

    def _mark_processed(self, *row: Any) -> None:
        self.processed[row[:-1]] = row[-1]

    def _begin_iteration(self, stage: int, iteration: int, _utc: str) -> None:
        self.iterations.setdefault((stage, iteration), "")

    def _end_iteration(self, stage: int, iteration: int, *values: str) -> None:
        self.iterations[stage, iteration] = values[2]


def _place(node: Node) -> tuple[int, int, bool, int]:
    """Return what orders the nodes by their work."""
    return node["stage"], node["iteration"], node["kind"] == "mille", node["file"]


def rows_of(store: bytes) -> tuple[list[Any], set[Any]]:
    """Return the history and the processed events of a database, without what memory does not have."""
    columns = "subject, source, event, destination, ignored, stage, iteration, node, attempt, job_id, dag_id, facts"
    key = "dag_id, node, attempt, phase, job_id, hold_time, exit_status"
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(store)
        history = [
            comparable(*row, json.loads(facts))
            for *row, facts in db.execute(f"SELECT {columns} FROM history ORDER BY id")
        ]
        return history, {*db.execute(f"SELECT {key} FROM events WHERE phase NOT IN ('control', 'spool')")}


def comparable(*row: Any) -> tuple[Any, ...]:
    """Return a row of the history to compare; without payload and reason if no script's event made it."""
    return (*row[:4], bool(row[4]), *row[5:-1]) if row[2] in (*table.NOTES, "created") else row


def events() -> st.SearchStrategy[Event]:
    """Any event that a script may bring, in any order."""
    final = {"phase": st.just("final"), "dag_id": DAGS, "node": st.just("final"), "dag_status": st.integers(0, 6)}
    control = {"phase": st.just("control"), "dag_id": DAGS, "event": st.sampled_from(["submitted", "resumed"])}
    others = [st.fixed_dictionaries(final), st.fixed_dictionaries(control)]
    return st.one_of(*_of_nodes([name for name, *_ in NODES]), *others).map(_complete)


def events_of(node: str) -> st.SearchStrategy[Event]:
    """Any event of one node."""
    return st.one_of(*_of_nodes([node])).map(_complete)


def _of_nodes(nodes: list[str]) -> list[st.SearchStrategy[Event]]:
    """Events of PRE, POST and HOLD."""
    common = {"dag_id": DAGS, "node": st.sampled_from(nodes)}
    job, retry = st.sampled_from(["11.0", "12.0", "13.0"]), st.integers(0, 2)
    pre = {"phase": st.just("pre"), "retry": retry}
    post = {
        "phase": st.just("post"),
        "job_id": job,
        "retry": retry,
        "ret": st.sampled_from([0, 0, 1, exit_codes.RAW_MISSING, -9, -1002]),
        "verdict": st.sampled_from(table.VERDICTS),
    }
    hold = {
        "phase": st.just("hold"),
        "job_id": job,
        "hold_time": st.sampled_from(["8", "9"]),
        "reason": st.just("quota"),
    }
    return [
        st.fixed_dictionaries(common | pre),
        st.fixed_dictionaries(common | post).map(_finish_post),
        st.fixed_dictionaries(common | hold),
    ]


def _complete(event: Event) -> Event:
    return {"exit": 0, "utc": "2026-11-24T08:00:00.000Z", "host": "ap", **event}


def _finish_post(event: Event) -> Event:
    ret, name = event["ret"], event.pop("verdict")
    failure = exit_codes.JOB_FAILURES.get(ret)
    event["exit"] = 0 if ret == 0 else exit_codes.FATAL if failure and failure[1] else 1
    event["fatal"] = event["exit"] == exit_codes.FATAL
    event |= {"max_retries": 2, "outcome": "failed" if ret else "succeeded", "reason": "because"}
    if ret == 0 and event["node"].startswith("mille"):
        iteration = layout.parse_node(event["node"])[2]
        text = str(metrics(iteration)).replace("'", '"').replace("False", "false").replace("True", "true")
        event |= {"verdict": name, "verdict_reason": "so", "criteria": "[]", "metrics": text}
        event["moves"] = table.after_verdict(name, last=True, validated=False, at_limit="continue")
        event["exit"] = exit_codes.verdict_exit(event["moves"], last=True)
    return event
