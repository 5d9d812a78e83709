"""Write ``report``: a page, a text, or JSON for programs."""

import json
import os

from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign.manifest import read_record
from faser_align.cli.show import report as text_report
from faser_align.cli.show.draw import Block
from faser_align.fsm.errors import UserError
from faser_align.operations import selection, snapshot
from faser_align.state import database
from faser_align.system import atomic


def blocks(folder: str) -> list[Block]:
    """Return the report of the campaign in ``folder`` as lines and tables."""
    events, _ = selection.history(folder, nodes=False)
    return text_report.blocks(snapshot.take(folder), read_record(folder), events, written_utc=database.utc())


def as_json(folder: str) -> str:
    """Return the report as JSON."""
    told = {
        "campaign": snapshot.take(folder),
        "record": read_record(folder),
        "history": selection.history(folder, nodes=False)[0],
    }
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def write(path: str, text: str, *, force: bool) -> None:
    """Write a text report to a file atomically; an existing one is replaced only with ``force``."""
    if os.path.exists(path) and not force:
        raise UserError(f"{path} already exists; choose another name, or replace it with --force")
    try:
        atomic.write_text(path, text)
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror}; name another file with -o") from None


def write_page(folder: str, output: str, *, force: bool, reference: str = "") -> str:
    """Write the page of the campaign in ``folder``, with the difference to the file ``reference``; return its path.

    The default is ``NAME.html`` in the current folder, or in the home folder if the current one is not writable.
    """
    from faser_align.pages.collect import collect
    from faser_align.pages.publish import write_report

    other = (os.path.basename(reference), read_constants(reference)) if reference else None
    found = collect(folder)
    here = "" if os.access(".", os.W_OK) else os.path.expanduser("~")
    path = output or os.path.join(here, f"{found.record['name']}.html")
    write_report(path, found, written_utc=database.utc(), force=force, reference=other)
    return path
