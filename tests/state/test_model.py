"""A DAGMan that does what it likes, hooks that are killed, a store that is locked: the store always equals a plain model.

Hypothesis makes up the story; ``campaignmodel.Model`` says what must have become of the campaign after each of its steps.
"""

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from campaignmodel import CONVERGED, FATAL, SKIP, Event, Model
from campaigns import make_campaign
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faser_align.config import layout
from faser_align.state import create, database, publish, spool, verify, writer

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))
FILES, ITERATIONS, RETRIES, TARGETS = (400, 401), (1, 2), 1, ("me", "you")
ABOUT = {layout.reco_node(1, i, file): (i, file) for i in ITERATIONS for file in FILES}
ABOUT |= {layout.mille_node(1, i): (i, -1) for i in ITERATIONS}
BASE = {"utc": "2026-11-24T08:00:00.000Z", "host": "ap", "exit": 0}
TEMPLATE = tempfile.TemporaryDirectory()
RECORD = make_campaign(
    Path(TEMPLATE.name, "campaign"),
    files=len(FILES),
    config={
        "campaign": {"iterations": len(ITERATIONS)},
        "reconstruction": {"min_files": 0.5},
        "notify": {"targets": list(TARGETS), "events": ["end", "held", "lost"]},
    },
)
KEPT = (layout.STATE, layout.PUBLISHED)

# How a hook fares. Most are well, so that stories get somewhere.
WELL, UNPUBLISHED, LOCKED = "well", "dies before it publishes", "finds the store locked"
IN_TRANSACTION, AFTER_COMMIT = "dies before COMMIT", "dies before it takes files from the spool"
PUBLISHING, SPOOLING = "dies while it publishes", "finds the store locked and dies before it is in the spool"
FARES = st.sampled_from([WELL] * 12 + [LOCKED] * 3 + [UNPUBLISHED, IN_TRANSACTION, AFTER_COMMIT, PUBLISHING, SPOOLING])
PICK = st.integers(0, 11)


