"""Test converting configurations of faser-alignment-script: every key with its origin, nothing dropped silently."""

import json
from pathlib import Path
from typing import Any

import pytest
from imports import TARGET, THEIRS, config_of, imported, read

from faser_align.config.load import parse_config
from faser_align.fsm.errors import UserError
from faser_align.predecessor.read import read_json

ROOT = Path(__file__).parents[2]
NEWEST = THEIRS / "config.json"


@pytest.mark.parametrize("name", ["config.json", "config_readme.json", "2026-03-12.json", "pede-dev.json"])
def test_a_configuration_becomes_ours(name: str) -> None:
    """Each value is at our key with the same meaning and its origin, and the data become options of submit."""
    assert imported(read(name)).text == (THEIRS / "imported" / name.replace(".json", ".toml")).read_text()


def test_a_missing_comma_is_told_with_its_place_and_cure() -> None:
    """The missing comma after line 8 of the newest configuration is reported with its line and the fix."""
    with pytest.raises(UserError) as caught:
        read_json(NEWEST.read_text(), "config.json", lenient=False)
    assert str(caught.value) == (
        "config.json is not JSON: line 9, column 5: a comma is missing after line 8; insert it at the end of line 8, "
        "or read what was meant with --lenient"
    )


def test_lenient_reads_what_was_meant() -> None:
    """With --lenient that file is read as if the comma were there, and the fault is reported."""
    found, faults = read_json(NEWEST.read_text(), "config.json", lenient=True)
    whole = NEWEST.read_text().replace('_layer"\n', '_layer",\n')
    assert found == json.loads(whole)
    assert [(fault.line, fault.column) for fault in faults] == [(9, 5)]


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ('{"a": 1,}', {"a": 1}, "line 1, column 8: extra comma"),
        ('{"a": [1 2]}', {"a": [1, 2]}, "line 1, column 10: a comma is missing before 2"),
        ('{"a": 1, // why\n "b": 2}', {"a": 1, "b": 2}, "line 1, column 10: JSON has no comments"),
        ("{'a': true}", {"a": True}, "line 1, column 2: 'a'"),
        ('{"a": True, "b": None}', {"a": True, "b": None}, "line 1, column 7: True is Python"),
        ('{"run": 011705}', {"run": "011705"}, "line 1, column 9: 011705 begins with 0"),
        ('{"a": 1,\n "a": 2}', {"a": 2}, 'line 2, column 2: duplicate key "a"'),
    ],
)
def test_other_slips_are_told_and_read_alike(text: str, value: dict[str, Any], place: str) -> None:
    """Each common error is refused with its line, and accepted with --lenient."""
    with pytest.raises(UserError, match=r"--lenient$") as caught:
        read_json(text, "c.json", lenient=False)
    assert place in str(caught.value)
    assert read_json(text, "c.json", lenient=True)[0] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[1]", "must be an object"),
        ('{"a": {"b": 1', "line 1, column 14: the file ends before the { of line 1 is closed"),
        ('{"a": "x\n}', "line 1, column 7: a string does not end in its line"),
        ('{"a" 1}', 'a colon is missing after the key "a"'),
        ('{"a": xyz}', "line 1, column 7: xyz} is not a value"),
        ("{a: 1}", "put keys into double quotes"),
        ('{"a": [1}', "does not match the last open bracket"),
        ('{"a": 1}}', "text after the last brace"),
        ('{"a": "\\x"}', "is not a valid escape in JSON"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_guessed_is_refused_with_its_place(text: str, said: str) -> None:
    """--lenient refuses what cannot be guessed, such as truncated files."""
    with pytest.raises(UserError) as caught:
        read_json(text, "c.json", lenient=True)
    assert said in str(caught.value)


def test_an_environment_script_counts_if_it_exists(tmp_path: Path) -> None:
    """The README's environment script is used if it exists, and the data folder unless EOS is switched off."""
    old = read("config_readme.json")
    assert config_of(old).reconstruction.environment == ""
    (tmp_path / "reco_condor_env.sh").write_text("")
    config = config_of(old, str(tmp_path))
    assert config.reconstruction.environment == config.solver.environment == str(tmp_path / "reco_condor_env.sh")
    assert config_of(old | {"storage": {"use_eos_for_output": False}}).storage.folder == ""


def with_templates() -> dict[str, Any]:
    """Return the newest generation's configuration with submit templates edited by its user."""
    old = read("config.json")
    return old | {"tpl": old["tpl"] | {"dir": str(THEIRS / "edited")}}


def test_templates_that_were_edited_are_read() -> None:
    """Settings in edited submit templates become our keys in our units, with their origin."""
    found = imported(with_templates())
    htcondor = parse_config(found.text, TARGET).htcondor
    reco = htcondor.reco
    assert (reco.accounting_group, htcondor.mille.accounting_group) == ("group_u_FASER.users", "another")
    assert (reco.cpus, reco.memory_mb, reco.disk_mb, reco.flavour) == (4, 6144, 12288, "tomorrow")
    assert reco.requirements == '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= "AlmaLinux9")'
    mille = htcondor.mille
    assert (mille.cpus, mille.memory_mb, mille.disk_mb, mille.flavour) == (1, 3000, 3907, "longlunch")
    assert "# tpl.recosub: request_memory = 6 GB" in found.text


def test_lines_of_templates_without_a_key_are_listed() -> None:
    """Each line without a counterpart is reported with the reason, and so is a missing template."""
    left = {one.key: one.why for one in imported(with_templates()).left}
    assert left["tpl.recosub: max_retries"] == "there is one key, htcondor.retries"
    assert left["tpl.recosub: concurrency_limits"].startswith("unknown key")
    assert left["tpl.recosub: include : more.sub"].startswith("unknown key")
    assert (
        left["tpl.millesub: request_cpus"]
        == "its value is set by the code of faser-alignment-script; set htcondor.mille.cpus"
    )
    assert left["tpl.millesub: requirements"].endswith("set htcondor.mille.requirements")
    assert "there is one htcondor.reco.flavour" in left["tpl.recosub: +MaxRuntime = 99"]
    absent = {one.key: one.why for one in imported(read("config.json")).left}
    assert (
        "reco.sub.tpl cannot be read here: [htcondor.reco] uses the values of the original template"
        in absent["tpl.recosub"]
    )


def test_users_own_edits_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables in paths, several ranges, {iters}, and folders below the campaign's are converted or reported."""
    monkeypatch.setenv("HOME", "/home/me")
    old = read("config.json")
    old["raw"] |= {"files": ["400-402", "410:412"], "format": "{run}_{iters}"}
    old["env"]["calypso"] = {"asetup": "$HOME/calypso/asetup.faser", "setup": "~/install/setup.sh"}
    old["data"] |= {"dir": "/eos/mine/{year}/{format}/data"}
    old["dag"] |= {"retries": 4}
    found = imported(old)
    config = parse_config(found.text, TARGET)
    assert found.submit == "-y 2022 -r 008294 -f 400-401,410-411"
    assert config.campaign.name == "{run}_{iterations}"
    calypso = config.reconstruction.calypso
    assert (calypso.asetup, calypso.setup) == ("/home/me/calypso/asetup.faser", "/home/me/install/setup.sh")
    assert config.storage.data == "/eos/mine"
    assert [one.key for one in found.left if one.why.startswith("unknown key")] == ["dag.retries"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"raw": {"stations": 5}}, "raw.stations (our campaign.stations) = 5 is not allowed"),
        ({"raw": {"run": "x"}}, "-r x is not a run"),
        ({"raw": {}, "workflow": {"set0": {"comment": "no iters"}}}, "workflow.set0 is not a set"),
        (
            {"raw": {}, "workflow": {"set0": {"iters": 1, "pede": {"step0": [21, "UFO"]}}}},
            'workflow.set0.pede.step0 fixes "UFO", which has no meaning here; write IFT, 3ST, ',
        ),
        ({"raw": {}, "workflow": {"set0": {"iters": 1, "comment": 3}}}, "workflow.set0.comment is not text"),
        ({"raw": {"year": "2022\n-i"}}, 'raw.year = "2022\\n-i" is not valid: it is not a year'),
        (
            {"raw": {}, "env": {"calypso": None}},
            "config.json: env.calypso.setup is missing; write the path of setup.sh",
        ),
        ({"raw": {"iters": None, "stations": 7}}, "raw.stations (our campaign.stations) = 7"),
        ({"raw": {}, "workflow": {"set0": {"iters": 1, "pede": [1]}}}, "workflow.set0.pede is not a table of steps"),
        ({"other": 1}, "is not a configuration of faser-alignment-script"),
    ],
)
def test_values_that_cannot_be_used_are_named(change: dict[str, Any], said: str) -> None:
    """Values that our key does not allow, and a foreign file, are refused in a sentence that names the file."""
    base = read("config.json") if "raw" in change else {}
    with pytest.raises(UserError) as caught:
        imported({**base, **{k: {**base.get(k, {}), **v} if isinstance(v, dict) else v for k, v in change.items()}})
    assert said in str(caught.value)
    assert "config.json" in str(caught.value)


def test_what_is_not_known_is_listed() -> None:
    """An unknown key is listed, with the advice to find its effect in the old code."""
    found = imported(read("config.json") | {"extra": {"mine": [1]}})
    assert [(one.key, one.value) for one in found.left if one.why.startswith("unknown key")] == [("extra.mine", "[1]")]
