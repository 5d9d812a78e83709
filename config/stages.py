"""Expand the configured stages to those that a campaign runs. Jobs and scripts import the types, without pydantic."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from faser_align.fsm.errors import UserError

if TYPE_CHECKING:
    from faser_align.config.schema import Config
    from faser_align.config.solving import Step


class UsedStep(TypedDict):
    """A step as it is run; keys other than name and fix are there only if they were configured."""

    name: str
    fix: list[int | str]
    presigma: NotRequired[dict[str, float]]
    freeze_sigma: NotRequired[float]
    extra_lines: NotRequired[list[str]]
    parameters: NotRequired[str]
    parameters_text: NotRequired[str]


class UsedStage(TypedDict):
    """A stage as it is run, with the defaults filled in."""

    name: str
    iterations: int
    stations: int
    at_limit: str
    convergence: dict[str, Any]
    steps: list[UsedStep]


def stages_of(config: "Config") -> list[UsedStage]:
    """Return the stages with iterations, stations, criteria and steps, as in the manifest.

    A list that is repeated appears once per repetition, with numbered names. Raises UserError if a step's own file of
    parameters cannot be read.
    """
    from faser_align.config.solving import Stage

    stages = config.stages or [Stage()]
    rounds = config.campaign.repeat
    return [
        {
            "name": f"{stage.name} ({number} of {rounds})" if rounds > 1 else stage.name,
            "iterations": stage.iterations or config.campaign.iterations,
            "stations": stage.stations or config.campaign.stations,
            "at_limit": stage.at_limit,
            "convergence": stage.convergence,
            "steps": [_step(step) for step in stage.steps],
        }
        for number in range(1, rounds + 1)
        for stage in stages
    ]


def _step(step: "Step") -> UsedStep:
    """Return a step's name, fix rules and options; the expert's own file is copied as it is now."""
    found: UsedStep = {"name": step.name, "fix": list(step.fix)}
    presigma = {kind: value for kind, value in step.presigma.model_dump().items() if value}
    if presigma:
        found["presigma"] = presigma
    if step.freeze_sigma:
        found["freeze_sigma"] = step.freeze_sigma
    if step.extra_lines:
        found["extra_lines"] = list(step.extra_lines)
    if step.parameters:
        found["parameters"], found["parameters_text"] = step.parameters, _own_text(step)
    return found


def _own_text(step: "Step") -> str:
    try:
        return Path(step.parameters).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(
            f"step {step.name!r}: parameters = {step.parameters}: cannot read: {reason}; correct the path"
        ) from error
