"""Test reading the configuration file, and its error messages."""

import contextlib
import functools
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faser_align
from faser_align.config import describe
from faser_align.config.load import load_config, parse_config
from faser_align.config.profiles import PROFILES, profile_text
from faser_align.config.schema import Config
from faser_align.config.stages import stages_of
from faser_align.fsm.errors import UserError

REPOSITORY = Path(__file__).parents[2]


def refused(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_config(text, "x.toml")
    return str(caught.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid(profile: str) -> None:
    """The file written by init is valid and has the profile's pool."""
    config = parse_config(profile_text(profile), f"/somewhere/{profile}.toml")
    assert config.htcondor.pool == {"local": "personal", "lxplus": "system"}[profile]
    assert config.campaign.folder == "/somewhere"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_no_path_of_this_installation(profile: str) -> None:
    """The file written by init works with a new virtual environment, because `{examples}` is resolved when it is read."""
    text = profile_text(profile)
    installed = os.path.dirname(os.path.abspath(faser_align.__file__))
    assert not [place for place in (installed, os.path.realpath(installed), sys.prefix) if place in text]
    if profile == "local":
        config = parse_config(text, "/somewhere/local.toml")
        assert config.campaign.constants == f"{installed}/examples/ift_misplaced.txt"
        assert os.path.isfile(config.simulation.truth)


def test_an_empty_table_has_the_defaults() -> None:
    """A file with only a table's name gives the default configuration."""
    assert parse_config("[mille]", "/a/x.toml").mille == Config().mille


def test_paths_are_relative_to_the_file() -> None:
    """Relative paths become absolute, starting at the file's folder; ~ is the home folder; pede stays a command."""
    config = parse_config('[campaign]\nconstants = "c/start.txt"\n[storage]\ndata = "~/d"', "/a/b/x.toml")
    assert config.campaign.constants == "/a/b/c/start.txt"
    assert config.storage.data == os.path.expanduser("~/d")
    assert config.solver.pede == "pede"
    assert parse_config('[solver]\npede = "./pede"', "/a/b/x.toml").solver.pede == "/a/b/pede"
    assert parse_config('[reconstruction]\nraw = "r/{file}"', "/a/b/x.toml").reconstruction.raw == "/a/b/r/{file}"


PLACES = {
    "campaign": "folder constants",
    "reconstruction": "environment",
    "reconstruction.calypso": "atlas_base asetup setup write_constants reconstruct database",
    "notify": "file templates",
    "python": "jobs hooks",
    "report": "publish",
    "simulation": "truth",
    "solver": "pede environment",
    "storage": "data",
}


def test_every_path_is_made_absolute() -> None:
    """Each key that is a path starts at the file's folder, also in tables of tables and in lists of tables."""
    keys = [(f"[{table}]", *(f'{key} = "p/x"' for key in of.split())) for table, of in PLACES.items()]
    steps = ("[[stages]]", *('[[stages.steps]]\nparameters = "p/x"' for _ in range(2)))
    text = "\n".join(line for lines in (*keys, steps) for line in lines)
    made = parse_config(text, "/a/b/x.toml").model_dump_json()
    assert made.count('"/a/b/p/x"') == text.count('"p/x"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[campaign]\niteration = 3",
            "campaign.iteration is not a key of the configuration; did you mean campaign.iter",
        ),
        ("iterations = 3", "did you mean campaign.iterations?"),
        ("[capaign]\nstations = 3", "did you mean campaign?"),
        ("[campaign]\niterations = 0", "campaign.iterations = 0 is not allowed: it must be a whole number at least 1"),
        *((f"[campaign]\niterations = {value}", f"campaign.iterations = {value}") for value in ("2.5", '"3"', "true")),
        ("[campaign]\nstations = 5", "it must be 3 or 4"),
        ('[campaign]\nname = "a/b"', "is not the name of a folder"),
        ('[campaign]\nname = "{x}"', "unknown field {x}"),
        ('[campaign]\nname = "{"', "campaign.name"),
        (
            '[reconstruction]\nbackend = "calypso"\nraw = "/r/{file}"\n[reconstruction.calypso]\nasetup = "/a"',
            'backend = "calypso" needs calypso.write_constants, calypso.reconstruct, calypso.setup',
        ),
        ('[reconstruction]\nbackend = "command"', "needs command"),
        ('[reconstruction]\ncommand = "run {raw}"', "lacks the field {output}"),
        ('[reconstruction]\ncommand = "run {output} {foo}"', "unknown field {foo}"),
        ('[reconstruction.calypso]\nwrite_options = ["{run}"]', "unknown field {run}"),
        ('[reconstruction]\nraw = "/eos/{run}"', "lacks the field {file}"),
        ("[reconstruction]\nmin_files = 0", "above 0 and at most 1"),
        ("[mille]\npz_min = 9000", "pz_min = 9000 must be below pz_max = 5000"),
        (
            "[mille]\nresidual_max = []",
            "mille.residual_max = [] is not allowed: it must be a list of one value or more, each a number above 0",
        ),
        ("[mille]\nresidual_max = [0.5, -1]", "mille.residual_max[2] = -1 is not allowed: it must be a number above 0"),
        *((f"[mille]\nchi2_max = {value}", "mille.chi2_max") for value in ("inf", "nan")),
        ('[[stages]]\n[[stages.steps]]\nfix = ["3ST", 23]', "stages[1].steps[1].fix[2] = 23"),
        ("[stages]\niterations = 3", "it must be a list of tables"),
        ("[[stages]]\nsteps = []", "stages[1].steps = [] is not allowed: it must be one table or more"),
        ("mille = 3", "mille = 3 is not allowed: it must be a table"),
        ('[notify]\nevents = ["ended"]', 'notify.events[1] = "ended"'),
        ('[htcondor.reco]\nflavour = "week"', '"workday"'),
        ('[htcondor]\naccounting_group = "a b"', "htcondor.accounting_group"),
        ('[htcondor.reco]\nrequirements = """a\nb"""', "htcondor.reco.requirements"),
        ('[campaign]\nfolder = "a\\nb"', "it contains a line break or another control character; it must be text"),
        ('[htcondor.reco]\nrequirements = "a \\\\"', "it ends with a backslash"),
        ('[htcondor]\naccounting_group = "x y"', "it must be text of letters, digits and _ . + -"),
        ('[notify]\ntargets = ["x y"]', "it must be text of letters, digits and _ . + -"),
        ('[[stages]]\nname = ""', 'stages[1].name = "" is not allowed: it must be text, not empty'),
        (
            '[solver]\nweights = {"11706" = 0.5}',
            'solver.weights = "11706" is not allowed: is not a run with six digits',
        ),
        (
            '[solver]\nweights = {"011706" = -1}',
            "solver.weights.011706 = -1 is not allowed: it must be a table such as",
        ),
        (
            "[[stages]]\nconvergence = {patience = 0}",
            "stages[1].convergence.patience = 0 is not allowed: it must be a whole number at least 1",
        ),
        ("[[stages]]\nconvergence = {pateince = 1}", "stages[1].convergence.pateince is not a key"),
        ("[htcondor]\nrequest_cpus = 2", "did you mean htcondor.reco.cpus?"),
        ("[htcondor]\nmax_retries = 2", "did you mean htcondor.retries?"),
        (
            "[htcondor.reco]\nmemory_mb = 900\nmemory_max_mb = 100",
            "memory_max_mb = 100 must be at least memory_mb = 900",
        ),
        ('[reconstruction]\ncopy_with = "xrdcp"\neos_url = ""', "needs eos_url"),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(text: str, said: str) -> None:
    """An error gives one line with the file, the key as the user counts it, its value, and what is allowed."""
    sentence = refused(text)
    assert sentence.startswith("x.toml: ")
    assert said in sentence
    assert "\n" not in sentence


def test_several_mistakes_give_a_line_each() -> None:
    """All errors are reported at once."""
    assert len(refused("[campaign]\nstations = 5\niterations = 0\nx = 1").splitlines()) == 3


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("  \n", "is empty"), ("[campaign", "not valid TOML")])
def test_what_is_no_configuration_is_refused(text: str, said: str) -> None:
    """An empty file and one that is not TOML give a sentence with the fix."""
    assert said in refused(text)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file, a folder and a binary file get a sentence each."""
    with pytest.raises(UserError, match=r"no such configuration file.*faser-align init"):
        load_config(str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match="cannot read: Is a directory"):
        load_config(str(tmp_path))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_config(str(tmp_path / "binary.toml"))
    (tmp_path / "windows.toml").write_bytes(b"\xef\xbb\xbf[campaign]\r\niterations = 3\r\n")
    assert load_config(str(tmp_path / "windows.toml")).campaign.iterations == 3


@given(
    st.dictionaries(st.sampled_from(describe.names()), st.one_of(st.integers(), st.text(), st.booleans(), st.floats()))
)
def test_any_values_are_read_or_refused(values: dict[str, object]) -> None:
    """Any value of a key gives a configuration or sentences, never another error."""
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in values.items() if "stages." not in name)
    with contextlib.suppress(UserError):
        parse_config(text, "x.toml")


def test_every_key_is_described() -> None:
    """Every key has a description and allowed values for the page."""
    for _, keys in describe.tables():
        for key in keys:
            assert key.description.endswith("."), key.name
            assert key.allowed, key.name


def test_stages_are_completed() -> None:
    """A stage without iterations has the campaign's; without stages there is one that frees all but the frame."""
    config = parse_config('[[stages]]\nname = "a"\n[[stages]]\nname = "b"\niterations = 3', "x.toml")
    assert [(s["name"], s["iterations"]) for s in stages_of(config)] == [("a", 10), ("b", 3)]
    for stations in (3, 4):
        (stage,) = stages_of(parse_config(f"[campaign]\nstations = {stations}", "x.toml"))
        assert [step["fix"] for step in stage["steps"]] == [["frame", "rx", "ry"]]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value if not 0xD800 <= ord(c) <= 0xDFFF) + '"'
    return repr(value)


@pytest.mark.parametrize("name", ["templates/lxplus", "examples/lxplus_ift", "examples/lxplus_three_stages"])
def test_departures_from_the_defaults_are_explained(name: str) -> None:
    """Each value of the lxplus profile that differs from a default has a comment on its line, or on its table's."""
    defaults = Config().model_dump(mode="json")
    table, header, silent = "", "", []
    for line in (REPOSITORY / f"{name}.toml").read_text().splitlines():
        if line.startswith("["):
            table, header = line.partition("]")[0].strip("["), line
        key, equals, _ = line.partition(" = ")
        if not equals or not key.isidentifier() or table.startswith("stages"):
            continue
        default = functools.reduce(lambda values, part: values[part], [*table.split("."), key], defaults)
        if default not in ("", [], tomllib.loads(line)[key]) and "#" not in line + header:
            silent.append(f"{table}.{key}")
    assert silent == []
    text = (REPOSITORY / f"{name}.toml").read_text()
    assert re.search(r"^min_files = 0.95 +# default 1.0", text, re.MULTILINE)
    assert "derivative_max" not in text  # the default is right