def die(*_: object, **__: object) -> NoReturn:
    """End this process as SIGKILL does: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Stories(RuleBasedStateMachine):
    """DAGMan as seen by its scripts, the hooks, and the model that goes along."""

    def __init__(self) -> None:
        super().__init__()
        self.base = tempfile.TemporaryDirectory()
        self.folder = self.base.name
        for name in KEPT:
            shutil.copy(Path(RECORD["folder"], name), self.folder)
        Path(self.folder, layout.SPOOL).mkdir()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(database, "BUSY_S_MAX", 0.0)
        self.patch.setattr(publish, "SHARE", 1)  # no pauses
        self.model = Model(ABOUT, targets=TARGETS, lost_max=1)
        self.queue: list[Event] = []  # what waits in the spool
        self.litter = 0
        self.copied = self.picture(layout.PUBLISHED)
        # DAGMan: its number, what became of each node, and what it has to run again.
        self.dagman, self.alive, self.job = 1, False, 100
        self.at: dict[str, str] = {}
        self.retry: dict[str, int] = {}
        self.jobs: dict[str, list[str]] = {}
        self.verdicts: dict[str, str] = {}
        self.again: list[Event] = []
        self.past: list[Event] = []
        self.latest: dict[str, Event] = {}

    def teardown(self) -> None:
        self.patch.undo()
        self.base.cleanup()

    # DAGMan

    @initialize(told=st.booleans())
    def begin(self, told: bool) -> None:
        """The campaign is submitted."""
        self.submit(told)

    @precondition(lambda self: not self.alive and self.submittable())
    @rule(told=st.booleans())
    def submit(self, told: bool) -> None:
        """A DAGMan begins, the first or one that goes on with what is not done; the command line tells the hooks, or dies first."""
        self.alive, first = True, not self.at
        self.dagman += 1
        if told:
            create.record_submitted(self.folder, self.dagman, resumed=not first)
            self.queue.append({**BASE, "phase": "control", "dag_id": f"{self.dagman}.0"})
        self.at = {node: state if state == "done" else "ready" for node, state in self.at.items()} or dict.fromkeys(
            ABOUT, "ready"
        )
        self.retry, self.jobs, self.again, self.past = dict.fromkeys(ABOUT, 0), {}, [], []

    def submittable(self) -> bool:
        return not self.at or any(state != "done" for state in self.at.values())

    def ready(self) -> list[str]:
        """Nodes whose parents are done and whose PRE may run."""
        found = []
        for node, (iteration, file) in ABOUT.items():
            parents = [n for n, (i, f) in ABOUT.items() if (i == iteration and f >= 0 > file) or i == iteration - 1]
            if self.at.get(node) == "ready" and all(self.at[parent] == "done" for parent in parents):
                found.append(node)
        return found

    def running(self) -> list[str]:
        return [node for node, state in self.at.items() if state == "running"]

    def waits(self, node: str) -> bool:
        """Whether a script of the node was killed with DAGMan, and must run again first."""
        return any(event["node"] == node for event in self.again)

    @precondition(lambda self: self.alive and self.ready())
    @rule(pick=PICK, fares=FARES, recovers=st.booleans())
    def pre(self, pick: int, fares: str, recovers: bool) -> None:
        """PRE of a node."""
        node = self.ready()[pick % len(self.ready())]
        self.at[node] = "pre"
        self.script({**self.about(node), "phase": "pre", "retry": self.retry[node]}, fares, recovers)

    @precondition(lambda self: self.alive and self.running())
    @rule(pick=PICK, ret=st.sampled_from([0, 0, 61, 61, 1, -9]), verdict=PICK, fares=FARES, recovers=st.booleans())
    def post(self, pick: int, ret: int, verdict: int, fares: str, recovers: bool) -> None:
        """POST of a node whose job has ended."""
        node = self.running()[pick % len(self.running())]
        self.at[node] = "post"
        event = {**self.about(node), "phase": "post", "retry": self.retry[node], "max_retries": RETRIES, "ret": ret}
        event |= {"job_id": self.jobs[node][-1], "outcome": "failed" if ret else "succeeded", "reason": "because"}
        event |= {"exit": {0: 0, 61: FATAL}.get(ret, 1), "fatal": ret == 61}
        iteration, file = ABOUT[node]
        if file < 0 and ret == 0:
            possible = ("limit" if iteration == ITERATIONS[-1] else "go_on", "converged", "diverged", "starved")
            # It follows from the metrics: a script that runs again, and a job that does, find the same.
            name = self.verdicts.setdefault(
                f"{node} {self.dagman}", possible[verdict % 6 if verdict % 6 < len(possible) else 0]
            )
            event |= {"verdict": name, "moves": name, "verdict_reason": "so", "criteria": "[]", "metrics": "{}"}
            event["exit"] = {"go_on": 0, "limit": 0, "converged": CONVERGED}.get(name, FATAL)
        self.script(event, fares, recovers)

    @precondition(lambda self: self.alive and (self.ready() or self.running()))
    @rule(steps=PICK)
    def a_quiet_while(self, steps: int) -> None:
        """Some scripts run, and nothing happens to them: so stories reach later iterations."""
        for _ in range(1 + steps // 3):
            if self.running():
                self.post(0, 0, 0, WELL, recovers=False)
            elif self.ready():
                self.pre(0, WELL, recovers=False)

    @precondition(lambda self: self.alive and any(not self.waits(node) for node in self.jobs))
    @rule(pick=PICK, when=st.sampled_from("89"), reason=st.sampled_from(["quota", "quota", "memory"]), fares=FARES)
    def hold(self, pick: int, when: str, reason: str, fares: str) -> None:
        """HOLD of a job, also long after its end."""
        nodes = [node for node in self.jobs if not self.waits(node)]
        node = nodes[pick % len(nodes)]
        job = self.jobs[node][0 if pick > 8 else -1]
        event = {**self.about(node), "phase": "hold", "job_id": job, "hold_time": when, "reason": reason}
        self.run(event, fares)  # DAGMan does not care how it ends

    @precondition(lambda self: self.alive and self.again)
    @rule(pick=PICK, fares=FARES, recovers=st.booleans())
    def recover(self, pick: int, fares: str, recovers: bool) -> None:
        """DAGMan was killed with its script, and runs it again."""
        self.script(self.again.pop(pick % len(self.again)), fares, recovers)

    @precondition(lambda self: self.alive and self.past)
    @rule(pick=PICK, fares=FARES)
    def repeat(self, pick: int, fares: str) -> None:
        """A script runs a second time, and finds the answer of the first: a POST also when its node has gone on."""
        event = self.past[pick % len(self.past)]
        if event["phase"] == "post" or event is self.latest[event["node"]]:
            self.run(event, fares)

    @precondition(lambda self: self.alive and self.at)
    @rule(removed=st.integers(0, 9), fares=FARES, recovers=st.booleans())
    def final(self, removed: int, fares: str, recovers: bool) -> None:
        """DAGMan ends: all is done, a node has failed, it was ended early, or it was removed."""
        if "aborted" in self.at.values():
            status = 3
        elif all(state == "done" for state in self.at.values()):
            status = 0
        elif "failed" in self.at.values() and not self.ready() and not self.running():
            status = 2
        elif removed:
            return
        else:
            status = 4
        self.alive = False
        event = {**BASE, "dag_id": f"{self.dagman}.0", "phase": "final", "node": "final", "dag_status": status}
        event["exit"] = 0 if status in (0, 3) else status
        if self.run(event, fares) is None and recovers:
            assert self.run(event, WELL) is not None
        if status == 3:
            self.at = dict.fromkeys(self.at, "done")

    def about(self, node: str) -> Event:
        return {**BASE, "dag_id": f"{self.dagman}.0", "node": node}

    def script(self, event: Event, fares: str, recovers: bool) -> None:
        """Run a PRE or a POST as DAGMan does, and let it go on from the answer."""
        self.latest[event["node"]] = event
        answer = self.run(event, fares)
        if answer is None and recovers:
            self.again.append(event)
            return
        if answer is not None:
            self.past.append(event)
        self.answered(event["node"], event["phase"], 1 if answer is None else answer)

    def answered(self, node: str, phase: str, answer: int) -> None:
        """What DAGMan makes of a script's exit status."""
        if phase == "pre" and answer == 0:
            self.at[node] = "running"
            self.job += 1
            self.jobs.setdefault(node, []).append(f"{self.job}.0")
        elif answer in (0, SKIP):
            self.at[node] = "done"
        elif answer == CONVERGED:
            self.at[node] = "aborted"
        elif answer == FATAL or self.retry[node] >= RETRIES:
            self.at[node] = "failed"
        else:
            self.at[node] = "ready"
            self.retry[node] += 1

    # The command line, and strangers

    @precondition(lambda self: self.queue)
    @rule(fares=st.sampled_from([WELL, AFTER_COMMIT, IN_TRANSACTION]))
    def take_what_waits(self, fares: str) -> None:
        """The spool is taken in without an event."""
        self.run(None, fares)

    @precondition(lambda self: self.litter < 2 or not (self.alive or self.submittable()))
    @rule()
    def drop_litter(self) -> None:
        """Something that is no event lies in the spool."""
        waiting = spool.waiting(self.folder)
        number = int(waiting[-1][: spool.DIGITS]) + 1 if waiting else 1_000_000 + self.litter
        Path(self.folder, layout.SPOOL, f"{number:0{spool.DIGITS}d}.json").write_text('{"phase": "po')
        self.litter += 1
        self.queue.append({"phase": "litter"})

    # The hook

    def run(self, event: Event | None, fares: str) -> int | None:
        """Let a hook run; returns its exit status, None if it was killed."""
        if fares in (LOCKED, SPOOLING):
            return self.run_locked(event, fares)
        deaths: dict[str, tuple[Any, str, Callable[..., Any]]] = {
            AFTER_COMMIT: (writer.spool, "remove", die),
            PUBLISHING: (publish.os, "rename", die),
        }
        if fares == IN_TRANSACTION:
            self.dies(lambda: database.transact(self.folder, self.dying_work(event)))
            return None
        if fares == AFTER_COMMIT:
            self.dies(lambda: writer.take(self.folder, event), deaths[fares])
            self.expect(event, files_stay=True)
            return None
        answer = writer.take(self.folder, None) if event is None else writer.record(self.folder, dict(event))
        assert answer == self.expect(event)
        if fares == PUBLISHING:
            self.dies(lambda: publish.publish(self.folder), deaths[fares])
            return None
        if fares == UNPUBLISHED:
            return None
        publish.publish(self.folder)
        self.copied = self.picture(layout.STATE)
        return answer

    def run_locked(self, event: Event | None, fares: str) -> int | None:
        """A hook that finds the store locked by a stranger, and leaves its event in the spool, or dies before."""
        assert event is not None
        with closing(sqlite3.connect(Path(self.folder, layout.STATE), isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            if fares == SPOOLING:
                self.dies(lambda: spool.put(self.folder, event), (spool.os, "link", die))
                return None
            assert writer.record(self.folder, dict(event)) == event["exit"]
        self.queue.append(event)
        return int(event["exit"])

    def dying_work(self, event: Event | None) -> Callable[[sqlite3.Connection], int]:
        def work(db: sqlite3.Connection) -> int:
            for name in spool.waiting(self.folder):
                writer.replay(db, self.folder, name)
            if event is not None:
                writer.apply(db, dict(event))
            die()

        return work

    def dies(self, what: Callable[[], object], where: tuple[Any, str, Callable[..., Any]] | None = None) -> None:
        """Do ``what`` in a process of its own, which is killed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about threads, which the child has no use for
            child = os.fork()
        if child == 0:
            try:
                if where:
                    setattr(*where)
                what()
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def expect(self, event: Event | None, *, files_stay: bool = False) -> int:
        """The same in the model: what waits is taken in once, then the event."""
        for waiting in self.queue:
            if waiting["phase"] == "litter":
                self.model.rows["campaign", "spooled", False] += 1
            elif waiting["phase"] != "taken":
                self.model.take(waiting)
        self.queue = [{"phase": "taken"} for _ in self.queue] if files_stay else []
        return 0 if event is None else self.model.take(event)

    # What must hold

    def picture(self, name: str) -> dict[str, Any]:
        """What a store says. Its bytes are read, since the lock of a stranger is none of a reader's business."""
        with closing(sqlite3.connect(":memory:")) as db:
            db.deserialize(Path(self.folder, name).read_bytes())
            assert verify.findings(db, files=False) == []
            attempts: dict[str, list[list[str]]] = {node: [] for node in ABOUT}
            for node, *rest in db.execute("SELECT node, dag_id, job_id, outcome FROM attempts ORDER BY node, attempt"):
                attempts[node].append(rest)
            counted = db.execute("SELECT node, attempts FROM nodes").fetchall()
            assert dict(counted) == {node: len(rows) for node, rows in attempts.items()}
            return {
                "campaign": db.execute("SELECT state, iteration, dag_id, lost FROM campaign").fetchone(),
                "nodes": dict(db.execute("SELECT node, state FROM nodes")),
                "attempts": attempts,
                "verdicts": dict(db.execute("SELECT iteration, verdict FROM iterations")),
                "rows": Counter(db.execute("SELECT subject, event, ignored = '' FROM history")),
                "messages": Counter(
                    db.execute(
                        "SELECT target, kind, iif(kind IN ('held', 'lost'), node, '') FROM outbox "
                        "JOIN history ON history.id = outbox.history_id"
                    )
                ),
            }

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        model = self.model
        assert self.picture(layout.STATE) == {
            "campaign": (model.state, model.iteration, model.dag, len(model.lost())),
            "nodes": model.nodes,
            "attempts": model.attempts,
            "verdicts": model.verdicts,
            "rows": model.rows,
            "messages": model.messages,
        }

    @invariant()
    def the_copy_is_as_the_last_hook_left_it(self) -> None:
        assert self.picture(layout.PUBLISHED) == self.copied

    @invariant()
    def what_waits_is_what_is_not_taken_in(self) -> None:
        waiting = spool.waiting(self.folder)
        assert len(waiting) == len(self.queue)
        for name, event in zip(waiting, self.queue, strict=True):
            if event["phase"] not in ("litter", "taken"):
                kept = json.loads(Path(self.folder, layout.SPOOL, name).read_text())
                assert (kept["phase"], kept["dag_id"]) == (event["phase"], event["dag_id"])


Stories.TestCase.settings = settings(
    max_examples=500 if SOAK else 30,
    stateful_step_count=60 if SOAK else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.timeout(7200 if SOAK else 300)
class TestStories(Stories.TestCase):  # type: ignore[misc, name-defined]
    """Whatever DAGMan does in whatever order, killed, repeated or locked out, the store is as the model says."""
