"""Write the steering texts that a planned campaign will use, for inspection before the submission."""

from collections import Counter
from typing import NamedTuple

from faser_align.alignment.parameters.labels import LAYER_KINDS, MODULE_KINDS, PARAMETERS
from faser_align.alignment.pede.steering_text import solver_options, step_fixed, step_texts
from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest


class StepTexts(NamedTuple):
    """A step of a stage: what it frees, in one line, and its texts by file name."""

    stage: str
    step: str
    free: str
    texts: dict[str, str]


def steering_texts(record: Manifest) -> list[StepTexts]:
    """Return the texts of each step for the first iteration of its stage.

    Start values of a second or later step are zeros here; in the campaign they are the previous step's result.
    """
    found = []
    for number, stage in enumerate(record["stages"], start=1):
        binaries = [layout.mille_file(record["data"], number, 1, record["run"], file) for file in record["files"]]
        of_runs = record["config"]["solver"]["weights"]
        weights = [of_runs.get(layout.raw(record["run"], file)[0], 1.0) for file in record["files"]]
        for step in stage["steps"]:
            fixed = step_fixed(step, layout.stations_of(record, number))
            texts = step_texts(binaries, fixed, {}, solver_options(record["config"]["solver"], step), weights)
            found.append(StepTexts(stage["name"], step["name"], free_in_words(fixed), texts))
    return found


def free_in_words(fixed: frozenset[int]) -> str:
    """Return how many parameters of each kind a step frees: ``72 free: 48 module.x, 24 module.rz; 276 fixed``.

    Millepede's ``module.x`` is the x of one side of a module. A module's two sides give x and y of the correction,
    which tables call ``module.x`` and ``module.y``.
    """
    kinds = Counter(parameter.kind for label, parameter in PARAMETERS.items() if label not in fixed)
    names = {"module.x": "x of module sides (two per module give module.x and module.y)"}
    shown = ", ".join(f"{kinds[kind]} {names.get(kind, kind)}" for kind in (*LAYER_KINDS, *MODULE_KINDS) if kinds[kind])
    return f"{sum(kinds.values())} free: {shown}; {len(fixed)} fixed"
