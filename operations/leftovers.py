"""Find and remove large files that a campaign no longer needs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import table
from faser_align.fsm.errors import UserError
from faser_align.operations import lifecycle
from faser_align.state import queries

TRACKS, MILLE, PARTIAL = "tracks", "Mille files", "unfinished files"
Key = TypeVar("Key")


class Leftover(NamedTuple):
    """A file that may be removed: its kind, its iteration (``iteration 2``), and its size in bytes."""

    what: str
    whose: str
    path: str
    size: int


def find(folder: str, record: Manifest, *, keep: int, mille: bool) -> list[Leftover]:
    """Return the removable files of the campaign in ``folder``, in the order of its iterations.

    Only judged iterations are considered: a retry, ``resume`` and ``extend`` need none of their large files, and
    constants, metrics and logs always stay.

    Args:
        folder: the campaign's folder.
        record: its manifest.
        keep: number of latest judged iterations that keep everything.
        mille: whether Mille binaries may be removed, too; without them no solution can be repeated.

    Raises:
        UserError: Mille files are requested while the campaign may still need them, or the folder is a copy of a campaign.
        StoreError: the snapshot cannot be read.
    """
    lifecycle.refuse_copy(folder, record)
    with queries.published(folder) as db:
        state = queries.campaign_now(db, folder)["state"]
        judged = [(row["stage"], row["iteration"]) for row in queries.iterations(db) if row["verdict"]]
        validated = bool(queries.validation(db).get("verdict"))
    ended = state in table.ENDS
    if mille and not ended:
        raise UserError(
            f"{record['name']} is {state}, and every iteration compares the momenta stored with its Mille files; "
            "wait until it ends, or omit --mille"
        )
    over = judged[: max(0, len(judged) - keep)]
    halves = [(layout.VALIDATION, half) for half in (layout.BEFORE, layout.AFTER)] if validated and ended else []
    return [found for stage, number in [*over, *halves] for found in _of(record, stage, number, mille=mille)]


def _of(record: Manifest, stage: int, number: int, *, mille: bool) -> Iterator[Leftover]:
    place = f"{layout.iteration_folder(record['data'], stage, number)}/{layout.KFALIGNMENT}"
    whose = os.path.dirname(place).removeprefix(record["data"]).lstrip("/")
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        what = kind(entry.name)
        if not what or (what == MILLE and not mille) or not entry.is_file(follow_symlinks=False):
            continue
        try:
            size = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # a job has removed it meanwhile
            continue
        yield Leftover(what, whose, entry.path, size)


def kind(name: str) -> str:
    """Return the kind of a file in ``2kfalignment``; empty for a foreign file."""
    if name.startswith(".") and name.endswith(".tmp"):
        return PARTIAL
    if name.startswith("kfalignment_") and name.endswith(".root"):
        return TRACKS
    if name.startswith("mp2input_") and name.endswith(
        (".bin", ".bin.json", ".histograms.npz", ".momenta.npy", ".sums")
    ):
        return MILLE
    return ""


def totals(sizes: Iterable[tuple[Key, int]]) -> list[tuple[Key, int, int]]:
    """Return for each key the number of files and the sum of their sizes, in the order of the keys' first files."""
    sums: dict[Key, tuple[int, int]] = {}
    for key, size in sizes:
        count, total = sums.get(key, (0, 0))
        sums[key] = (count + 1, total + size)
    return [(key, *of) for key, of in sums.items()]


def remove(found: Sequence[Leftover]) -> tuple[list[Leftover], list[str]]:
    """Remove the files; return those that are gone, and a sentence for each one that stays. A missing file is not an error."""
    gone, problems = [], []
    for item in found:
        try:
            Path(item.path).unlink(missing_ok=True)
            gone.append(item)
        except OSError as error:
            problems.append(f"{item.path} stays: {error.strerror}")
    return gone, problems
