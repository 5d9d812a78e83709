"""Make a campaign's folder atomically: it is built under another name and renamed."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator

from faser_align.campaign import layout
from faser_align.campaign.manifest import ASIDE, write_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.dag.plan import Plan, refuse_existing
from faser_align.dag.wrapper import has_wrapper, render_wrapper
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import closed_to_others, write_bytes, write_text

MakeStore = Callable[[str, Manifest], None]


def create_campaign(planned: Plan, make_store: MakeStore) -> contextlib.ExitStack:
    """Make the planned campaign's folder atomically.

    An existing folder is moved to ``<name>.old-<UTC>`` if the plan allows it. ``make_store`` makes the state database in
    the folder under construction, from the manifest.

    Returns:
        A stack that removes the new folders when it is closed, and moves back those that were moved aside.

    Raises:
        UserError: a folder cannot be written or exists already.
    """
    folder, data = planned.folder, planned.data
    with (
        closed_to_others(),
        under_construction(folder) as new_folder,
        under_construction(data) if data != folder else contextlib.nullcontext("") as new_data,
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


def _put_in_place(planned: Plan, renames: list[tuple[str, str]]) -> contextlib.ExitStack:
    with contextlib.ExitStack() as undo:
        for new, folder in renames:
            try:
                if os.path.lexists(folder):
                    refuse_existing(planned)
                    now = f"{folder}{ASIDE}{re.sub('[-:]', '', planned.record['created_utc'])}"
                    os.rename(folder, now)
                    undo.callback(os.rename, now, folder)
                os.rename(new, folder)
            except OSError as error:
                raise UserError(f"{folder}: cannot create: {error.strerror}; choose another name with --name") from None
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
        return undo.pop_all()


@contextlib.contextmanager
def under_construction(folder: str) -> Iterator[str]:
    """Return a new folder beside ``folder``, removed at the end unless it was renamed."""
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
    make_folders(planned.record, folder, data)
    write_record(os.path.join(folder, layout.RECORD), planned.record)
    write_text(os.path.join(folder, layout.CONFIG), planned.configuration)
    write_text(os.path.join(folder, layout.DAG), planned.dag)
    if has_wrapper(planned.record):
        write_text(os.path.join(folder, layout.WRAPPER), render_wrapper(planned.record))
    write_bytes(layout.constants_file(folder, *layout.iterations(planned.record)[0]), planned.constants)
    if "validation" in planned.record:
        write_bytes(layout.constants_file(folder, layout.VALIDATION, layout.BEFORE), planned.constants)


def make_folders(record: Manifest, folder: str, data: str) -> None:
    """Make the missing folders of the campaign's iterations; raise OSError on failure."""
    with closed_to_others():
        for stage, number in layout.iterations(record):
            os.makedirs(f"{layout.iteration_folder(data, stage, number)}/{layout.KFALIGNMENT}", exist_ok=True)
            for part in (layout.RECO, layout.MILLEPEDE):
                os.makedirs(f"{layout.iteration_folder(folder, stage, number)}/{part}/{layout.LOGS}", exist_ok=True)
