"""Move a campaign's large files, comparing each copy before the manifest refers to it and the old file is removed.

If killed at any moment it leaves complete files: in the old place until the manifest names the new one. Repeating the
command continues it.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from faser_align.campaign import changes, layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.dag.paths import check_path, check_steering
from faser_align.fsm.errors import StoreError, UserError
from faser_align.operations import dagman, leftovers, lifecycle, limits, snapshot, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.state import queries
from faser_align.system import atomic, formatting

CHUNK = 8 << 20  # bytes per read
TELL_S = 10.0  # between two progress messages


class File(NamedTuple):
    """A file to move: its iteration (``iter02``), old and new path, its size (bytes) and modification time (ns)."""

    whose: str
    source: str
    target: str
    size: int
    changed_ns: int


class Move(NamedTuple):
    """The files of a campaign that move from ``source`` to ``target``, and a sentence for each old file that stays."""

    name: str
    source: str
    target: str
    files: tuple[File, ...]
    stay: tuple[str, ...] = ()


def move(
    folder: str,
    directory: str,
    *,
    keep: bool = False,
    dry_run: bool = False,
    planned: Callable[[Move], None] = lambda _: None,
    progress: Callable[[str], None] = lifecycle.ignore,
) -> Move:
    """Move the large files of the campaign in ``folder`` to a folder of its name in ``directory``.

    Args:
        folder: the campaign.
        directory: target, an existing folder.
        keep: keep the old files.
        dry_run: only return what would be moved.
        planned: called with the plan before the first file is copied.
        progress: called with a sentence every ten seconds.

    Returns:
        The plan, with a sentence for each file in the old place that could not be removed.

    Raises:
        UserError: the campaign runs or may run, or its files cannot be there; nothing was changed.
        StoreError: something cannot be read or written; the campaign uses the old place unless the text says otherwise.
    """
    record = lifecycle.require_original_folder(folder)
    target = _target(record, directory)
    with contextlib.nullcontext() if dry_run else alone(folder):
        if not dry_run:
            lifecycle.await_departure(record, snapshot.state_now(folder))
            dagman.refuse_second(record, "move", "its jobs would write to the folder that move empties")
            record = lifecycle.require_original_folder(folder)
        source = _source(record, target)
        files = _files(record, source, target)
        plan = Move(record["name"], source, target, tuple(files))
        planned(plan)
        if dry_run:
            return plan
        begins = source == record["data"]
        if begins:
            _copy_all(record, files, target, progress)
        _lead_there(record, target)
        stay = [] if keep else _remove(record, files, source, compared=begins)
    return plan._replace(stay=tuple(stay))


def _target(record: Manifest, directory: str) -> str:
    """Return the target folder of the files; raise UserError if they cannot be there."""
    place = os.path.abspath(directory)
    target = os.path.join(place, record["name"])
    real = os.path.realpath(target)
    if not os.path.isdir(place):
        raise UserError(f"{place} is not a folder; create it with `mkdir -p`, or name another one")
    if f"{real}/".startswith("/tmp/"):
        raise UserError(f"{target} is under /tmp, which execute nodes cannot read; name a folder on EOS or AFS")
    for inside, what in (
        (record["data"], "the current folder of the large files"),
        (record["folder"], "the campaign's folder"),
    ):
        if real.startswith(f"{os.path.realpath(inside)}/"):
            raise UserError(f"{target} is in {inside}, {what}; name a folder outside of it")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{place}: cannot write; name a folder that you may write to")
    check_path(target, "the data folder")
    check_steering(target, "the data folder")
    return target


def _source(record: Manifest, target: str) -> str:
    """Return the source folder; if the manifest names ``target`` already, the source of that unfinished move."""
    if os.path.realpath(record["data"]) != os.path.realpath(target):
        return str(record["data"])
    moves = [one for one in changes.read(record["folder"]) if one["key"] == changes.DATA]
    if not moves:
        raise UserError(f"the large files of {record['name']} are already in {target}; name another folder")
    return str(moves[-1]["before"])


def _files(record: Manifest, source: str, target: str) -> list[File]:
    """Return the files to move, in the order of their iterations; raise UserError for anything but a file."""
    found = []
    for whose, here, there in _folders(record, source, target):
        for entry in _entries(here):
            if not entry.is_file():
                raise UserError(f"{entry.path} is not a regular file; move or remove it yourself")
            state = entry.stat()
            found.append(File(whose, entry.path, f"{there}/{entry.name}", state.st_size, state.st_mtime_ns))
    return found


def _folders(record: Manifest, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    """Yield (iteration, folder, new folder) for each folder of large files."""
    for stage, number in layout.iterations(record):
        here, there = (layout.iteration_folder(root, stage, number) for root in (source, target))
        yield here.removeprefix(f"{source}/"), f"{here}/{layout.KFALIGNMENT}", f"{there}/{layout.KFALIGNMENT}"


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return a folder's entries by name, without temporary files of interrupted jobs and moves; empty if missing."""
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot read: {error.strerror}; check its permissions, then try again") from None
    return [entry for entry in found if leftovers.kind(entry.name) != leftovers.PARTIAL]


