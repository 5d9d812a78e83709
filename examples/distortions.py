"""Simulate five distortions of the detector, each alone, and draw the figures that show them.

    python distortions.py FOLDER [NAME ...] [--tracks 2000] [--format png]

Each distortion is a campaign of two iterations in FOLDER/NAME, without HTCondor; its figures are in FOLDER/NAME/plots.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from faser_align.alignment.detector import LAYERS_Z_MM
from faser_align.alignment.parameters.constants import ZERO, write_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import make_record, write_record
from faser_align.config.schema import Config
from faser_align.hooks import run
from faser_align.jobs.program import open_raw
from faser_align.jobs.reconstruct import convert_tracks
from faser_align.jobs.solve import solve
from faser_align.operations import plotting
from faser_align.simulation import geometry, kfalignment, reconstruct, tracks
from faser_align.state.create import create_store

FILES = (400, 401)
SPECTROMETER = [f"{station}{layer}" for station in range(1, 4) for layer in range(3)]

# Distortions: of the initial constants (mm, rad), of the fields of the magnets, or modules without hits.
# The figure that shows it is in the comment.
DISTORTIONS = {
    "shifted-module": {"start": {"112": (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)}},  # residuals, medians, corrections
    "rotated-layer": {"start": {"21": (0.0, 0.0, 0.0, 0.0, 0.0, 0.001)}},  # corrections, map
    "bowing": {  # drift, momentum-change
        "start": {
            key: (0.0, 0.1 * float(1 - (LAYERS_Z_MM[3 + at] / 1e3 - 1.24) ** 2 / 1.5), 0.0, 0.0, 0.0, 0.0)
            for at, key in enumerate(SPECTROMETER)
        }
    },
    "momentum-scale": {"fields": (1.0, 1.1, 1.0)},  # magnets
    "dead-module": {"dead": ("226",)},  # occupancy
}


def campaign(folder, name, count, iterations=2):
    """Make the campaign of a distortion in a folder, and run some iterations of it; return its folder."""
    distortion = DISTORTIONS[name]
    place = Path(folder, name).absolute()
    place.mkdir(parents=True)
    config = Config.model_validate(
        {"campaign": {"iterations": iterations}, "simulation": {"tracks": count}, "mille": {"residual_max": [1.0]}}
    )
    write_constants(place / "start.txt", {"000": ZERO} | distortion.get("start", {}))
    record = make_record(
        config,
        folder=str(place),
        name=name,
        year=2023,
        run="011705",
        files=list(FILES),
        constants=str(place / "start.txt"),
        sha256="",
        created_utc="2026-01-01T00:00:00Z",
    )
    write_record(str(place / layout.RECORD), record)
    for iteration in range(1, iterations + 1):
        for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE):
            os.makedirs(os.path.join(layout.iteration_folder(str(place), 1, iteration), part, layout.LOGS))
    write_constants(layout.constants_file(str(place), 1, 1), {"000": ZERO} | distortion.get("start", {}))
    create_store(str(place), record)
    for iteration in range(1, iterations + 1):
        for file in FILES:
            node = layout.reco_node(1, iteration, file)
            script("pre", place, node, 0, 0)
            reconstruct_file(str(place), iteration, file, count, distortion)
            script("post", place, node, 0, 0, 0, f"{iteration}{file}.0", 0)
        node = layout.mille_node(1, iteration)
        script("pre", place, node, 0, 0)
        solve(str(place), 1, iteration)
        script("post", place, node, 0, 0, 0, f"{iteration}.0", 0)
    return str(place)


def script(*words):
    """Run a script as DAGMan would, which records the event and decides on the iteration."""
    environment = {**os.environ, "CONDOR_ID": "1.0"}
    subprocess.run([sys.executable, run.__file__, *map(str, words)], env=environment, check=False)


def reconstruct_file(folder, number, file, count, distortion):
    """Do what a reconstruction job does, with the distorted detector as the true one."""
    iteration = open_raw(folder, 1, number, file)
    hits = tracks.simulate_file(
        geometry.build({}), count, 1, 11705, file, fields=distortion.get("fields", (1.0, 1.0, 1.0))
    )
    believed = geometry.build(iteration.constants())
    dead = [int(key[0]) * 24 + int(key[1]) * 8 + int(key[2]) for key in distortion.get("dead", ())]
    alive = (without(batch, dead) for batch in hits)
    kfalignment.write(
        iteration.kfalignment_file(file), (reconstruct.reconstruct(batch, believed, 4) for batch in alive)
    )
    convert_tracks(iteration, file)


def without(hits, modules):
    """Return hits without those of dead modules."""
    kept = ~np.isin(hits.element // geometry.SIDES, modules)
    return tracks.Hits(*(values[kept] for values in hits))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DISTORTIONS))
    parser.add_argument("--tracks", type=int, default=2000, help="tracks in each of two files")
    parser.add_argument("--format", default="png,csv")
    given = parser.parse_args()
    for name in given.names or DISTORTIONS:
        folder = campaign(given.folder, name, given.tracks)
        written = plotting.write(folder, f"{folder}/plots", forms=tuple(given.format.split(",")))
        print(json.dumps({"distortion": name, "figures": [plot.name for plot in written.figures]}))


if __name__ == "__main__":
    main()
