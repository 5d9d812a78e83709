"""Fork a campaign: use its data, its configuration, and the constants of any of its iterations."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import ForkedFrom, Manifest
from faser_align.config.load import validate
from faser_align.config.schema import Config
from faser_align.config.solving import Stage
from faser_align.config.stages import UsedStage
from faser_align.fsm.errors import UserError
from faser_align.fsm.plural import count
from faser_align.state import queries, registry


@dataclass(frozen=True)
class Parent:
    """The campaign to fork, and its initial constants: the result of ``iteration`` of ``stage``.

    Iteration 0 stands for the constants at the start of the stage.
    """

    folder: str
    record: Manifest
    stage: int
    iteration: int
    constants: str

    def config(self) -> tuple[str, Config]:
        """Return the parent's configuration including changes while it ran: the user's text, and the values."""
        if "imported" in self.record:
            raise UserError(f"{self.record['name']} was imported, and its configuration is unknown; add --config FILE")
        try:
            text = Path(self.folder, layout.CONFIG).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        config = validate(self.record["config"], f"{self.record['name']} (or use --config FILE)")
        return text, _with_criteria(config, self.record["stages"])

    def facts(self) -> ForkedFrom:
        """Return the entry about the parent for a child's manifest."""
        checksum = hashlib.sha256(Path(self.constants).read_bytes()).hexdigest()
        stages = self.record["stages"][: self.stage if self.iteration else self.stage - 1]
        if "imported" in self.record:
            stages = []  # what their steps freed is not known for certain
        return {
            "name": self.record["name"],
            "folder": self.folder,
            "stage": self.stage,
            "iteration": self.iteration,
            "constants": self.constants,
            "sha256": checksum,
            "stages": [*self.record.get("parent", {}).get("stages", ()), *stages],
        }


def find(campaign: str, stage: int | None, iteration: int | None) -> Parent:
    """Return the campaign with this name or folder, with the constants of an iteration, by default the latest.

    Raises UserError if there is no such campaign, or the iteration has no resulting constants.
    """
    folder = registry.find(campaign)
    record = read_record(folder)
    with queries.published(folder) as db:
        found = [(row["stage"], row["iteration"]) for row in queries.iterations(db) if row["ended_utc"]]
    if stage is None:
        stage = found[-1][0] if found else 1
    if not 1 <= stage <= len(record["stages"]):
        raise UserError(f"--stage {stage}: {record['name']} has {count(len(record['stages']), 'stage')}")
    if iteration is None:
        of_stage = [number for of, number in found if of == stage]
        iteration = of_stage[-1] if of_stage else 0
    path = layout.result_file(folder, stage, iteration) if iteration else layout.constants_file(folder, stage, 1)
    if not os.path.isfile(path) and (stage, iteration) in found:
        raise UserError(f"{path} is gone; restore it from a copy, or name another iteration with --iteration")
    if not os.path.isfile(path):
        there = ", ".join(f"--stage {of} --iteration {number}" for of, number in found) or "only --iteration 0"
        raise UserError(f"{record['name']} has no constants of stage {stage}, iteration {iteration}; it has {there}")
    return Parent(folder, record, stage, iteration, path)


def _with_criteria(config: Config, used: Sequence[UsedStage]) -> Config:
    """Return the configuration with the criteria of the stages as used, of which `set` may have changed some.

    As it may have changed one repetition of a stage only, each repetition becomes a stage of its own.
    """
    stages = (config.stages or [Stage()]) * config.campaign.repeat
    criteria = [stage.get("convergence", {}) for stage in used]
    if len(stages) != len(used) or [stage.convergence for stage in stages] == criteria:
        return config
    own = [
        stage.model_copy(update={"name": one["name"], "convergence": found})
        for stage, one, found in zip(stages, used, criteria, strict=True)
    ]
    campaign = config.campaign.model_copy(update={"repeat": 1})
    return config.model_copy(update={"stages": own, "campaign": campaign})
