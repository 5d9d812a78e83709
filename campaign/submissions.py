"""Record in ``submitted.json`` which schedd has the campaign's DAGMan job."""

import json
import os
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.system import atomic


class Submission(NamedTuple):
    """The latest submission: name of the schedd, host of the command, and DAG file."""

    schedd: str
    host: str
    dag: str


def note(folder: str, schedd: str, dag: str) -> None:
    """Record that the DAG file ``dag`` of the campaign in ``folder`` is about to be submitted to ``schedd``.

    Raises OSError if the folder cannot be written.
    """
    entry = {"schedd": schedd, "host": os.uname().nodename, "dag": dag}
    atomic.write_text(f"{folder}/{layout.SUBMITTED}", json.dumps(entry))


def latest(folder: str) -> Submission:
    """Return the latest submission of the campaign in ``folder``, with empty fields where unknown."""
    try:
        with open(f"{folder}/{layout.SUBMITTED}", encoding="utf-8") as file:
            stored = json.load(file)
        return Submission(*(str(stored[key]) for key in Submission._fields))
    except (OSError, ValueError, KeyError, TypeError):
        return Submission("", "", "")
