"""Test decisions, and the state database, against a plain model under random DAGMan behaviour, killed scripts and locks.

Hypothesis generates the story; ``campaignmodel.Model`` defines the campaign's state after each step. Most stories are played
in memory, with the decisions of ``fsm.reduce``; some also with a state database, which must have the rows of memory.
"""

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import memory
import pytest
from campaignmodel import ANSWERS, CONVERGED, FATAL, NO_JOB, SKIP, TOGETHER, Attempt, Event, Letter, Model, Row
from campaigns import make_campaign
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory import Memory, comparable, rows_of
from properties import SOAK, examples
from taking import stages

from faser_align.campaign import layout
from faser_align.fsm import next_message
from faser_align.state import control_requests, create, database, outbox, publish, spool, verify, writer

FILES, ITERATIONS, RETRIES, TARGETS = (400, 401), ((1, 1), (1, 2), (2, 1)), 1, ("me", "you")
STAGES = max(ITERATIONS)[0]
ABOUT = {layout.reco_node(*at, file): (*at, file) for at in ITERATIONS for file in FILES}
ABOUT |= {layout.mille_node(*at): (*at, -1) for at in ITERATIONS}
BASE = {"utc": "2026-11-24T08:00:00.000Z", "host": "ap", "exit": 0}
TEMPLATE = tempfile.TemporaryDirectory()
RECORD = make_campaign(
    Path(TEMPLATE.name, "campaign"),
    files=len(FILES),
    config={
        "stages": stages(*Counter(stage for stage, _ in ITERATIONS).values()),
        "reconstruction": {"min_files": 0.5},
        "notify": {"targets": list(TARGETS), "events": ["end", "held", "lost"]},
    },
)
KEPT = (layout.STATE, layout.PUBLISHED)

# Outcomes of a script. Most are normal, so that campaigns advance.
WELL, UNPUBLISHED, LOCKED = "well", "dies before it publishes", "finds the store locked"
IN_TRANSACTION, AFTER_COMMIT = "dies before COMMIT", "dies before it removes queued files"
PUBLISHING, SPOOLING = "dies while it publishes", "finds the database locked and dies before its event is queued"
AWAY = "finds the store locked and no spool"
TAKEN = {"phase": "taken"}  # in place of an event whose script was killed before it removed the file
USUAL = "as is usual in this story"
TROUBLES = [LOCKED, UNPUBLISHED, IN_TRANSACTION, AFTER_COMMIT, PUBLISHING, SPOOLING, AWAY]
FARES = st.sampled_from([WELL] * 8 + [USUAL] * 5 + [LOCKED, AWAY, *TROUBLES])
PICK = st.integers(0, 11)
QUIET = st.integers(0, 2 * len(ABOUT) - 6)  # scripts

# Malformed files in the event queue: a truncated event, a foreign file, one that fails half-way.
BROKEN = {**BASE, "phase": "final", "dag_id": "9999999.0", "node": "final"}
LITTER = ('{"phase": "po', "[]", json.dumps(BROKEN), json.dumps({**BROKEN, "phase": "pre", "node": "nobody"}))
SENT, REFUSED, KILLED = "sent", "refused", "killed before it says what became of it"

