"""What to type next after every state and every message."""

import re
from pathlib import Path

import pytest

from faser_align.config.nextsteps import NEXT, next_step
from faser_align.fsm import table

README = Path(__file__).parents[2] / "README.md"


def _step(state: str, constants: str | None = "/my last.txt") -> str:
    return next_step(state, command="./fa", name="a b", constants=constants, start="/start.txt")


@pytest.mark.parametrize("state", [*table.STATES, *table.MESSAGES.values(), "unheard of"])
def test_every_state_and_message_has_a_next_step(state: str) -> None:
    """It begins with a command about the campaign, as the user calls the program, with names quoted."""
    assert re.match(r"\./fa (watch|status|resume|metrics|report|solve) 'a b'($|   \()", _step(state))


def test_constants_to_go_on_from() -> None:
    """An imported campaign goes on from its latest constants, or from those at its start if it found none."""
    assert _step("imported").endswith("(to go on from here: ./fa submit --constants '/my last.txt' ...)")
    assert "--constants /start.txt" in _step("imported", None)
    assert "/start.txt" in _step("rejected")


@pytest.mark.parametrize("state", table.ENDS)
def test_the_readme_says_the_same(state: str) -> None:
    """The row of an end state has the commands of the table, in the table's order."""
    commands = re.findall(r"\{command\} (\w+(?: export)?)", NEXT[state])
    row = next(line for line in README.read_text().splitlines() if line.startswith("| `") and f"`{state}`" in line)
    assert (
        re.findall(r"`(?:faser-align )?(status|resume|metrics|report|solve|submit|extend|constants export)\b", row)
        == commands
    )
