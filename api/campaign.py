"""A campaign to read from a program: plain values, taken from the published copy, so that nothing is disturbed."""

from typing import Any

from faser_align.alignment.constants import Constants, read_constants
from faser_align.config import layout
from faser_align.config.record import read_record
from faser_align.fsm import table
from faser_align.fsm.errors import UserError
from faser_align.state import facts, queries, registry

Row = dict[str, Any]


def campaigns() -> list["Campaign"]:
    """All campaigns of this account that are still there, by name.

    >>> [campaign.name for campaign in campaigns()]
    ['Y2023_R011705_F400-405']
    """
    return [Campaign(entry.folder) for entry in registry.entries()]


class Campaign:
    """A campaign, by its name or its folder. What it tells is what was so when it was asked.

    >>> campaign = Campaign("Y2023_R011705_F400-405")
    >>> campaign.state, campaign.ended
    ('converged', True)

    Raises:
        UserError: there is no such campaign; names the nearest.
    """

    def __init__(self, name: str) -> None:
        self.folder = registry.find(name)
        self.record: Row = read_record(self.folder)
        self.name: str = self.record["name"]

    def __repr__(self) -> str:
        return f"Campaign({self.folder!r})"

    @property
    def state(self) -> str:
        """The state, one of those that ``faser-align diagram`` draws."""
        with queries.published(self.folder) as db:
            return str(queries.campaign_now(db, self.folder)["state"])

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, a good or a bad one."""
        return self.state in table.ENDS

    def iterations(self) -> list[Row]:
        """One row of numbers for each iteration that has begun, ready for a table.

        Keys: stage, iteration, files_used, files_expected, tracks, chi2_per_ndf, effect_um, significance, verdict, solver,
        and the largest correction with its unit and place. None where there is no number.

        >>> campaign = Campaign("Y2023_R011705_F400-405")
        >>> [(row["iteration"], row["verdict"]) for row in campaign.iterations()]
        [(1, 'go_on'), (2, 'go_on'), (3, 'go_on'), (4, 'converged')]
        >>> campaign.iterations()[-1]["chi2_per_ndf"]
        1.003
        """
        with queries.published(self.folder) as db:
            rows = [facts.summary(row) for row in queries.iterations(db)]
        for row in rows:
            largest = row.pop("largest") or {}
            row |= {f"largest_{key}": largest.get(key) for key in ("value", "unit", "dof", "where")}
        return rows

    def metrics(self) -> list[Row]:
        """The metrics of each solved iteration as its Millepede job wrote them, nested; docs/alignment.md explains each.

        >>> Campaign("Y2023_R011705_F400-405").metrics()[0]["corrections"]["module.y"]["unit"]
        'um'
        """
        with queries.published(self.folder) as db:
            return [row["metrics"] for row in queries.iterations(db) if row["metrics"]]

    def history(self, *, nodes: bool = True) -> list[Row]:
        """Every event in order, with its facts; without ``nodes`` only those of the campaign itself.

        >>> Campaign("Y2023_R011705_F400-405").history(nodes=False)[-1]["destination"]
        'converged'
        """
        with queries.published(self.folder) as db:
            return queries.history(db, nodes=nodes)

    def constants(self, stage: int = 0, iteration: int = 0) -> Constants:
        """Constants that an iteration found, by key, as six numbers (mm, rad); those of the latest one without arguments.

        >>> campaign = Campaign("Y2023_R011705_F400-405")
        >>> campaign.constants()["003"][1]
        0.02
        >>> campaign.constants(iteration=1) == campaign.constants()
        False

        Raises:
            UserError: the iteration has found none, they cannot be read, or a stage is named without an iteration.
        """
        if stage and not iteration:
            raise UserError(f"stage {stage} of {self.name} has several iterations; name the iteration, too")
        if not iteration:
            with queries.published(self.folder) as db:
                path = queries.latest_constants(db)
            if path is None:
                raise UserError(f"{self.name} has found no constants yet; it is {self.state}")
            return read_constants(path)
        return read_constants(layout.result_file(self.folder, stage or 1, iteration))

    def start_constants(self) -> Constants:
        """Constants that the campaign started from (mm, rad)."""
        return read_constants(layout.constants_file(self.folder, 1, 1))
