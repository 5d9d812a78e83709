"""Reconstruct one raw file in one iteration and convert its tracks to Mille records.

``python -I -m faser_align.jobs.reconstruct CAMPAIGN STAGE ITERATION FILE``, on an execute node.
"""

import os
from typing import Any

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import NodeError
from faser_align.jobs.convert import convert_tracks
from faser_align.jobs.program import Iteration, failing, main, open_raw, raw_path, reading_constants
from faser_align.system.atomic import temporary


def reconstruct(folder: str, stage: int, number: int, file: int) -> None:
    """Write the kfalignment file of raw file ``file``, its Mille binary, counts and histograms.

    Raises NodeError with the exit status of the failure.
    """
    iteration = open_raw(folder, stage, number, file)
    _check_raw(iteration, file)
    _write_tracks(iteration, file)
    convert_tracks(iteration, file)


def _check_raw(iteration: Iteration, file: int) -> None:
    path = raw_path(iteration, file)
    if not path:
        return
    try:
        with open(path, "rb") as raw:
            raw.read(1)
    except OSError as error:
        lasting = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
        status = exit_codes.RAW_MISSING if lasting and os.path.isdir(os.path.dirname(path)) else exit_codes.ENVIRONMENT
        raise NodeError(f"raw file {path} cannot be read: {error.strerror}", status) from error


def _write_tracks(iteration: Iteration, file: int) -> None:
    # numpy is slow to import, so the cheap checks come first.
    from faser_align.alignment.parameters.constants import read_constants
    from faser_align.simulation import geometry, kfalignment, tracks
    from faser_align.simulation import reconstruct as fit

    backend = iteration.config["reconstruction"]["backend"]
    if backend != "simulation":
        raise NodeError(f'reconstruction.backend is "{backend}", which reconstruct.sh runs', exit_codes.CONFIG)
    with reading_constants():
        believed = geometry.build(read_constants(iteration.constants_file()))
    settings: Any = iteration.config["simulation"]
    with failing(exit_codes.CONFIG):
        truth = geometry.build(read_constants(settings["truth"]) if settings["truth"] else {})
    run_number, raw_number = (int(part) for part in layout.raw(iteration.record["run"], file))
    response = tracks.Response(**{key: settings[key] for key in tracks.Response._fields})
    raw = tracks.simulate_file(truth, settings["tracks"], settings["seed"], run_number, raw_number, response)
    fits = (fit.reconstruct(hits, believed, iteration.stations) for hits in raw)

    path = iteration.kfalignment_file(file)
    with failing(exit_codes.COPY):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with temporary(path) as name:
            if not kfalignment.write(name, fits):
                raise NodeError(f"no track of raw file {file} has {fit.HITS_MIN} hits", exit_codes.NO_OUTPUT)


if __name__ == "__main__":
    main(reconstruct, "CAMPAIGN STAGE ITERATION FILE", exit_codes.CRASHED)
