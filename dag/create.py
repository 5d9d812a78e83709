"""Make a campaign's folder atomically: it is built under another name and renamed."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faser_align.campaign import layout
from faser_align.campaign.manifest import write_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.dag.plan import Plan, refuse_existing
from faser_align.dag.wrapper import has_wrapper, render_wrapper
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import closed_to_others, replacing

MakeStore = Callable[[str, Manifest], None]


@dataclass(frozen=True)
class Created:
    """A campaign that was just made: its folders, and those moved aside for them, as (now, before)."""

    folders: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]

    def undo(self) -> None:
        """Remove the new files, and move back those that were moved aside."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        for now, before in self.moved:
            os.rename(now, before)


def create_campaign(planned: Plan, make_store: MakeStore) -> Created:
    """Make the planned campaign's folder atomically.

    Args:
        planned: result of :func:`faser_align.dag.plan.plan`.
        make_store: called with the folder under construction and the manifest; makes the state database there.

    An existing folder is moved to ``<name>.old-<UTC>`` if the plan allows it. Raises UserError if a folder cannot be
    written or exists already.
    """
    folder, data = planned.folder, planned.data
    with (
        closed_to_others(),
        _under_construction(folder) as new_folder,
        _under_construction(data if data != folder else "") as new_data,
    ):
        try:
            _fill(planned, new_folder, new_data or new_folder)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot create: {error.strerror}; free space, or choose another folder"
            ) from None
        make_store(new_folder, planned.record)
        # The campaign's own folder comes last: its manifest makes the campaign exist.
        return _put_in_place(planned, [(new_data, data)] * bool(new_data) + [(new_folder, folder)])


def _put_in_place(planned: Plan, renames: list[tuple[str, str]]) -> Created:
    created = Created((), ())
    try:
        for new, folder in renames:
            if os.path.lexists(folder):
                refuse_existing(planned)
                now = f"{folder}.old-{re.sub('[-:]', '', planned.record['created_utc'])}"
                os.rename(folder, now)
                created = Created(created.folders, (*created.moved, (now, folder)))
            os.rename(new, folder)
            created = Created((*created.folders, folder), created.moved)
    except OSError as error:
        created.undo()
        raise UserError(f"{folder}: cannot create: {error.strerror}; choose another name with --name") from None
    except UserError:
        created.undo()
        raise
    return created


@contextlib.contextmanager
def _under_construction(folder: str) -> Iterator[str]:
    """Return a new folder beside ``folder``, removed at the end unless it was renamed; nothing for an empty name."""
    if not folder:
        yield ""
        return
    parent, name = os.path.split(folder)
    temporary = os.path.join(parent, f".{name}.{os.getpid()}.new")
    try:
        os.mkdir(temporary)
    except OSError as error:
        raise UserError(f"{parent}: cannot write: {error.strerror}; choose another folder") from None
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(planned: Plan, folder: str, data: str) -> None:
    """Write the planned files into ``folder`` and make the folders of all iterations."""
    _make_folders(planned.record, folder, data)
    write_record(os.path.join(folder, layout.RECORD), planned.record)
    _write(os.path.join(folder, layout.CONFIG), planned.configuration.encode())
    _write(os.path.join(folder, layout.DAG), planned.dag.encode())
    if has_wrapper(planned.record):
        _write(os.path.join(folder, layout.WRAPPER), render_wrapper(planned.record).encode())
    _write(layout.constants_file(folder, *layout.iterations(planned.record)[0]), planned.constants)
    if "validation" in planned.record:
        _write(layout.constants_file(folder, layout.VALIDATION, layout.BEFORE), planned.constants)


def make_folders(record: Manifest) -> None:
    """Make the missing folders of the campaign's iterations; raise OSError on failure."""
    with closed_to_others():
        _make_folders(record, record["folder"], record["data"])


def _make_folders(record: Manifest, folder: str, data: str) -> None:
    for stage, number in layout.iterations(record):
        os.makedirs(f"{layout.iteration_folder(data, stage, number)}/{layout.KFALIGNMENT}", exist_ok=True)
        for part in (layout.RECO, layout.MILLEPEDE):
            os.makedirs(f"{layout.iteration_folder(folder, stage, number)}/{part}/{layout.LOGS}", exist_ok=True)


def _write(path: str, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)
