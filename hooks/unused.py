"""Removal of the folders of iterations that an early end left unused."""

import contextlib
import filecmp
import os

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm import table
from faser_align.state import queries


def remove(folder: str) -> None:
    """Remove the folders of iterations that no job has used, if a decision has ended the campaign in ``folder``.

    A campaign that failed or was removed keeps them, because its DAGMan may continue by itself. Only empty folders go, and
    the constants that the last Millepede job handed on; ``resume`` and ``extend`` make both again.

    Raises:
        CampaignError, OSError: the campaign's files cannot be read.
    """
    with queries.published(folder) as db:
        state, latest = queries.campaign(db)["state"], queries.latest_constants(db)
    if state not in table.SETTLED:
        return
    record = read_record(folder)
    for stage, number in layout.iterations(record):
        place = layout.iteration_folder(folder, stage, number)
        for part in (layout.RECO, layout.MILLEPEDE):
            _remove_empty(f"{place}/{part}/{layout.LOGS}")
        # The first constants of the validation are from the submission, and nothing would make them again.
        first = (stage, number) == (layout.VALIDATION, layout.BEFORE)
        if not first and not os.path.exists(f"{place}/{layout.RECO}/{layout.LOGS}"):
            with contextlib.suppress(OSError):
                _remove_handed_on(layout.constants_file(folder, stage, number), latest)
        for root in (folder, record["data"]):
            unused = layout.iteration_folder(root, stage, number)
            for part in (layout.RECO, layout.MILLEPEDE, layout.KFALIGNMENT):
                _remove_empty(f"{unused}/{part}")
            _remove_empty(unused)
            if os.path.dirname(unused) != root:
                _remove_empty(os.path.dirname(unused))  # of a later stage, or of the validation


def _remove_handed_on(path: str, latest: str | None) -> None:
    """Remove constants that are a copy of the latest ones."""
    if latest and filecmp.cmp(path, latest, shallow=False):
        os.unlink(path)


def _remove_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
