"""Check whether somebody changed the constants that were handed to an iteration."""

import contextlib
import hashlib
import json
from pathlib import Path

from faser_align.campaign import layout
from faser_align.fsm.metrics import Constants
from faser_align.jobs.program import Iteration


def constants_facts(iteration: Iteration, start: bytes, result: str | None) -> Constants:
    """Return the metrics about an iteration's constants: checksums, and whether somebody changed them.

    ``start`` is the content of the file of initial constants, ``result`` the path of the resulting constants. They were
    changed if they differ from the previous iteration's result or from the submitted ones; the iteration uses them.
    """
    begun = _sha256(start)
    handed = _handed_on(iteration)
    return {
        "start_sha256": begun,
        "result_sha256": _sha256(Path(result).read_bytes()) if result else None,
        "changed_by_hand": handed is not None and handed != begun,
    }


def validation_facts(before: Iteration, after: Iteration) -> Constants:
    """Return the metrics about the constants that a validation compared, the first with the last.

    ``changed_by_hand`` has the halves, ``before`` and ``after``, whose constants differ from the submitted ones or from
    the last iteration's result. Raises OSError if constants cannot be read.
    """
    facts = {"before": _sha256(Path(before.constants_file()).read_bytes())}
    facts["after"] = _sha256(Path(after.constants_file()).read_bytes())
    handed = {"before": _submitted(before), "after": _handed_on(after)}
    changed = [half for half, begun in facts.items() if handed[half] not in (None, begun)]
    return {"before_sha256": facts["before"], "after_sha256": facts["after"], "changed_by_hand": changed}


def _handed_on(iteration: Iteration) -> str | None:
    """Return the checksum of the constants that the iteration should start from; None if unknown."""
    root = iteration.record["folder"]
    for before in reversed(list(iteration.before())):
        path = Path(layout.metrics_file(root, before.stage, before.number))
        if path.is_file():
            # Iterations that were skipped because their stage had ended have no metrics.
            with contextlib.suppress(OSError):
                return _found(path) or _sha256(Path(layout.result_file(root, before.stage, before.number)).read_bytes())
            return None
    return _submitted(iteration)


def _submitted(iteration: Iteration) -> str | None:
    known = iteration.record["constants"]["sha256"]
    return str(known) if known else None


def _found(metrics: Path) -> str | None:
    """Return the result's checksum in an iteration's metrics; None in metrics of an older program."""
    try:
        checksum = json.loads(metrics.read_text(encoding="utf-8"))["constants"]["result_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return checksum if isinstance(checksum, str) else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
