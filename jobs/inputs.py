"""Print a job wrapper's inputs, checked, as assignments that bash reads.

``python -I -m faser_align.jobs.inputs CAMPAIGN STAGE ITERATION FILE``, or ``--constants FILE`` for the constants' text
only.
"""

import os
import shlex
import sys
from pathlib import Path

from faser_align.alignment.parameters.constants import format_constants, read_constants
from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError
from faser_align.jobs.program import Iteration, failing, open_raw, raw_path, reading_constants, run


def inputs(folder: str, stage: int, number: int, file: int) -> None:
    """Print the node's values, including the constants in one line; remove outputs of an earlier attempt.

    Raises NodeError: CONFIG if the campaign has no such node, CONSTANTS if they are missing, malformed or not finite,
    COPY if the old output cannot be removed.
    """
    iteration = open_raw(folder, stage, number, file)
    with reading_constants():
        text = format_constants(read_constants(iteration.constants_file()))
    _remove_stale(iteration, file)
    run_number, number_in_run = layout.raw(iteration.record["run"], file)
    values = {
        "raw": raw_path(iteration, file),
        "year": iteration.record["year"],
        "run": run_number,
        "file": f"{number_in_run:05d}",
        "stage": stage,
        "iteration": number,
        "stations": iteration.stations,
        "output": iteration.kfalignment_file(file),
        "log_place": layout.job_log(folder, layout.reco_node(stage, number, file), "log"),
        "text": text,
    }
    sys.stdout.write("".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()))


def _remove_stale(iteration: Iteration, file: int) -> None:
    """Remove outputs of earlier attempts, so that only this attempt's files can count as success.

    Temporary files of a killed attempt are removed too; nothing else would free their space.
    """
    binary = iteration.mille_file(file)
    beside = [f"{binary}.json", binary, layout.histograms_file(binary), iteration.momenta_file(file)]
    outputs = [Path(path) for path in (iteration.kfalignment_file(file), *beside, iteration.sums_file(file))]
    begun = tuple(f".{path.name}." for path in outputs)
    with failing(exit_codes.COPY):
        for path in outputs:
            path.unlink(missing_ok=True)
        for path in outputs[0].parent.glob(".*.tmp"):
            if path.name.startswith(begun):
                path.unlink(missing_ok=True)


def _constants(path: str) -> int:
    try:
        sys.stdout.write(format_constants(read_constants(path)) + "\n")
    except CampaignError as error:
        sys.stderr.write(f"{error}\n")
        return exit_codes.CONSTANTS
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--constants"] and len(sys.argv) == 3:
        sys.exit(_constants(os.path.abspath(sys.argv[2])))
    sys.exit(run(inputs, "CAMPAIGN STAGE ITERATION FILE", exit_codes.CONFIG))
