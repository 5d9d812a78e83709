"""The stages of a campaign as they are run, with what the configuration left to the program."""

from typing import Any

from faser_align.config.schema import Config, Stage, Step


def stages_of(config: Config) -> list[dict[str, Any]]:
    """Stages with their iterations and steps, as they stand in the campaign's record."""
    stages = config.stages or [standard_stage(config.campaign.stations)]
    return [
        {
            "name": stage.name,
            "iterations": stage.iterations or config.campaign.iterations,
            "steps": [{"name": step.name, "fix": list(step.fix)} for step in stage.steps],
        }
        for stage in stages
    ]


def standard_stage(stations: int) -> Stage:
    """The stage that is run when none is configured: the IFT's modules with 4 stations, the spectrometer with 3.

    Without the IFT two layers hold the frame in the first step and are then freed against all others in the second.
    """
    if stations == 4:
        return Stage(name="IFT local", steps=[Step(name="IFT fix layer", fix=["layer", "3ST"])])
    return Stage(
        name="3ST",
        steps=[
            Step(name="all but 21 and 41", fix=["IFT", 21, 41]),
            Step(name="21 and 41", fix=["IFT", 20, 22, 30, 31, 32, 40, 42]),
        ],
    )
