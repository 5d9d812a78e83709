"""The command line as tests run it."""

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


# Runs the command line with some words.
Command = Callable[..., Result]
