"""Test ``notify retry``, ``set`` and ``stop --after``, with and without a pool."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command
from receivers import write_targets
from stored import history, seen

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_record, write_record
from faser_align.config.stages import stages_of
from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import forking, limits, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.pool.personal import Pool
from faser_align.state import outbox, queries, spool, verify, writer

NODE = layout.reco_node(1, 1, 400)


def rows(folder: str) -> list[tuple[str, str, int]]:
    """Return the outbox: target, state and tries of each message."""
    return [(row["target"], row["state"], row["tries"]) for row in seen(folder, queries.outbox)]


def told(folder: str, event: str) -> list[dict[str, Any]]:
    """Return the payloads of the history's rows with this event."""
    return [row["facts"] for row in history(folder, event)]


@pytest.fixture
def failed(tmp_path: Path) -> dict[str, Any]:
    """Provide a failed campaign that notified nobody, because the targets file has no such name."""
    targets = write_targets(tmp_path / "targets.toml")
    notify = {"targets": ["me", "group"], "file": str(targets), "events": ["end"]}
    record = make_campaign(tmp_path / "c", files=1, config={"notify": notify})
    hook("pre", record["folder"], NODE, 0, 2)
    assert hook("final", record["folder"], "final", 2, 1).returncode == 2
    return record


@pytest.fixture
def mailbox(tmp_path: Path, failed: dict[str, Any]) -> Iterator[Mailbox]:
    """Provide a mail server for one of the targets; the other stays unknown."""
    with Mailbox(tmp_path / "mail") as found:
        write_targets(Path(failed["targets_file"]), me=found.url("me@example.org"))
        yield found


def test_retry_when_no_hook_comes(pool: Pool, failed: dict[str, Any], mailbox: Mailbox, plain_command: Command) -> None:
    """Without a DAGMan the command delivers: messages given up get new attempts, sent ones are not repeated."""
    folder = failed["folder"]
    while (claimed := outbox.claim(folder, final=True)) and claimed.target == "me":
        outbox.mark(folder, claimed, "refused")
    assert claimed
    outbox.mark(folder, claimed, "refused")
    left = plain_command("notify", "retry", folder, status=1)
    assert "failed to me: accepted\n" in left.out
    assert "failed to group: refused: " in left.out
    assert len(mailbox.messages()) == 1
    assert {(target, state) for target, state, _ in rows(folder)} == {("me", "sent"), ("group", "pending")}

    again = plain_command("notify", "retry", folder, "--target", "me")
    assert (again.status, again.err) == (0, "")
    assert "has no pending message to me" in again.out
    assert len(mailbox.messages()) == 1
    unknown = plain_command("notify", "retry", folder, "--target", "nobody", status=2)
    assert "--target nobody: not a recipient" in unknown.err
    (asked,) = told(folder, "notify_retried")
    assert (asked["target"], asked["messages"]) == ("", 2)
    assert seen(folder, verify.findings) == []


