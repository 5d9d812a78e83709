"""Removing the ROOT files of tracks that no later job needs, as ``[storage]`` says."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faser_align.jobs.program import Iteration


def kept_iterations(config: Mapping[str, Any]) -> int:
    """How many iterations' ROOT files are kept, the latest ones; 0: those of all."""
    storage = config.get("storage")
    if storage is None:  # a campaign that an earlier version made
        return 0 if config["reconstruction"].get("keep_root", True) else 1
    return int(storage["keep_iterations"]) if storage["keep_intermediate_root_files"] else 1


def drop_tracks(iteration: Iteration) -> None:
    """Remove the tracks of the iterations before the last ones that are kept; ``iteration`` has just been solved.

    The iterations before it were judged, since DAGMan began this one after that; its own tracks stay, for a solution that
    must be made again with a wider cut. A file that cannot be removed is told on stderr: the solution is there.
    """
    kept = kept_iterations(iteration.config)
    for old in [*iteration.before(), iteration][:-kept] if kept else ():
        for file in old.files:
            try:
                Path(old.kfalignment_file(file)).unlink(missing_ok=True)
            except OSError as error:
                sys.stderr.write(f"{error.filename} stays: {error.strerror}\n")
