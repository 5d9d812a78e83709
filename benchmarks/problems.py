"""Generate alignment problems with any number of parameters for benchmarks.

The detector has ten layers of modules in a row. A module has two sensors with a stereo angle, as those of FASER: three
parameters, the shift of each sensor across its strips and one rotation. A track is a straight line with a hit in each
sensor. Constraints are local: in each group of neighbouring columns of modules, shift, shear and rotation are zero.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LAYERS = 10
DISTANCE_MM = 100.0  # between layers
WIDTH_MM = 64.0  # of a module
STRIP_MM = 126.0
STEREO = 0.02
SLOPE = 0.05
NOISE_MM = 0.02
COLUMNS = 8  # of modules, that share constraints
SEED = 1


def parameters_of(size: int) -> int:
    """Return the number of parameters of the detector that has at least ``size``."""
    return 3 * LAYERS * -(-size // (3 * LAYERS))


def write_problem(folder: Path, size: int, tracks: int, method: str, lines: str = "") -> Path:
    """Write a Mille binary of ``tracks`` records with at least ``size`` parameters; return the steering file.

    Args:
        folder: for the files.
        size: number of parameters.
        tracks: number of records of 20 measurements.
        method: name and numbers after the keyword ``method`` of the steering file.
        lines: more lines of it.
    """
    columns = parameters_of(size) // (3 * LAYERS)
    random = np.random.default_rng(SEED)
    truth = random.normal(0.0, 0.05, (columns, LAYERS, 3))  # mm; the rotation at the end of the strips
    with open(folder / "mp2input.bin", "wb") as file:
        file.writelines(
            _records(random, truth, min(10_000, tracks - begin)).tobytes() for begin in range(0, tracks, 10_000)
        )
    steering = folder / "str.txt"
    steering.write_text(
        f"Cfiles\nmp2input.bin\nconstraints.txt\nmethod {method}\nentries 10 5\nhugecut 50.\n{lines}end\n"
    )
    (folder / "constraints.txt").write_text("".join(_constraints(columns)))
    return steering


def _records(random: np.random.Generator, truth: NDArray[np.float64], tracks: int) -> NDArray[np.int32]:
    """Return the words of ``tracks`` records, all of which have the same length."""
    columns = len(truth)
    z = (np.arange(LAYERS) - 0.5 * (LAYERS - 1)) * DISTANCE_MM
    x = random.uniform(0.0, columns * WIDTH_MM, tracks)[:, None] + random.normal(0.0, SLOPE, tracks)[:, None] * z
    y = random.uniform(-0.4, 0.4, tracks)[:, None] * STRIP_MM + random.normal(0.0, SLOPE / 10, tracks)[:, None] * z
    column = np.clip((x / WIDTH_MM).astype(np.int64), 0, columns - 1)
    layer = np.arange(LAYERS)
    along = y / (0.5 * STRIP_MM)
    values = np.zeros((tracks, LAYERS, 2, 8), np.float32)  # measurement, four local derivatives, error, two labels
    indices = np.zeros(values.shape, np.int32)
    first = 10 + 3 * (column * LAYERS + layer)
    for side, angle in enumerate((-STEREO, STEREO)):
        shift = truth[column, layer, side] + along * truth[column, layer, 2]
        values[:, :, side, 0] = shift + random.normal(0.0, NOISE_MM, shift.shape)  # the track itself is zero
        for place, factor in enumerate(
            (np.cos(angle), np.sin(angle), np.cos(angle) * z / 1e3, np.sin(angle) * z / 1e3)
        ):
            values[:, :, side, 1 + place] = factor
        values[:, :, side, 5] = NOISE_MM
        values[:, :, side, 6] = 1.0
        values[:, :, side, 7] = along
        indices[:, :, side, 1:5] = np.arange(1, 5)
        indices[:, :, side, 6] = first + side
        indices[:, :, side, 7] = first + 2
    words = np.zeros((tracks, 2, 1 + LAYERS * 2 * 8), np.int32)
    words[:, 0, 1:] = values.reshape(tracks, -1).view(np.int32)
    words[:, 1, 1:] = indices.reshape(tracks, -1)
    length = np.full((tracks, 1), 2 * words.shape[2], np.int32)
    return np.concatenate([length, words.reshape(tracks, -1)], axis=1)


def _constraints(columns: int) -> list[str]:
    """Return six constraints for each group of columns: sum and moment in z of each of the three parameters."""
    texts = []
    for begin in range(0, columns, COLUMNS):
        for parameter in range(3):
            for power in range(2):
                texts.append("constraint 0.0\n")
                texts += [
                    f"{10 + 3 * (column * LAYERS + layer) + parameter} {(layer - 0.5 * (LAYERS - 1)) ** power:g}\n"
                    for column in range(begin, min(begin + COLUMNS, columns))
                    for layer in range(LAYERS)
                ]
    return texts
