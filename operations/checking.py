"""Define the input of ``check`` and how a check ends."""

from typing import NamedTuple

from faser_align.config.schema import Config
from faser_align.fsm.errors import UserError


class Check(NamedTuple):
    """One check.

    ``result`` is ``ok``, ``warning``, ``failed``, or ``skipped`` if it does not apply; ``details`` has the single
    parts, such as each raw file with its size.
    """

    name: str
    result: str
    text: str
    details: tuple[str, ...] = ()


class CheckContext(NamedTuple):
    """Input of the checks: the configuration, and the data if given (else 0, empty, none).

    ``name`` is that of the campaign; ``iterations`` is the sum over its stages.
    """

    config: Config
    iterations: int
    year: int = 0
    run: str = ""
    files: tuple[int, ...] = ()
    name: str = ""


class Doubt(Exception):
    """Raised for a warning."""


class Failed(UserError):
    """Raised if a campaign cannot work, with the single parts."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details
