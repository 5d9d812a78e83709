"""Name the sequences of stages that ship as examples, with their known results."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from faser_align.alignment.pede.steering_text import step_fixed
from faser_align.config.load import EXAMPLES, absolute, parse_config, read_text
from faser_align.config.profiles import profile_text
from faser_align.config.schema import Config
from faser_align.config.stages import UsedStage, stages_of
from faser_align.fsm.errors import UserError

_RECIPES = tomllib.loads(Path(__file__).with_name("recipes.toml").read_text(encoding="utf-8"))


class Recipe(NamedTuple):
    """A sequence of stages.

    Attributes:
        name: what ``init --recipe`` accepts.
        title: the aligned part of the detector.
        file: the example that has its stages.
        origin: the program that it comes from.
        known: its known results, in sentences.
        doubt: warning to users, a part of a sentence; empty without.
    """

    name: str
    title: str
    file: str
    origin: str
    known: str
    doubt: str = ""

    def path(self) -> str:
        """Return the path of the example."""
        return absolute(f"{EXAMPLES}/{self.file}", "")

    def stages(self) -> str:
        """Return the ``[[stages]]`` tables of the example."""
        text = read_text(self.path())
        begin = text.index("[[stages]]")
        end = re.compile(r"^\[(?!\[?stages)", re.MULTILINE).search(text, begin)
        return text[begin : end.start() if end else None].rstrip() + "\n"

    def config(self) -> Config:
        """Return the example's configuration."""
        return parse_config(read_text(self.path()), self.path())


def recipes() -> list[Recipe]:
    """Return all recipes in order."""
    return [Recipe(name, **values) for name, values in _RECIPES.items()]


def find(name: str) -> Recipe:
    """Return the recipe with this name; raise UserError if there is none."""
    if name not in _RECIPES:
        raise UserError(f"{name} is not a recipe; choose one of {', '.join(_RECIPES)}")
    return Recipe(name, **_RECIPES[name])


def configuration(profile: str, recipe: Recipe) -> str:
    """Return the configuration of a profile with the stages of a recipe."""
    stations = recipe.config().campaign.stations
    text = re.sub(r"^stations = \d", f"stations = {stations}", profile_text(profile), flags=re.MULTILINE)
    lines = text.splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("# Stages follow"))
    end = lines.index("", begin)
    lines[begin:end] = [f"# Recipe {recipe.name} of {recipe.origin}: {recipe.title}.", *recipe.stages().splitlines()]
    return "\n".join(lines) + "\n"


def recipe_doubt(stages: Sequence[UsedStage], stations: int) -> str:
    """Return a warning if these are the stages of a recipe that is known to fail, else an empty string.

    ``stations`` is 4 or 3, for stages of the manifest without this key.
    """
    for recipe in recipes():
        if recipe.doubt and _fixed(stages, stations) == _fixed(stages_of(recipe.config()), 4):
            return (
                f"these are the stages of recipe {recipe.name}: {recipe.doubt}; see `faser-align recipes {recipe.name}`"
            )
    return ""


def _fixed(stages: Sequence[UsedStage], stations: int) -> list[list[frozenset[int]]]:
    """Return the labels that each step of each stage fixes."""
    return [[step_fixed(step, stage.get("stations", stations)) for step in stage["steps"]] for stage in stages]
