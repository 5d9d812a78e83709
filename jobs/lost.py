"""Which raw files an iteration goes without: the hook before its Millepede job lists them."""

import json
from pathlib import Path

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import NodeError
from faser_align.jobs.program import Iteration


def lost_files(iteration: Iteration) -> list[int]:
    """Raw files that were lost for good and are left out; raises NodeError (INPUT_MISSING) for a list that is none."""
    path = Path(layout.lost_file(iteration.record["folder"], iteration.stage, iteration.number))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return sorted(int(file) for file in json.loads(text))
    except (ValueError, TypeError) as error:
        raise NodeError(f"{path} is no JSON list of raw files ({error})", exit_codes.INPUT_MISSING) from error