def test_retry_while_a_hook_may_come(
    failed: dict[str, Any], mailbox: Mailbox, plain_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is unknown whether a script will run, the request is queued, and ingested only once."""
    monkeypatch.setenv("FASER_ALIGN_POOL", str(tmp_path / "no-pool"))
    folder = failed["folder"]
    left = plain_command("notify", "retry", folder, "--target", "me", status=0)
    assert "cannot tell whether a script will run: no pool in" in left.err
    assert mailbox.messages() == []
    (name,) = spool.waiting(folder)
    wish = spool.read(folder, name)
    assert writer.take(folder, None) == 0
    writer.take(folder, wish)
    without_dagman.deliver(folder)
    assert len(mailbox.messages()) == 1
    assert len(told(folder, "notify_retried")) == 1


def test_a_retried_message_names_the_pool(
    tmp_path: Path, plain_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that a command sends leads to the same pool as the command, not to the default one."""
    with Mailbox(tmp_path / "mail") as mailbox:
        targets = write_targets(
            tmp_path / "targets.toml", me="mailto://127.0.0.1:1?from=a@example.org&to=b@example.org"
        )
        notify = {"targets": ["me"], "file": str(targets), "events": ["held"]}
        folder = make_campaign(tmp_path / "c", files=1, config={"notify": notify})["folder"]
        hook("pre", folder, NODE, 0, 2)
        assert hook("hold", folder, NODE, "13.0", 0).returncode == 0
        write_targets(targets, me=mailbox.url("me@example.org"))
        monkeypatch.setenv("FASER_ALIGN_POOL", str(tmp_path / "my-pool"))
        without_dagman.deliver(folder)
        (letter,) = mailbox.messages()
    body = letter.get_body(("plain",))
    assert body
    assert f"CONDOR_CONFIG={tmp_path}/my-pool/condor_config condor_release 13.0" in body.get_content()


def test_set_changes_what_hooks_judge_by(tmp_path: Path, plain_command: Command) -> None:
    """The next decision uses the new limit; the submitted manifest stays; the history has user, key and time."""
    record = make_campaign(tmp_path / "c", files=2, config={"notify": {"file": str(tmp_path / "none")}})
    folder = record["folder"]
    assert run_iteration(record, 1) == 0
    tried = plain_command("set", folder, "convergence.patience=1", "--dry-run")
    assert tried.out == "convergence.patience: 2 -> 1\n\nnothing was changed (--dry-run)\n"
    assert changes.read(folder) == []
    plain_command(
        "set", folder, "convergence.patience=1", "reconstruction.min_files=0.5", "notify.events=held, end", status=0
    )
    again = plain_command("set", folder, "convergence.patience=1")
    assert again.out == "convergence.patience: is 1 already\n"
    assert read_record(folder)["config"]["convergence"]["patience"] == 1
    assert json.loads((tmp_path / "c" / layout.RECORD).read_text())["config"]["convergence"]["patience"] == 2
    assert [run_iteration(record, i) for i in (2, 3)] == [0, 42]
    made = told(folder, "changed")
    assert [(one["key"], one["before"], one["after"]) for one in made] == [
        ("convergence.patience", 2, 1),
        ("reconstruction.min_files", 1.0, 0.5),
        ("notify.events", ["held", "lost", "end"], ["held", "end"]),
    ]
    assert all(one["who"] for one in made)
    row = seen(folder, queries.campaign)
    assert row["lost_max"] == 1
    assert "lost" not in row["messages"]
    assert seen(folder, verify.findings) == []
    said = plain_command("history", folder, "--campaign-only").out
    assert "convergence.patience: 2 -> 1, by " in said
    ended = plain_command("set", folder, "convergence.patience=3", status=2)
    assert "has converged, so its limits have no effect any more" in ended.err


def test_changes_at_the_same_time_follow_each_other(tmp_path: Path) -> None:
    """Each of several changes of a key records the previous value."""
    folder = make_campaign(tmp_path / "c", files=1)["folder"]
    with ThreadPoolExecutor(4) as threads, alone(folder):
        made = [threads.submit(limits.change, folder, [f"convergence.patience={n}"]) for n in range(3, 7)]
        time.sleep(0.2)  # most of them wait for the lock then
    known = [2, *(one["after"] for one in changes.read(folder))]
    assert [one["before"] for one in changes.read(folder)] == known[:-1]
    assert sorted(one.result()[0]["after"] for one in made) == [3, 4, 5, 6]


def test_set_changes_the_criteria_of_one_stage(tmp_path: Path, plain_command: Command) -> None:
    """A stage's own criteria can be changed, others stay; unknown stages, criteria and values are refused."""
    own = {"name": "first", "convergence": {"patience": 1}}
    stages = {"stages": [own, {"name": "second"}], "notify": {"file": str(tmp_path / "none")}}
    folder = make_campaign(tmp_path / "c", files=1, config=stages)["folder"]
    common = plain_command("set", folder, "convergence.patience=4", "--dry-run")
    assert "stage 'first' has its own patience" in common.err
    assert "change it as stages.1.convergence.patience" in common.err
    done = plain_command("set", folder, "stages.1.convergence.patience=3", "stages.2.convergence.rules=effect")
    assert (done.status, done.err) == (0, "")
    assert "stages.1.convergence.patience: 1 -> 3\n" in done.out
    assert "stages.2.convergence.rules: delta_chi2_per_parameter, residual_shift -> residual_shift\n" in done.out
    changed = read_record(folder)
    assert [stage["convergence"] for stage in changed["stages"]] == [{"patience": 3}, {"rules": ["residual_shift"]}]
    assert changed["config"]["convergence"]["patience"] == 2
    again = plain_command("set", folder, "stages.1.convergence.patience=3")
    assert again.out == "stages.1.convergence.patience: is 3 already\n"
    assert hook("pre", folder, NODE, 0, 2).returncode == 0
    assert [one["key"] for one in told(folder, "changed")] == [
        "stages.1.convergence.patience",
        "stages.2.convergence.rules",
    ]
    for wrong, said in (
        ("stages.3.convergence.patience=3", "has no stage 3; its stages are 1 to 2"),
        ("stages.1.convergence.pateince=3", "did you mean convergence.patience?"),
        ("stages.1.convergence.patience=0", "set: stage 1: convergence.patience = 0 is not allowed"),
        ("stages.1.iterations=3", "add iterations with `faser-align extend"),
        ("stages.first.convergence.patience=3", "the criteria of a stage, counted from 1, can"),
    ):
        assert said in plain_command("set", folder, wrong, status=2).err
    assert seen(folder, verify.findings) == []


def test_a_fork_has_the_criteria_that_were_set(tmp_path: Path, plain_command: Command) -> None:
    """A fork uses criteria that `set` changed for one stage, also if the stage is one of several repetitions."""
    values = {"stages": [{"name": "all", "convergence": {"patience": 3}}], "campaign": {"repeat": 2}}
    record = make_campaign(tmp_path / "c", files=1, config=values)
    folder = record["folder"]
    run_iteration(record, 1)
    assert forking.find(folder, None, None).config()[1].campaign.repeat == 2
    plain_command("set", folder, "stages.2.convergence.patience=1", "convergence.min_iterations=2", status=0)
    config = forking.find(folder, None, None).config()[1]
    assert config.convergence.min_iterations == 2
    assert [(stage["name"], stage["convergence"]) for stage in stages_of(config)] == [
        ("all (1 of 2)", {"patience": 3}),
        ("all (2 of 2)", {"patience": 1}),
    ]


def test_set_knows_criteria_that_a_record_lacks(tmp_path: Path, plain_command: Command) -> None:
    """A criterion that an older manifest lacks has its default before it is set, also for a stage."""
    record = make_campaign(tmp_path / "c", files=1, config={"notify": {"file": str(tmp_path / "none")}})
    del record["config"]["convergence"]["remaining_sigma_max"]
    write_record(f"{record['folder']}/{layout.RECORD}", record)
    for key in ("convergence.remaining_sigma_max", "stages.1.convergence.remaining_sigma_max"):
        tried = plain_command("set", record["folder"], f"{key}=0.3", "--dry-run")
        assert tried.out.startswith(f"{key}: 0.2 -> 0.3\n"), tried.err


def test_targets_that_change_while_a_campaign_runs(
    failed: dict[str, Any], mailbox: Mailbox, plain_command: Command
) -> None:
    """Earlier messages keep their recipients; ``verify`` knows the recipients at any time."""
    folder = failed["folder"]
    assert plain_command("set", folder, "notify.targets=me").status == 0
    assert hook("final", folder, "final", 4, 0, dag_id="13.0").returncode == 4
    assert [target for target, _, _ in rows(folder)] == ["me", "group", "me"]
    assert [letter["Subject"].split()[2] for letter in mailbox.messages()] == ["failed", "removed"]
    assert seen(folder, verify.findings) == []


def test_a_change_that_never_reached_the_spool_is_told_later(tmp_path: Path, plain_command: Command) -> None:
    """A change whose command was killed before it was queued applies, and the next ``set`` adds it to the history."""
    folder = make_campaign(tmp_path / "c", files=1)["folder"]
    assert plain_command("set", folder, "convergence.patience=1").status == 0
    spool.remove(folder, spool.waiting(folder))
    assert plain_command("set", folder, "convergence.patience=1").status == 0
    assert len(spool.waiting(folder)) == 1
    assert plain_command("set", folder, "convergence.patience=1").status == 0
    assert len(spool.waiting(folder)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("convergence.residual_shift_um_max",), "is not KEY=VALUE"),
        (("=1",), "'=1' is not KEY=VALUE"),
        (("convergence.patience=2",), "set: convergence.patience is given twice; give it once"),
        (("convergence.require=any\nx=1",), 'set: convergence.require = "any\\nx=1" is not allowed'),
        (("convergence.effect_um_max=-1",), "set: convergence.residual_shift_um_max = -1 is not allowed: it must be"),
        (("convergence.residual_shift_um=1",), "did you mean convergence.residual_shift_um_max?"),
        (("convergence=1",), "is a table; name one of its keys"),
        (("mille.chi2_max=100",), "cannot be changed: the submitted DAG and its jobs contain it"),
        (("convergence.rules=significance,fast",), "set: convergence.rules[2] = "),
        (("notify.targets=nobody",), "notify.targets: 'nobody' is not in"),
    ],
)
def test_what_set_refuses(words: tuple[str, ...], said: str, failed: dict[str, Any], plain_command: Command) -> None:
    """An invalid key or value gives one sentence with the fix, and none of the keys is changed."""
    assert said in plain_command("set", failed["folder"], "convergence.patience=1", *words, status=2).err
    assert changes.read(failed["folder"]) == []


def test_stop_after_an_iteration_halts_before_the_next(tmp_path: Path, plain_command: Command) -> None:
    """The iteration's Millepede POST writes DAGMan's halt file; the campaign ends as removed, with the user's name."""
    record = make_campaign(tmp_path / "c", files=1)
    folder = record["folder"]
    hook("pre", folder, NODE, 0, 2)
    assert plain_command("stop", folder, "--after", "iteration").status == 0
    assert "was already requested" in plain_command("stop", folder, "--after", "iteration").out
    assert plain_command("stop", folder, "--after", "never").status == 0
    assert plain_command("stop", folder, "--after", "iteration").status == 0
    halt = Path(layout.newest_dag(folder) + layout.ENDING_HALT)
    assert not halt.exists()
    assert run_iteration(record, 1) == 0
    assert halt.exists()
    assert hook("final", folder, "final", 6, 0).returncode == 6
    assert not Path(folder, layout.STOP).exists()
    assert [one["after"] for one in told(folder, "stop_asked")] == ["iteration", "never", "iteration"]
    (end,) = told(folder, "final_removed")
    assert end["reason"].endswith(" asked to stop after the iteration")
