"""Run the jobs of a campaign's iterations in this process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faser_align.campaign import layout
from faser_align.jobs.reconstruct import reconstruct
from faser_align.jobs.solve import solve


def iterate(campaign: Path, iterations: int, files: Sequence[int]) -> list[dict[str, Any]]:
    """Run the jobs of some iterations of raw files; return their metrics."""
    history = []
    for iteration in range(1, iterations + 1):
        for file in files:
            reconstruct(str(campaign), 1, iteration, file)
        solve(str(campaign), 1, iteration)
        history.append(json.loads(Path(layout.metrics_file(str(campaign), 1, iteration)).read_text()))
    return history
