"""Test ``why`` and ``analyze``: explained decisions, and failures by kind; see also test_golden_screens.py."""

import json

import pytest
from commandline import Command

from faser_align.cli.show import draw, explain
from faser_align.operations import failures
from faser_align.state.logends import LogEnd


def test_why_of_an_earlier_iteration(command: Command) -> None:
    """why names the criteria that an earlier iteration did not meet."""
    found = json.loads(command("why", "converged", "--iteration", "2", "--json").out)
    assert (found["iteration"], found["verdict"]) == (2, "go_on")
    assert [c["name"] for c in found["criteria"] if not c["passed"]] == ["delta_chi2_per_parameter", "residual_shift"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("created",), "no iteration of created has a decision yet; the campaign is created"),
        (
            ("converged", "-i", "9"),
            "iteration 9 of stage 1 has no decision in converged; those with one are 1, 2, 3, 4",
        ),
        (("converged", "--validation"), "converged has no validation result; its state is converged"),
        (("converged", "--validation", "-i", "1"), "--validation explains no iteration"),
        (("converged", "--validation", "--stage", "1"), "--validation explains no iteration"),
    ],
)
def test_what_was_not_judged_is_said(command: Command, words: tuple[str, ...], said: str) -> None:
    """`why` for an iteration without a decision lists the iterations that have one."""
    assert said in command("why", *words, status=2).err


def test_failures_as_json(command: Command) -> None:
    """analyze has the nodes of each kind of failure, and the command that releases held jobs."""
    kinds = json.loads(command("analyze", "failed", "--json").out)["failures"]
    assert kinds[0]["attempts"][0]["node"].startswith("reco_s1")
    (step,) = json.loads(command("analyze", "held", "--json").out)["release"]
    assert step["command"].split()[-2:] == ["condor_release", "31.0"]


def test_failures_that_are_alike_are_one_text() -> None:
    """Thousands of holds are grouped by kind with its fix; texts that differ only in hosts are shown once."""
    on_hold = {f"{n}.0" for n in range(3000)}
    why = ["memory usage exceeded request_memory", "cannot send to slot1@wn{n:04d}.cern.ch", "quota used up"]
    row = {"attempt": 1, "utc": "", "state": "held", "event": "held", "ret": None}
    attempts = [
        failures.named(row | {"node": f"n{n}", "job_id": f"{n}.0", "why": why[n % 3].format(n=n)}, {}, on_hold)
        for n in range(3000)
    ]
    memory, others = failures.kinds(attempts)[::-1]
    assert (memory.name, len(memory.attempts)) == ("on hold: memory", 1000)
    assert "more memory" in memory.cure
    assert (others.name, len(others.attempts)) == ("on hold", 2000)
    said = draw.text(explain.analysis({"name": "c", "state": "failed", "reason": ""}, [others], {})).splitlines()
    assert [line for line in said if "said" in line] == [
        "  said: cannot send to slot1@wn0001.cern.ch",
        "  said: quota used up",
    ]
    logs = {"n1": LogEnd("/logs/n1.log", ("no geometry",), "ERROR first")}
    told = draw.text(explain.analysis({"name": "c", "state": "failed", "reason": ""}, [others], logs)).splitlines()
    at = told.index("  end of the log of n1 (those of 1,999 other nodes are left out), /logs/n1.log:")
    assert (told[at - 1], told[at + 1]) == ("  last error in the log of n1: ERROR first", "    | no geometry")
