"""Test the next command for every state and message."""

import re
from pathlib import Path
from typing import Any

import pytest

from faser_align.campaign.next_steps import NEXT, Step, next_steps
from faser_align.fsm import table

README = Path(__file__).parents[2] / "README.md"


def _steps(state: str, constants: str | None = "/my last.txt", **more: Any) -> list[Step]:
    return next_steps(state, command="./fa", name="a b", constants=constants, start="/start.txt", **more)


@pytest.mark.parametrize("state", [*table.STATES, *table.MESSAGES.values(), "unheard of"])
def test_every_state_and_message_has_a_next_step(state: str) -> None:
    """The first step is only a command about the campaign, as the user calls the program, with names quoted."""
    first, *others = _steps(state, None)
    assert first.words.startswith("next")
    assert re.fullmatch(r"\./fa (watch|status|resume|metrics|report|solve) 'a b'", first.command)
    assert all(step.words for step in others)


def test_constants_to_go_on_from() -> None:
    """An imported campaign continues from its latest constants, or from its initial ones without a result."""
    assert _steps("imported")[1].words.endswith("submit --constants '/my last.txt'")
    assert _steps("imported", None)[1].words.endswith("--constants /start.txt")
    assert "/start.txt" in _steps("rejected")[1].words


def test_campaigns_that_their_state_does_not_describe() -> None:
    """A copy is named by its folder, nothing of it or of an import is resumed, and what the user has is not advised again."""
    assert [step.command for step in _steps("running", copy="/a/b")] == ["./fa metrics /a/b", ""]
    assert _steps("failed", imported=True) == _steps("imported")
    assert _steps("reconstructed") == _steps("solved") != _steps("reconstructed", None)
    assert _steps("converged", reported=True)[0].command == _steps("converged")[1].command
    assert _steps("failed", reported=True) == _steps("failed")


def test_a_starved_campaign_may_have_drifted() -> None:
    """The next steps of a starved campaign name more files, and what to do if the constants drifted instead."""
    _, files, drift = _steps("starved")
    assert "more files" in files.words
    assert "freeze_sigma" in drift.words


@pytest.mark.parametrize("state", table.ENDS)
def test_the_readme_says_the_same(state: str) -> None:
    """The README's row of an end state has the commands of the table, in the same order."""
    commands = re.findall(r"\{command\} (\w+(?: export)?)", " ".join(step.command for step in NEXT[state]))
    row = next(line for line in README.read_text().splitlines() if line.startswith("| `") and f"`{state}`" in line)
    assert (
        re.findall(r"`(?:faser-align )?(status|resume|metrics|report|solve|submit|extend|constants export)\b", row)
        == commands
    )
