"""Grade the constants of an iteration or validation, for ``metrics.json``."""

import json
from collections.abc import Sequence
from pathlib import Path

from faser_align.alignment.quality.grades import Limits, Subject, assess, unvalidated
from faser_align.campaign import layout
from faser_align.fsm.metrics import Metrics, Quality
from faser_align.jobs.program import Iteration


def grade(
    iteration: Iteration, history: Sequence[Metrics], validation: Metrics | None = None, verdict: str = ""
) -> Quality | None:
    """Return the quality block of a campaign's constants after the last iteration of ``history``."""
    limits = Limits.from_config(iteration.config.get("quality", {}))
    return assess(limits, Subject(history, validation, verdict, unvalidated(iteration.record)))


def read_history(iteration: Iteration) -> list[Metrics]:
    """Return the metrics of all earlier iterations; for a validation, of all iterations."""
    history = []
    for past in iteration.before():
        try:
            text = Path(layout.metrics_file(iteration.folder, past.stage, past.number)).read_text(encoding="utf-8")
            history.append(json.loads(text))
        except (OSError, ValueError):
            continue  # a stage that ended early has no metrics of later iterations
    return history