DAGMANS = 6
EITHER, SELDOM = st.booleans(), st.sampled_from([False, False, True])
# Random values of each step. A single rule chooses among them, because hypothesis disables too many of several rules.
STEPS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "submit": {"told": EITHER},
    "a_quiet_while": {"steps": PICK, "verdict": PICK},
    "pre": {"pick": PICK, "fares": FARES, "recovers": EITHER},
    "succeeds": {"pick": PICK, "verdict": PICK, "fares": FARES, "recovers": EITHER},
    "fails": {"pick": PICK, "ret": st.sampled_from([61, 61, 1, -9, None]), "fares": FARES, "recovers": EITHER},
    "hold": {
        "pick": PICK,
        "when": st.sampled_from("89"),
        "reason": st.sampled_from(["quota", "quota", "memory"]),
        "fares": FARES,
    },
    "recover": {"pick": PICK, "fares": FARES, "recovers": EITHER},
    "repeat": {"pick": PICK, "fares": FARES},
    "final": {"fares": FARES, "recovers": EITHER, "stays": SELDOM},
    "removed": {"status": st.sampled_from([4, 4, 6, None]), "fares": FARES, "recovers": EITHER, "stays": SELDOM},
    "take_what_waits": {"fares": st.sampled_from([WELL, AFTER_COMMIT, IN_TRANSACTION])},
    "drop_litter": {"what": st.sampled_from(LITTER), "ahead_s": st.sampled_from([0, 0, 10])},
    "tell_others": {"after": st.sampled_from([["me"], ["you", "me"], []])},
    "ask_to_deliver": {"who": st.sampled_from(["", "me"])},
    "deliver": {
        "final": EITHER,
        "unresponsive": st.sampled_from([(), (), ("me",)]),
        "fate": st.sampled_from([SENT, REFUSED, KILLED]),
        "times": st.integers(1, 7),
    },
}
USUALLY = st.sampled_from([WELL] * 4 + [LOCKED, AWAY, *TROUBLES])
MOODS = st.fixed_dictionaries({name: st.sampled_from([1, 1, 3, 0]) for name in STEPS})


def die(*_: object, **__: object) -> NoReturn:
    """End this process as SIGKILL does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Queued:
    """A campaign in memory with its event queue: the plain model, or rows that ``fsm.reduce`` moves."""

    def __init__(self, take: Callable[[Event], int], set_aside: Callable[[], None]) -> None:
        self.take, self.set_aside = take, set_aside
        self.queue: list[Event] = []

    def run(self, event: Event | None, fares: str) -> int | None:
        """Run a script with the outcome ``fares``; return its exit status, None if it was killed before that."""
        if event and fares in (LOCKED, SPOOLING, AWAY):
            self.queue += [event] * (fares == LOCKED)
            return None if fares == SPOOLING else int(event["exit"])
        if fares == IN_TRANSACTION:
            return None
        for waiting in self.queue:
            if waiting["phase"] == "litter":
                self.set_aside()
            elif waiting != TAKEN:
                self.take(waiting)
        self.queue = [TAKEN] * len(self.queue) if fares == AFTER_COMMIT else []
        answer = self.take(event) if event else 0
        return None if fares == AFTER_COMMIT else answer


class InMemory(Queued):
    """A campaign in memory, moved by the decisions of ``fsm``."""

    def __init__(self) -> None:
        nodes = [(node, layout.parse_node(node)[0], *about) for node, about in ABOUT.items()]
        self.rows = Memory(1, nodes, TARGETS)
        self.rows.history.append(("", "campaign", "", "created", "created", "", 0, 0, "", 0, "", "", "", {}))
        super().__init__(self.rows.take, lambda: self.rows.note("spooled", "not an event"))
        self.requests = 0

    def put(self, event: Event) -> None:
        self.requests += 1
        self.queue.append(event if "dag_id" in event else {"id": f"{self.requests}", "who": "me", **event})

    def claim(self, *, final: bool, unresponsive: tuple[str, ...]) -> outbox.Claim | None:
        ids = tuple(self.rows.claim(final=final, unresponsive=unresponsive))
        letters = [self.rows.outbox[row] for row in ids]
        if not letters:
            return None
        return outbox.Claim(ids, (), letters[0].target, letters[0].kind, max(one.tries for one in letters), 0)

    def mark(self, claimed: outbox.Claim, *, sent: bool) -> None:
        self.rows.mark(claimed.ids, sent=sent)

    def picture(self) -> dict[str, Any]:
        """Return the campaign's content for readers."""
        rows, now = self.rows, self.rows.campaign
        return {
            "campaign": tuple(now[key] for key in ("state", "stage", "iteration", "stages_done", "dag_id", "lost")),
            "nodes": {name: (node["state"], node["reason"]) for name, node in rows.nodes.items()},
            "attempts": {
                name: [Attempt(one["dag_id"], one["job_id"], one["outcome"]) for one in attempts]
                for name, attempts in rows.attempts.items()
            },
            "verdicts": rows.iterations,
            "rows": Counter(Row(row[1], row[3], not row[5], row[6:8], *row[9:12]) for row in rows.history),
            "letters": [
                Letter(one.target, one.kind, rows.history[one.history_id][8] if one.kind in TOGETHER else "", *rest)
                for one, *rest in zip(rows.outbox, rows.states, (one.tries for one in rows.outbox), strict=True)
            ],
        }


