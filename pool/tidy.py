"""Stop a pool that was left running: ``tidy.main(FOLDER)``, or ``tidy.main(FOLDER, OURS)`` unless others use it.

With OURS, a folder of campaigns that may be removed, a pool with jobs from elsewhere in its queue keeps running, and a
folder of something else, which FASER_ALIGN_POOL may name, is refused.
Standard library only, so that ``make clean`` works without the virtual environment.
"""

import sys
from pathlib import Path

from faser_align.fsm.errors import CampaignError
from faser_align.pool import personal
from faser_align.system.read import text_of

_DESTROYED, _SET = "102", "103"  # records of HTCondor's job queue log, such as: 103 12.0 Iwd "/folder"


def main(pool: str, ours: str | None = None) -> None:
    """Stop the pool in folder ``pool``; exit with status 1 and a sentence if it must keep running."""
    folder = Path(pool)
    if ours is not None and _is_other(folder):
        sys.exit(f"{folder} was not removed: it has no pool; check FASER_ALIGN_POOL")
    foreign = [] if ours is None else [where for where in queued(folder) if not where.is_relative_to(ours)]
    if foreign:
        sys.exit(f"the pool in {folder} was not removed: its queue contains jobs of {foreign[0]}")
    try:
        personal.stop(folder)
    except CampaignError as error:
        sys.exit(str(error))


def _is_other(folder: Path) -> bool:
    """Return whether a folder has files, but not those of a pool."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return bool(names - {personal.LOCK}) and personal.CONFIG not in names


def queued(pool: Path) -> list[Path]:
    """Return the folders from which the jobs in the pool's queue were submitted, whether or not the pool runs."""
    folders: dict[str, str] = {}
    for line in text_of(pool / "spool" / "job_queue.log").splitlines():
        kind, _, rest = line.partition(" ")
        key, _, rest = rest.partition(" ")
        name, _, value = rest.partition(" ")
        if kind == _DESTROYED:
            folders.pop(key, None)
        elif kind == _SET and name == "Iwd":
            folders[key] = value.strip('"')
    return sorted({Path(folder) for folder in folders.values()})
