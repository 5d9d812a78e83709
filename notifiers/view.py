"""Define what a message shows before rendering: the fields available to templates, including the user's."""

from dataclasses import dataclass
from typing import NamedTuple

from faser_align.campaign.next_steps import Step

PARTS = ("numbers", "urgent", "iterations", "losses", "weak", "details")  # of a message, in their default order


class Words(NamedTuple):
    """Values that an event's template sets: the subject, the event's meaning, the tone, and the order of the parts."""

    subject: str
    meaning: str
    tone: str = "info"
    parts: tuple[str, ...] = PARTS


class Limits(NamedTuple):
    """Maximum lengths: entries of each list, lines of each log, characters of a reason."""

    items: int = 8
    log_lines: int = 20
    sentence: int = 500


@dataclass(frozen=True)
class Change:
    """A quantity now and one iteration earlier; ``before`` is empty in the first iteration."""

    label: str
    now: str
    before: str


@dataclass(frozen=True)
class Item:
    """A node or file with its problem."""

    name: str
    why: str
    cure: str = ""
    log: tuple[str, ...] = ()  # the end of the job's own log
    count: int = 1  # of nodes or files with the same problem
    logged: str = ""  # the job of the log if there are several, and where the other logs are
    error: str = ""  # the log's last line with ERROR or FATAL, if that comes before ``log``


@dataclass(frozen=True)
class Listing:
    """A list, possibly cut, with its full length."""

    title: str
    items: tuple[Item, ...]
    count: int
    literal: bool = True  # names of files and nodes, shown as code

    @property
    def rest(self) -> str:
        """Sentence about the entries not shown, or empty."""
        hidden = self.count - sum(item.count for item in self.items)
        return f"and {hidden:,} more" if hidden > 0 else ""


@dataclass(frozen=True)
class Table:
    """A table with the sentence below it, if any; ``words`` is the column that is aligned to the left."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""
    words: int = 0


@dataclass(frozen=True)
class View:
    """Everything that a template shows; every text is one line free of control characters."""

    campaign: str
    headline: str
    state: str
    tone: str
    quality: str  # the sentence about the constants
    sentence: str
    progress: str
    changes: tuple[Change, ...]
    grades: tuple[Listing, ...]  # what of the quality is not good
    validation: Table
    table: Table
    urgent: tuple[Listing, ...]  # nodes that need action: failed and held
    losses: tuple[Listing, ...]
    weak: tuple[Listing, ...]  # modes along which the correction moved
    details: tuple[tuple[str, str], ...]
    page: str  # address of the published page
    steps: tuple[Step, ...]  # the commands to type next
    next: str  # the first of them
    footer: str
    parts: tuple[str, ...]  # names of the parts after the first sentence, in order
    light: str  # the tone as a coloured circle
