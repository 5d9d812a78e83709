"""Types of the manifest, ``campaign.json``."""

from typing import Any, NotRequired, TypedDict

from faser_align.config.stages import UsedStage
from faser_align.config.stored_types import Config


class Constants(TypedDict):
    """The file of constants that the campaign starts from."""

    source: str
    sha256: str


class Validated(TypedDict):
    """The raw files of the validation, those of them that the alignment does not use, and those held back for it."""

    files: list[int]
    unused: list[int]
    held_back: NotRequired[list[int]]


class ForkedFrom(TypedDict):
    """The campaign that another one was forked from, and the constants that it starts from."""

    name: str
    folder: str
    stage: int
    iteration: int
    constants: str
    sha256: str
    stages: NotRequired[list[UsedStage]]  # that led to the constants, those of its own parents first


# ``from`` is the folder that it was imported from.
Imported = TypedDict("Imported", {"from": str, "config": dict[str, Any], "times": str})


class Manifest(TypedDict):
    """The manifest of a submitted campaign, see ``campaign.manifest.make_record``."""

    format: int
    name: str
    version: str
    created_utc: str
    year: int
    run: str
    files: list[int]
    stations: int
    folder: str
    data: str
    python: str
    job_python: str
    hook: str
    command: str
    targets_file: str
    constants: Constants
    stages: list[UsedStage]
    config: Config
    validation: NotRequired[Validated]
    only: NotRequired[int]  # the iteration of a `reco`
    parent: NotRequired[ForkedFrom]
    imported: NotRequired[Imported]
