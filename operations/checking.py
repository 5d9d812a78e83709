"""The words of ``check``: what it looks at, and how a look ends."""

from typing import NamedTuple

from faser_align.config.schema import Config
from faser_align.fsm.errors import UserError


class Check(NamedTuple):
    """One thing that was looked at.

    ``result`` is ``ok``, ``warning``, ``failed``, or ``skipped`` where there is nothing to look at; ``details`` has the
    single parts, such as each raw file with its size.
    """

    name: str
    result: str
    text: str
    details: tuple[str, ...] = ()


class Look(NamedTuple):
    """What is looked at: the configuration, and the data if they were named (else 0, empty, none).

    ``name`` is that of the campaign; ``iterations`` the sum over its stages.
    """

    config: Config
    iterations: int
    year: int = 0
    run: str = ""
    files: tuple[int, ...] = ()
    name: str = ""


class Doubt(Exception):
    """What is no error but should be known."""


class Skipped(Exception):
    """There is nothing to look at; the text says why."""


class Failed(UserError):
    """What cannot work, with its single parts."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details
