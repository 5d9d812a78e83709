"""Remove ROOT files of tracks that no later job needs, as configured in ``[storage]``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faser_align.jobs.program import Iteration


def kept_iterations(config: Mapping[str, Any]) -> int:
    """Return how many of the latest iterations keep their ROOT files; 0: all."""
    storage = config.get("storage")
    if storage is None:  # a campaign of an older version
        return 0 if config["reconstruction"].get("keep_root", True) else 1
    return int(storage["keep_iterations"]) if storage["keep_intermediate_root_files"] else 1


def drop_tracks(iteration: Iteration) -> None:
    """Remove the tracks of iterations before the latest ones to keep; ``iteration`` has just been solved.

    DAGMan started this iteration after earlier ones were judged. Its own tracks stay for a second solution with a wider
    cut. A file that cannot be removed is reported on stderr, because the solution does not depend on it.
    """
    kept = kept_iterations(iteration.config)
    for old in [*iteration.before(), iteration][:-kept] if kept else ():
        for file in old.files:
            try:
                Path(old.kfalignment_file(file)).unlink(missing_ok=True)
            except OSError as error:
                sys.stderr.write(f"{error.filename} stays: {error.strerror}\n")
