"""Test recipes: sequences of stages by name."""

import json
import tomllib
from pathlib import Path

import pytest
from commandline import Command

from faser_align.config.load import load_config
from faser_align.config.profiles import PROFILES
from faser_align.config.stages import stages_of
from faser_align.operations import recipes

NAMES = [recipe.name for recipe in recipes.recipes()]
DATA = ("-y", "2023", "-r", "11705", "-f", "400", "--dry-run")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_init_writes_the_stages_of_a_recipe(plain_command: Command, here: Path, name: str, profile: str) -> None:
    """`init --recipe` writes the profile's configuration with the stages and stations of the recipe's example."""
    assert plain_command("init", "--profile", profile, "--recipe", name).status == 0
    written, example = load_config(str(here / "faser-align.toml")), recipes.find(name).config()
    assert written.stages == example.stages
    assert written.campaign.stations == example.campaign.stations
    assert plain_command("init", "--profile", profile, "-o", "plain.toml").status == 0
    plain = load_config(str(here / "plain.toml"))
    assert written.model_copy(update={"stages": [], "campaign": plain.campaign}) == plain


def test_recipes_are_listed_with_what_they_are_known_to_do(plain_command: Command, here: Path) -> None:
    """``recipes`` lists all; with a name it shows the known facts and stages as TOML; unknown names are refused."""
    assert all(name in plain_command("recipes", status=0).out for name in NAMES)
    for recipe in recipes.recipes():
        shown = plain_command("recipes", recipe.name, status=0)
        assert recipe.known.strip() in shown.out
        assert tomllib.loads(recipe.stages()).keys() == {"stages"}
        assert f"init --recipe {recipe.name}" in shown.out
        assert json.loads(plain_command("recipes", recipe.name, "--json").out)["known"] == recipe.known
    assert [one["name"] for one in json.loads(plain_command("recipes", "--json").out)] == NAMES
    for words in (("recipes", "none"), ("init", "--recipe", "none")):
        refused = plain_command(*words)
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert f"none is not a recipe; choose one of {', '.join(NAMES)}" in refused.err


@pytest.mark.parametrize("name", ["", *NAMES])
def test_submit_warns_of_recipes_that_fail(plain_command: Command, here: Path, name: str) -> None:
    """A campaign with the stages of a recipe that is known to fail is planned with a warning, others without."""
    plain_command("init", *(["--recipe", name] if name else []))
    planned = plain_command("submit", *DATA, status=0)
    doubt = recipes.find(name).doubt if name else ""
    assert (f"recipe {name}: {doubt}" in " ".join(planned.err.split())) == bool(doubt)
    assert bool(doubt) == (name in ("3st-two-steps", "workflow"))
    used = stages_of(load_config(str(here / "faser-align.toml")))
    assert (recipes.recipe_doubt(used, 4) != "") == bool(doubt)


def test_a_limit_without_effect_is_named(plain_command: Command, here: Path) -> None:
    """If every stage has its own number of iterations, submit warns that another limit than theirs changes nothing."""
    warning = "the limit of 1 (-i, or campaign.iterations) has no effect"
    plain_command("init", "--recipe", "workflow", "-o", "own.toml")
    head, stages, rest = (here / "own.toml").read_text().partition("[[stages]]")
    (here / "common.toml").write_text(head + stages + rest.replace("iterations = 10", "iterations = 0"))
    for file, limit, warned in (("own.toml", "1", True), ("own.toml", "10", False), ("common.toml", "1", False)):
        planned = plain_command("submit", *DATA, "-i", limit, "--config", file, status=0)
        assert (warning in planned.err) == warned