def _check_room(record: Manifest, files: Sequence[File], target: str) -> None:
    """Raise UserError if there is no room for the files, or if a foreign file is in the target."""
    ours = {file.target for file in files}
    for _, _, there in _folders(record, record["data"], target):
        foreign = next((entry.path for entry in _entries(there) if entry.path not in ours), "")
        if foreign:
            raise UserError(f"{foreign} does not belong to the campaign; remove it, or name another folder")
    needed = sum(file.size for file in files if not os.path.exists(file.target))
    free = shutil.disk_usage(os.path.dirname(target)).free
    if needed > free:
        raise UserError(
            f"{os.path.dirname(target)} has {formatting.bytes_of(free)} free, and the files need {formatting.bytes_of(needed)}; "
            "free space, or name another folder"
        )


def _copy_all(record: Manifest, files: Sequence[File], target: str, progress: Callable[[str], None]) -> None:
    """Copy the missing files; raise UserError for foreign files, StoreError for files that cannot be copied."""
    file, total, done, told = None, sum(file.size for file in files), 0, time.monotonic()
    try:
        _check_room(record, files, target)
        with atomic.closed_to_others():
            for _, here, there in _folders(record, record["data"], target):
                if os.path.isdir(here):  # otherwise no job has used the iteration
                    os.makedirs(there, exist_ok=True)
                    _remove_partial(there)
        for count, file in enumerate(files, start=1):
            _copy(file)
            done += file.size
            if time.monotonic() - told >= TELL_S:
                told = time.monotonic()
                amount = f"{formatting.bytes_of(done)} of {formatting.bytes_of(total)}"
                progress(f"{file.whose}: {count:,} of {len(files):,} files, {amount}")
        for folder in sorted({os.path.dirname(file.target) for file in files}):
            atomic.sync(folder)
    except OSError as error:
        what = f"cannot copy {file.source} to {file.target}" if file else f"cannot create {target}"
        raise StoreError(
            f"{what}: {error.strerror}; the campaign still uses the old files. Remove the cause, then try again"
        ) from None


def _copy(file: File) -> None:
    """Copy one file, compare it, and rename it; an existing copy is only compared."""
    if os.path.lexists(file.target):
        if os.path.samefile(file.source, file.target):
            raise UserError(f"{file.target} and {file.source} are the same file; name another folder")
        if _sha256(file.target) != _sha256(file.source):
            raise UserError(
                f"{file.target} already exists and differs from {file.source}; remove it, or name another folder"
            )
        return
    with atomic.temporary(file.target) as name:
        digest = hashlib.sha256()
        with open(file.source, "rb") as source, open(name, "xb") as target:
            while block := source.read(CHUNK):
                digest.update(block)
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
            # Compare with the disk or the server, not with memory.
            os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if _sha256(name) != digest.hexdigest() or not _is_unchanged(file):
            raise StoreError(
                f"the copy {file.target} differs from {file.source}; the campaign still uses the old files. Try again"
            )


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_unchanged(file: File) -> bool:
    state = os.stat(file.source)
    return (state.st_size, state.st_mtime_ns) == (file.size, file.changed_ns)


def _lead_there(record: Manifest, target: str) -> None:
    """Write the new place to manifest, state database and snapshot; skip steps that were done before."""
    folder, known = record["folder"], changes.read(record["folder"])
    if record["data"] != target:
        known.append(limits.new_change(changes.DATA, record["data"], target))
        changes.write(folder, known)
    limits.record_changes(folder, known)
    without_dagman.take_in(folder)
    with queries.published(folder) as db:
        said = queries.campaign(db)["data"]
    if said != target:
        raise StoreError(
            f"the large files of {record['name']} are in {target}, but its state database cannot be written and says {said}; nothing "
            f"was removed. See {folder}/{layout.HOOKS_LOG}, then try again"
        )


def _remove(record: Manifest, files: Sequence[File], source: str, *, compared: bool) -> list[str]:
    """Remove old files with a complete copy, and empty folders; return a sentence for each that stays."""
    stay = []
    for file in files:
        try:
            if _is_unchanged(file) if compared else _is_copied(file):
                os.unlink(file.source)
            else:
                stay.append(f"{file.source} was not removed: {file.target} differs from it")
        except OSError as error:
            stay.append(f"{file.source} stays: {error.filename}: {error.strerror}")
    for _, here, _ in _folders(record, source, source):
        with contextlib.suppress(OSError):
            _remove_partial(here)
            os.rmdir(here)
            # A separate data folder is removed after its last iteration; its parent is not.
            parent = os.path.dirname(here)
            while source != record["folder"] and f"{parent}/".startswith(f"{source}/"):
                os.rmdir(parent)
                parent = os.path.dirname(parent)
    return stay


def _is_copied(file: File) -> bool:
    return not os.path.samefile(file.source, file.target) and _sha256(file.target) == _sha256(file.source)


def _remove_partial(folder: str) -> None:
    """Remove temporary files of interrupted jobs and moves from a folder."""
    for name in os.listdir(folder):
        if leftovers.kind(name) == leftovers.PARTIAL:
            os.unlink(f"{folder}/{name}")
