"""What a message shows, before it is laid out: the fields that templates are given, the user's own too."""

from dataclasses import dataclass
from typing import NamedTuple

from faser_align.campaign.next_steps import Step

PARTS = ("numbers", "urgent", "iterations", "losses", "weak", "details")  # of a message, in their usual order


class Words(NamedTuple):
    """What an event's template sets: the subject, what the event means, its colour, and the order of the parts."""

    subject: str
    meaning: str
    tone: str = "info"
    parts: tuple[str, ...] = PARTS


class Limits(NamedTuple):
    """How much of long lists and texts is shown: entries of each list, lines of each log, characters of a reason."""

    items: int = 8
    log_lines: int = 20
    sentence: int = 500


@dataclass(frozen=True)
class Change:
    """A quantity now and one iteration before; ``before`` is empty in the first iteration."""

    label: str
    now: str
    before: str


@dataclass(frozen=True)
class Item:
    """A node or a file with what befell it; ``count`` of them if the same befell several.

    ``log`` is the end of the job's own log; ``error`` its last line with ERROR or FATAL, if that comes before ``log``.
    ``logged`` says whose log it is where there are several, and where the others are.
    """

    name: str
    why: str
    cure: str = ""
    log: tuple[str, ...] = ()
    count: int = 1
    logged: str = ""
    error: str = ""


@dataclass(frozen=True)
class Listing:
    """A list, cut if it is long, with its full length; ``rest`` says how many entries are not shown."""

    title: str
    items: tuple[Item, ...]
    count: int

    @property
    def rest(self) -> str:
        """The sentence for what was cut, or nothing."""
        hidden = self.count - sum(item.count for item in self.items)
        return f"and {hidden:,} more" if hidden > 0 else ""


@dataclass(frozen=True)
class Table:
    """The iterations; ``note`` says how many earlier ones are not shown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


@dataclass(frozen=True)
class View:
    """All that a template shows; every text is one line free of control characters.

    ``parts`` are the names of the parts that follow the sentence, in their order. ``urgent`` asks for a deed (failed and
    held nodes), ``weak`` are directions that the data leave open and that were moved. ``light`` is the tone as a coloured circle,
    ``page`` the address of the published page. ``steps`` is what to type next, each command by itself, and ``next`` the first
    command of it that begins with "next".
    """

    campaign: str
    headline: str
    state: str
    tone: str
    sentence: str
    progress: str
    changes: tuple[Change, ...]
    table: Table
    urgent: tuple[Listing, ...]
    losses: tuple[Listing, ...]
    weak: tuple[Listing, ...]
    details: tuple[tuple[str, str], ...]
    page: str
    steps: tuple[Step, ...]
    next: str
    footer: str
    parts: tuple[str, ...]
    light: str
