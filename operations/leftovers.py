"""Large files of a campaign that nothing needs any more: which they are, and their removal."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import table
from faser_align.fsm.errors import UserError
from faser_align.state import queries

TRACKS, MILLE, PARTIAL = "tracks", "Mille files", "unfinished files"


class Leftover(NamedTuple):
    """A file that may go: what it is, whose it is (``iteration 2``), and its size in bytes."""

    what: str
    whose: str
    path: str
    size: int


def find(folder: str, record: Manifest, *, keep: int, mille: bool) -> list[Leftover]:
    """What may be removed from the campaign in ``folder``, in the order of its iterations.

    Only iterations that were judged are looked at: a retry, ``resume`` and ``extend`` need none of their large files, since
    the constants, metrics and logs are not among them.

    Args:
        folder: the campaign's.
        record: its ``campaign.json``.
        keep: of how many judged iterations, the latest ones, everything stays.
        mille: whether the Mille binaries may go, too; without them no solution can be repeated.

    Raises:
        UserError: Mille files are asked for while the campaign may still compare with them.
        StoreError: the published copy cannot be read.
    """
    with queries.published(folder) as db:
        state = queries.campaign_now(db, folder)["state"]
        judged = [(row["stage"], row["iteration"]) for row in queries.iterations(db) if row["verdict"]]
        validated = bool(queries.validation(db).get("verdict"))
    ended = state in table.ENDS
    if mille and not ended:
        raise UserError(
            f"{record['name']} is {state}, and the momenta beside its Mille files are compared in every iteration; "
            "wait for its end, or leave --mille out"
        )
    over = judged[: len(judged) - keep] if keep else judged
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
        except FileNotFoundError:  # a job has tidied up meanwhile
            continue
        yield Leftover(what, whose, entry.path, size)


def kind(name: str) -> str:
    """What a file of ``2kfalignment`` is; empty for one that is none of ours."""
    if name.startswith(".") and name.endswith(".tmp"):
        return PARTIAL
    if name.startswith("kfalignment_") and name.endswith(".root"):
        return TRACKS
    if name.startswith("mp2input_") and name.endswith((".bin", ".bin.json", ".momenta.npy")):
        return MILLE
    return ""


def totals(found: Sequence[Leftover]) -> list[tuple[str, str, int, int]]:
    """(whose, what, number of files, bytes), in the order found."""
    sums: dict[tuple[str, str], list[int]] = {}
    for item in found:
        entry = sums.setdefault((item.whose, item.what), [0, 0])
        entry[0] += 1
        entry[1] += item.size
    return [(whose, what, count, size) for (whose, what), (count, size) in sums.items()]


def remove(found: Sequence[Leftover]) -> list[str]:
    """Remove the files; returns a sentence for each that stays. One that is gone already is no error."""
    problems = []
    for item in found:
        try:
            Path(item.path).unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"{item.path} stays: {error.strerror}")
    return problems