class OnDisk:
    """A campaign's folder with its state database and the real scripts, and the same campaign in memory."""

    def __init__(self) -> None:
        self.base = tempfile.TemporaryDirectory()
        self.folder = self.base.name
        for name in KEPT:
            shutil.copy(Path(RECORD["folder"], name), self.folder)
        Path(self.folder, layout.SPOOL).mkdir()
        self.copied = _picture(Path(self.folder, layout.PUBLISHED).read_bytes())
        self.memory = InMemory()

    def put(self, event: Event) -> None:
        """Queue an event, or a malformed file, perhaps from a machine whose clock is ahead."""
        if event["phase"] == "litter":
            now_us = time.time_ns() // 1000 + event["ahead_s"] * 1_000_000
            number = max([int(name[: spool.DIGITS]) + 1 for name in spool.waiting(self.folder)] + [now_us])
            Path(self.folder, layout.SPOOL, f"{number:0{spool.DIGITS}d}.json").write_text(event["what"])
        elif "dag_id" in event:
            create.record_submitted(self.folder, int(float(event["dag_id"])), resumed=event["event"] == "resumed")
        else:
            about: Any = {key: value for key, value in event.items() if key not in (*BASE, "phase", "event")}
            control_requests.put(self.folder, event["event"], about)
        self.memory.put(event)

    def run(self, event: Event | None, fares: str) -> int | None:
        """Run a script with the outcome ``fares``; return its exit status, None if it was killed before that."""
        answer = self.script(event, fares)
        assert answer == self.memory.run(event, fares)
        return answer

    def script(self, event: Event | None, fares: str) -> int | None:
        if fares in (LOCKED, SPOOLING, AWAY):
            return self.script_locked(event, fares)
        if fares == IN_TRANSACTION:
            self.dies(lambda: database.transact(self.folder, self.dying_work(event)))
            return None
        if fares == AFTER_COMMIT:
            self.dies(lambda: writer.take(self.folder, event), (writer.spool, "remove", die))
            return None
        answer = writer.take(self.folder, None) if event is None else writer.record(self.folder, dict(event))[0]
        if fares == PUBLISHING:
            self.dies(lambda: publish.publish(self.folder), (publish.os, "rename", die))
        elif fares == WELL:
            publish.publish(self.folder)
            self.copied = _picture(Path(self.folder, layout.STATE).read_bytes())
        return answer

    def script_locked(self, event: Event | None, fares: str) -> int | None:
        """Run a script while another process has the lock: it queues its event, fails to, or is killed first."""
        assert event is not None
        with closing(sqlite3.connect(Path(self.folder, layout.STATE), isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            if fares == SPOOLING:
                self.dies(lambda: spool.put(self.folder, event), (spool.os, "link", die))
                return None
            place = Path(self.folder, layout.SPOOL)
            if fares == AWAY:
                place = place.rename(place.with_name("elsewhere"))
                Path(self.folder, layout.SPOOL).touch()
            answer = writer.record(self.folder, dict(event))[0]
            if fares == AWAY:
                Path(self.folder, layout.SPOOL).unlink()
                place.rename(Path(self.folder, layout.SPOOL))
        return answer

    def dying_work(self, event: Event | None) -> Callable[[sqlite3.Connection], int]:
        def work(db: sqlite3.Connection) -> int:
            for name in spool.waiting(self.folder):
                writer.replay(db, self.folder, name)
            if event is not None:
                writer.apply(db, dict(event))
            die()

        return work

    def dies(self, what: Callable[[], object], where: tuple[Any, str, Callable[..., Any]] | None = None) -> None:
        """Run ``what`` in its own process, which is killed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about threads, which the child does not use
            child = os.fork()
        if child == 0:
            try:
                if where:
                    setattr(*where)
                what()
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def claim(self, *, final: bool, unresponsive: tuple[str, ...]) -> outbox.Claim | None:
        claimed = outbox.claim(self.folder, final=final, unresponsive=unresponsive)
        self.claimed = self.memory.claim(final=final, unresponsive=unresponsive)
        ours, theirs = (one and (len(one.ids), one.target, one.kind, one.tries) for one in (self.claimed, claimed))
        assert ours == theirs
        return claimed

    def mark(self, claimed: outbox.Claim, *, sent: bool) -> None:
        outbox.mark(self.folder, claimed, None if sent else "no")
        assert self.claimed
        self.memory.mark(self.claimed, sent=sent)

    def picture(self) -> dict[str, Any]:
        """Return the content of the database, which is that of memory; the snapshot is as the last script left it."""
        store = Path(self.folder, layout.STATE).read_bytes()
        rows = self.memory.rows
        history, processed = rows_of(store)
        assert history == [comparable(*row[1:12], row[13]) for row in rows.history]
        assert processed == {(*key, status) for key, status in rows.processed.items() if key[3] != "control"}
        assert self.memory.picture() == _picture(store)
        assert self.copied == _picture(Path(self.folder, layout.PUBLISHED).read_bytes())
        waiting = spool.waiting(self.folder)
        for name, event in zip(waiting, self.memory.queue, strict=True):
            if event["phase"] != "litter" and event != TAKEN:
                kept = json.loads(Path(self.folder, layout.SPOOL, name).read_text())
                assert (kept["phase"], kept.get("dag_id")) == (event["phase"], event.get("dag_id"))
        return _picture(store)


class Stories(RuleBasedStateMachine):
    """DAGMan as its scripts see it, the scripts, the recipients, and the model."""

    World: type[InMemory | OnDisk] = InMemory

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(database, "BUSY_S_MAX", 0.0)
        self.patch.setattr(publish, "SHARE", 1)  # no publish interval
        self.patch.setattr(outbox, "BACKOFF_S", 86400.0)  # longer than the test, on any machine
        self.patch.setattr(next_message, "PAUSE_S", 0.0)
        self.world: Any = self.World()
        self.model = Model(ABOUT, targets=TARGETS, lost_max=1)
        self.queued = Queued(self.model.take, self.model.set_aside)
        self.litter, self.changes, self.asked = 0, 0, 0
        self.told = list(TARGETS)
        # DAGMan: its number, the state of each node, and what it must run again.
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
        if isinstance(self.world, OnDisk):
            self.world.base.cleanup()

    # DAGMan

    @initialize(told=EITHER, lost=SELDOM, quiet=QUIET, mood=MOODS, usual=USUALLY)
    def begin(self, told: bool, lost: bool, quiet: int, mood: dict[str, int], usual: str) -> None:
        """Submit the campaign, which may drop a file at once, and run some steps without faults."""
        self.mood, self.usual = mood, usual
        self.submit(told)
        if lost:
            self.pre(0, WELL, recovers=False)
            self.post(0, 61, 0, WELL, recovers=False)
        for _ in range(quiet):
            self.one_more(verdict=0)

    def submit(self, told: bool) -> None:
        """Start a DAGMan, the first or one that continues; the command line queues its event, or is killed first."""
        self.alive, first = True, not self.at
        self.dagman += 1
        if told:
            name = "submitted" if first else "resumed"
            self.put({**BASE, "phase": "control", "event": name, "dag_id": f"{self.dagman}.0"})
        self.at = {node: "done" if self.at.get(node) == "done" else "ready" for node in ABOUT}
        self.retry, self.jobs, self.again = dict.fromkeys(ABOUT, 0), {}, []
        self.past = [event for event in self.past if event["phase"] == "post"]  # also of the previous DAGMan

    def submittable(self) -> bool:
        return not self.at or any(state != "done" for state in self.at.values())

    def ready(self) -> list[str]:
        """Return nodes whose parents are done and whose PRE may run."""
        found = []
        for node, (*at, file) in ABOUT.items():
            parents = [n for n, (*a, f) in ABOUT.items() if a < at or (a == at and f >= 0 > file)]
            if self.at.get(node) == "ready" and all(self.at[parent] == "done" for parent in parents):
                found.append(node)
        return found

    def running(self) -> list[str]:
        return [node for node, state in self.at.items() if state == "running"]

    def waits(self, node: str) -> bool:
        """Return whether a script of the node was killed with DAGMan, and must run again first."""
        return any(event["node"] == node for event in self.again)

    @rule(data=st.data())
    def a_step(self, data: st.DataObject) -> None:
        """Do a possible step, with random frequencies in each story, some of them zero."""
        weights = self.possible()
        moody = {name: weight * self.mood[name] for name, weight in weights.items()}
        chosen = moody if any(moody.values()) else weights
        what = data.draw(st.sampled_from([name for name, weight in chosen.items() for _ in range(weight)]), "what")
        drawn = data.draw(st.fixed_dictionaries(STEPS[what]), what)
        getattr(self, what)(**{key: self.usual if value == USUAL else value for key, value in drawn.items()})

    def possible(self) -> dict[str, int]:
        """Return the possible steps, and their weights."""
        letters = {letter.state for letter in self.model.letters}
        runs, stuck = self.alive, not (self.alive or self.submittable())
        return {
            "submit": 6 * (not runs and not stuck),
            "pre": 4 * (runs and bool(self.ready())),
            "succeeds": 4 * (runs and bool(self.running())),
            "fails": 2 * (runs and bool(self.running())),
            "a_quiet_while": 2 * (runs and bool(self.ready() or self.running())),
            "hold": 3 * (runs and bool(self.with_jobs())),
            "recover": 4 * (runs and bool(self.again)),
            "repeat": 1 * (runs and bool(self.past)),
            "final": 6 * (runs and self.is_over()),
            "removed": 1 * (runs and self.dagman < DAGMANS),
            "take_what_waits": 1 * bool(self.queued.queue),
            "drop_litter": 1 * (self.litter < 2 or stuck),
            "tell_others": 1 * (self.changes < 2),
            "ask_to_deliver": 1 * (self.asked < 2 and bool(letters & {"failed", "pending"})),
            "deliver": 2 * bool(letters & {"claimed", "pending"}),
        }

    def pre(self, pick: int, fares: str, recovers: bool) -> None:
        """Run PRE of a node."""
        node = self.ready()[pick % len(self.ready())]
        self.at[node] = "pre"
        self.script({**self.about(node), "phase": "pre", "retry": self.retry[node]}, fares, recovers)

    def succeeds(self, pick: int, verdict: int, fares: str, recovers: bool) -> None:
        """Run POST of a node whose job succeeded."""
        self.post(pick, 0, verdict, fares, recovers)

    def fails(self, pick: int, ret: int | None, fares: str, recovers: bool) -> None:
        """Run POST of a node whose job failed for good (61) or not, or could not be submitted (None)."""
        self.post(pick, ret, 0, fares, recovers)

    def post(self, pick: int, ret: int | None, verdict: int, fares: str, recovers: bool) -> None:
        node = self.running()[pick % len(self.running())]
        self.at[node] = "post"
        job = NO_JOB if ret is None else self.jobs[node][-1]
        ret = -1 if ret is None else ret
        event = {**self.about(node), "phase": "post", "retry": self.retry[node], "max_retries": RETRIES, "ret": ret}
        event |= {"job_id": job, "outcome": "failed" if ret else "succeeded", "reason": f"it says {ret}" if ret else ""}
        event |= {"exit": {0: 0, 61: FATAL}.get(ret, 1), "fatal": ret == 61}
        stage, iteration, file = ABOUT[node]
        if file < 0 and ret == 0:
            limit = (stage, iteration + 1) not in ITERATIONS
            possible = ("limit" if limit else "go_on", "converged", "diverged", "starved")
            # It follows from the metrics: a repeated script or job finds the same.
            name = self.verdicts.setdefault(
                f"{node} {self.dagman}", possible[verdict % 6 if verdict % 6 < len(possible) else 0]
            )
            moves = "stage_finished" if stage < STAGES and name in ("limit", "converged") else name
            event |= {"verdict": name, "moves": moves, "verdict_reason": "so", "criteria": "[]", "metrics": "{}"}
            event["exit"] = ANSWERS.get(moves, FATAL)
        self.script(event, fares, recovers)

    def a_quiet_while(self, steps: int, verdict: int) -> None:
        """Run some scripts without faults, so that stories reach later iterations."""
        for _ in range(1 + steps // 4):
            self.one_more(verdict)

    def one_more(self, verdict: int) -> None:
        if self.ready():
            self.pre(0, WELL, recovers=False)
        elif self.running():
            self.post(0, 0, verdict, WELL, recovers=False)

    def with_jobs(self) -> list[str]:
        """Return nodes that have, or have had, a job."""
        return [node for node in self.jobs if not self.waits(node)]

    def hold(self, pick: int, when: str, reason: str, fares: str) -> None:
        """Run HOLD of a job that runs, or has ended."""
        pairs = [(node, job) for node in self.with_jobs() for job in self.jobs[node]]
        lively = [(node, job) for node, job in pairs if self.at[node] == "running"]  # also of an earlier job of theirs
        pairs = lively if lively and pick <= 8 else pairs
        node, job = pairs[-1 - pick % len(pairs)]
        event = {**self.about(node), "phase": "hold", "job_id": job, "hold_time": when, "reason": reason}
        self.run(event, fares)  # DAGMan ignores its exit status

    def recover(self, pick: int, fares: str, recovers: bool) -> None:
        """Kill DAGMan with its script, and run that again."""
        self.script(self.again.pop(pick % len(self.again)), fares, recovers)

    def repeat(self, pick: int, fares: str) -> None:
        """Repeat a script, which returns the first one's status: a POST also after its node has continued."""
        event = self.past[-1 - pick % len(self.past)]
        if (event["phase"] == "post" and event["job_id"] != NO_JOB) or event is self.latest[event["node"]]:
            self.run(event, fares)

    def final(self, fares: str, recovers: bool, stays: bool) -> None:
        """End DAGMan: all is done, a node has failed, or it was ended early."""
        self.ends(
            3 if "aborted" in self.at.values() else 2 if "failed" in self.at.values() else 0, fares, recovers, stays
        )

    def removed(self, status: int | None, fares: str, recovers: bool, stays: bool) -> None:
        """Remove or halt DAGMan, or kill it for good without FINAL (None)."""
        if status is None:
            self.alive = False
        else:
            self.ends(status, fares, recovers, stays)

    def is_over(self) -> bool:
        """Return whether DAGMan has nothing more to do."""
        return "aborted" in self.at.values() or not (self.again or self.ready() or self.running())

    def ends(self, status: int, fares: str, recovers: bool, stays: bool) -> None:
        """Run FINAL, twice if DAGMan was killed meanwhile; a DAGMan killed after it stays, and continues."""
        event = {**BASE, "dag_id": f"{self.dagman}.0", "phase": "final", "node": "final", "dag_status": status}
        event["exit"] = 0 if status in (0, 3) else status
        self.run(event, fares)
        if recovers:
            self.run(event, WELL)
        self.alive = stays
        if status == 3 and not stays:
            self.at = dict.fromkeys(self.at, "done")

    def about(self, node: str) -> Event:
        return {**BASE, "dag_id": f"{self.dagman}.0", "node": node}

    def script(self, event: Event, fares: str, recovers: bool) -> None:
        """Run a PRE or a POST as DAGMan does, and continue with its status."""
        self.latest[event["node"]] = event
        answer = self.run(event, fares)
        if answer is None and recovers:
            self.again.append(event)
            return
        if answer is not None and recovers:
            answer = self.run(event, WELL)  # DAGMan was killed before it recorded the status
        if answer is not None and (recovers or fares != AWAY):
            self.past.append(event)
        self.answered(event["node"], event["phase"], 1 if answer is None else answer)

    def answered(self, node: str, phase: str, answer: int) -> None:
        """Process a script's exit status as DAGMan does."""
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

    # Commands, and other programs

    def take_what_waits(self, fares: str) -> None:
        """Ingest the event queue without an event."""
        self.run(None, fares)

    def put(self, event: Event) -> None:
        self.queued.queue.append(event)
        self.world.put(event)

    def drop_litter(self, what: str, ahead_s: int) -> None:
        """Put a malformed file into the event queue."""
        self.litter += 1
        self.put({"phase": "litter", "what": what, "ahead_s": ahead_s})

    def tell_others(self, after: list[str]) -> None:
        """Change the recipients."""
        self.changes += 1
        change = {"key": "notify.targets", "before": self.told, "after": after}
        columns = {"columns": {"targets": json.dumps(after)}}
        self.put({**BASE, "phase": "control", "event": "changed", **change, **columns})
        self.told = after

    def ask_to_deliver(self, who: str) -> None:
        """Request another delivery."""
        self.asked += 1
        self.put({**BASE, "phase": "control", "event": "notify_retried", "target": who})

    def deliver(self, final: bool, unresponsive: tuple[str, ...], fate: str, times: int) -> None:
        """Lease messages and send them, try to, or be killed meanwhile."""
        for _ in range(times):
            claimed = self.world.claim(final=final, unresponsive=unresponsive)
            letters = self.model.claim(final=final, unresponsive=unresponsive)
            if claimed is None:
                assert not letters
                return
            assert {(one.target, one.kind) for one in letters} == {(claimed.target, claimed.kind)}
            assert (len(letters), max(one.tries for one in letters)) == (len(claimed.ids), claimed.tries)
            if fate == KILLED:
                return
            self.world.mark(claimed, sent=fate == SENT)
            self.model.mark(letters, sent=fate == SENT)

    def run(self, event: Event | None, fares: str) -> int | None:
        """Run a script; return its exit status, None if it was killed."""
        answer = self.world.run(event, fares)
        assert answer == self.queued.run(event, fares)
        return None if fares in (PUBLISHING, UNPUBLISHED) else answer

    @invariant()
    def the_campaign_is_as_the_model(self) -> None:
        model = self.model
        expected = {
            "campaign": (model.state, *model.at, model.finished, model.dag, len(model.lost())),
            "nodes": {node: (model.nodes[node], model.reasons[node]) for node in ABOUT},
            "attempts": model.attempts,
            "verdicts": model.verdicts,
            "rows": model.rows,
            "letters": model.letters,
        }
        assert self.world.picture() == expected


@lru_cache(maxsize=4)
def _picture(store: bytes) -> dict[str, Any]:
    """Return the database's content for readers, from its bytes, because locks do not matter to them; check that it is valid."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(store)
        assert verify.findings(db, files=False) == []
        attempts: dict[str, list[Attempt]] = {node: [] for node in ABOUT}
        for node, *rest in db.execute("SELECT node, dag_id, job_id, outcome FROM attempts ORDER BY node, attempt"):
            attempts[node].append(Attempt(*rest))
        counted = db.execute("SELECT node, attempts FROM nodes").fetchall()
        assert dict(counted) == {node: len(rows) for node, rows in attempts.items()}
        history = db.execute(
            "SELECT subject, event, ignored = '', stage, iteration, attempt, job_id, dag_id FROM history"
        )
        letters = db.execute(
            "SELECT o.target, o.kind, h.node, o.state, o.tries FROM outbox AS o JOIN history AS h ON h.id = o.history_id "
            "ORDER BY o.id"
        )
        return {
            "campaign": db.execute(
                "SELECT state, stage, iteration, stages_done, dag_id, lost FROM campaign"
            ).fetchone(),
            "nodes": {
                node: (state, reason) for node, state, reason in db.execute("SELECT node, state, reason FROM nodes")
            },
            "attempts": attempts,
            "verdicts": {
                (s, i): verdict for s, i, verdict in db.execute("SELECT stage, iteration, verdict FROM iterations")
            },
            "rows": Counter(
                Row(name, event, bool(moved), (s, i), *rest) for name, event, moved, s, i, *rest in history
            ),
            "letters": [
                Letter(target, kind, node if kind in TOGETHER else "", state, tries)
                for target, kind, node, state, tries in letters
            ],
        }


with tempfile.TemporaryDirectory() as _folder:
    make_campaign(
        Path(_folder, "campaign"),
        files=len(memory.FILES),
        config={
            "campaign": {"iterations": len(memory.ITERATIONS)},
            "reconstruction": {"min_files": 0.5},
            "notify": {"targets": ["me"], "events": ["end", "held", "lost"]},
        },
    )
    with closing(sqlite3.connect(Path(_folder, "campaign", layout.STATE))) as _made:
        EMPTY = _made.serialize()


@pytest.mark.slow
@settings(max_examples=examples(75))
@given(st.lists(memory.events(), max_size=40))
def test_a_sequence_of_events_leaves_the_database_as_it_leaves_memory(sequence: list[Event]) -> None:
    """The database is sound after every sequence of events, and its rows equal those in memory after the same
    changes."""
    rows = Memory()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.deserialize(EMPTY)
        assert [writer.apply(db, event) for event in sequence] == [rows.take(event) for event in sequence]
        assert verify.findings(db, files=False) == []
        now = db.execute("SELECT state, stage, iteration, stages, stages_done, lost_max, lost, dag_id FROM campaign")
        assert now.fetchone() == tuple(rows.campaign.values())[:-1]
        nodes = "SELECT node, kind, stage, iteration, file, state, attempts, reason FROM nodes ORDER BY node"
        assert db.execute(nodes).fetchall() == sorted(tuple(node.values()) for node in rows.nodes.values())
        history, processed = rows_of(db.serialize())
        assert history[1:] == [comparable(*row[1:12], row[13]) for row in rows.history]
        assert processed == {(*key, status) for key, status in rows.processed.items()}
        iterations = db.execute("SELECT stage, iteration, verdict FROM iterations").fetchall()
        assert iterations == sorted((*at, name) for at, name in rows.iterations.items())
        wanted = [kind for kind in rows.messages if kind not in ("submitted", "iteration")]
        assert [kind for (kind,) in db.execute("SELECT kind FROM outbox ORDER BY id")] == wanted


class StoriesOnDisk(Stories):
    """The same stories with a state database."""

    World = OnDisk


Stories.TestCase.settings = settings(
    max_examples=4000 if SOAK else 75,
    stateful_step_count=60 if SOAK else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
StoriesOnDisk.TestCase.settings = settings(Stories.TestCase.settings, max_examples=400 if SOAK else 8)


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 1800)
class TestStories(Stories.TestCase):  # type: ignore[misc, name-defined]
    """The decisions of ``fsm`` equal the model whatever DAGMan does in any order, killed, repeated or locked out."""


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 1800)
class TestStoriesOnDisk(StoriesOnDisk.TestCase):  # type: ignore[misc, name-defined]
    """The database has the rows of memory whenever scripts are killed or locked out, and the snapshot follows it."""
