"""Types of the stages and steps of a campaign, as ``config.stages.stages_of`` makes them and the manifest stores them."""

from typing import Any, NotRequired, TypedDict


class UsedStep(TypedDict):
    """A step as it is run; only what was configured is there beyond name and fix."""

    name: str
    fix: list[int | str]
    presigma: NotRequired[dict[str, float]]
    freeze_sigma: NotRequired[float]
    extra_lines: NotRequired[list[str]]
    parameters: NotRequired[str]
    parameters_text: NotRequired[str]


class UsedStage(TypedDict):
    """A stage as it is run, with what the configuration left to the program."""

    name: str
    iterations: int
    stations: int
    at_limit: str
    convergence: dict[str, Any]
    steps: list[UsedStep]
