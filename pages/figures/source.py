"""Choose the data of figures: the iterations of a stage, the first beside a later one. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from faser_align.alignment.parameters.constants import DOFS, ZERO, Constants, subtract_constants
from faser_align.alignment.parameters.differences import UM, URAD
from faser_align.alignment.quality.figure_data import FigureData
from faser_align.campaign import layout
from faser_align.campaign.manifest import convergence_of
from faser_align.fsm.errors import UserError
from faser_align.fsm.metrics import Metrics
from faser_align.fsm.rules import limits_of
from faser_align.pages.collect import Facts, Solution
from faser_align.pages.figures.shapes import Measured

Reference = tuple[str, Constants] | None
"""The name of other constants, and these constants (mm, rad)."""


class Iteration(NamedTuple):
    """An iteration: its name, its number in the stage, its metrics; solution and histograms if they can be read."""

    name: str
    number: int
    metrics: Metrics
    solution: Solution | None = None
    data: FigureData | None = None


class Source(NamedTuple):
    """Data that the figures show.

    Attributes:
        iterations: of the stage, from the first to the one that is shown.
        start: constants at the start of the campaign (mm, rad).
        reference: other constants to compare with, and what they are; None without any.
        truth: the simulated detector's constants; None for real data.
        validation: metrics of the validation; empty without one.
        halves: histograms of the validation with the first and the last constants.
        limits: limits of the stage's convergence criteria, named as in ``fsm.rules.limits_of``.
    """

    iterations: list[Iteration]
    start: Constants | None
    reference: Reference
    truth: Constants | None
    validation: Metrics
    halves: Mapping[str, FigureData] = MappingProxyType({})
    limits: Mapping[str, float] = MappingProxyType({})

    @property
    def first(self) -> Iteration:
        """The stage's first iteration."""
        return self.iterations[0]

    @property
    def last(self) -> Iteration:
        """The iteration that is shown."""
        return self.iterations[-1]

    @property
    def ends(self) -> list[Iteration]:
        """First and last iteration; one if they are the same."""
        return self.iterations[:1] + self.iterations[1:][-1:]


def source(facts: Facts, stage: int = 0, iteration: int = 0, *, reference: Reference = None) -> Source:
    """Return the data of a stage's figures.

    Args:
        facts: the campaign.
        stage: 0: the last one that was solved.
        iteration: the iteration beside the first; 0: the last one.
        reference: constants to compare with, and their name.

    Raises:
        UserError: the campaign has no such iteration, or none that was solved.
    """
    judged, name = facts.judged, facts.record["name"]
    if not judged:
        raise UserError(
            f"{name} has no solved iteration yet, so there is nothing to draw; it is {facts.campaign['state']}"
        )
    number = stage or judged[-1]["stage"]
    rows = [row for row in judged if row["stage"] == number]
    if not rows:
        raise UserError(
            f"{name} has no solved iteration in stage {number}; choose one of stage {_listed(judged, 'stage')}"
        )
    if iteration and iteration not in [row["iteration"] for row in rows]:
        where = f" of stage {number}" if facts.staged else ""
        raise UserError(
            f"{name} has no solved iteration {iteration}{where}; choose one of {_listed(rows, 'iteration')}"
        )
    shown = [row for row in rows if not iteration or row["iteration"] <= iteration]
    return Source(
        [
            Iteration(
                f"iteration {facts.name_of(number, row['iteration'])}",
                row["iteration"],
                row["metrics"],
                facts.solutions.get((number, row["iteration"])),
                facts.figures.get((number, row["iteration"])),
            )
            for row in shown
        ],
        facts.start,
        reference,
        facts.truth,
        facts.validation.get("metrics", {}),
        {
            name: facts.figures[layout.VALIDATION, half]
            for name, half in (("before", layout.BEFORE), ("after", layout.AFTER))
            if (layout.VALIDATION, half) in facts.figures
        },
        limits_of(convergence_of(facts.record, number)),
    )


def _listed(rows: list[dict[str, int]], key: str) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(row[key] for row in rows))


def differences(constants: Constants, other: Constants, errors: Constants) -> dict[str, dict[str, Measured]]:
    """Return ``constants`` - ``other`` with errors by degree of freedom (um, urad), only where it is not zero.

    ``errors`` are those of the difference (mm, rad).
    """
    return by_dof(subtract_constants(constants, other), errors)


def by_dof(constants: Mapping[str, tuple[float, ...]], errors: Constants) -> dict[str, dict[str, Measured]]:
    """Return constants with errors by degree of freedom and key, as um and urad, without zeros that have no error."""
    found: dict[str, dict[str, Measured]] = {}
    for key, six in constants.items():
        for dof, value, error in zip(DOFS, six, errors.get(key, ZERO), strict=True):
            if value or error:
                factor = URAD if dof.startswith("r") else UM
                found.setdefault(dof, {})[key] = Measured(value * factor, error * factor if error else None)
    return {dof: found[dof] for dof in DOFS if dof in found}


def unit(dof: str) -> str:
    """Return the unit in which figures show a degree of freedom."""
    return "µrad" if dof.startswith("r") else "µm"
