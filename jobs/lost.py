"""Read the list of an iteration's dropped raw files, which the PRE script of its Millepede job writes."""

import json
from pathlib import Path

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import NodeError
from faser_align.jobs.program import Iteration


def lost_files(iteration: Iteration) -> list[int]:
    """Return the dropped raw files; raise NodeError (INPUT_MISSING) for a malformed list."""
    path = Path(layout.lost_file(iteration.record["folder"], iteration.stage, iteration.number))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return sorted(int(file) for file in json.loads(text))
    except (ValueError, TypeError) as error:
        raise NodeError(f"{path} is no JSON list of raw files ({error})", exit_codes.INPUT_MISSING) from error
