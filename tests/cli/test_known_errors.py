"""Test the errors of constants that commands show."""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign, metrics, run_iteration, write_metrics
from commandline import Command

from faser_align.alignment.parameters.constants import write_constants
from faser_align.campaign import layout
from faser_align.operations.known_errors import errors_of, errors_of_difference

START = {"000": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), "001": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)}
FOUND = {"000": (0.03796, 0.27631, 0.0, 0.0, 0.0, 0.0), "001": (0.0, 0.5, 0.0, 0.0, 0.0, 0.0)}
ERRORS = {"000": [1.822, 33.4, 0.0, 0.0, 0.0, 0.0], "001": [2.0, None, 0.0, 0.0, 0.0, 0.0]}


@pytest.fixture
def campaign(here: Path) -> Path:
    """Return the folder of a campaign with one solved iteration, whose constants have errors."""
    record = make_campaign(here / "camp", files=1, name="camp")
    run_iteration(record, 1)
    write_constants(layout.constants_file(record["folder"], 1, 1), START)
    path = Path(layout.result_file(record["folder"], 1, 1))
    write_constants(path, FOUND)
    made = {"result_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_metrics(record, metrics(1, files=1, constants=made, constant_errors=ERRORS))
    write_constants(path, FOUND)
    return Path(record["folder"])


def result(campaign: Path) -> Path:
    return Path(layout.result_file(str(campaign), 1, 1))


def test_errors_are_those_of_the_iteration_that_made_the_constants(campaign: Path, here: Path) -> None:
    """Errors are found for an iteration's result and for the next iteration's copy, by its checksum."""
    assert errors_of(result(campaign)) == ERRORS
    handed_on = Path(layout.constants_file(str(campaign), 1, 2))
    handed_on.write_bytes(result(campaign).read_bytes())
    assert errors_of(handed_on) == ERRORS
    assert errors_of(Path(layout.constants_file(str(campaign), 1, 1))) == {}
    (here / "copy.txt").write_bytes(result(campaign).read_bytes())
    assert errors_of(here / "copy.txt") == {}
    result(campaign).write_text(result(campaign).read_text() + "\n")
    assert errors_of(result(campaign)) == {}
    assert errors_of(here / "none.txt") == {}


def test_errors_of_differences(campaign: Path, here: Path) -> None:
    """A difference in one campaign has the error of the second constants; errors of two campaigns add in quadrature."""
    start = Path(layout.constants_file(str(campaign), 1, 1))
    assert errors_of_difference(start, result(campaign)) == ERRORS
    campaign.rename(here / "other")
    other = result(here / "other")
    assert errors_of_difference(here / "none.txt", other) == ERRORS
    (here / "beside").mkdir()
    for name in (layout.CONSTANTS, layout.METRICS):
        (here / "beside" / name).write_bytes(other.with_name(name).read_bytes())
    found = errors_of_difference(here / "beside" / layout.CONSTANTS, other)
    assert found["000"] == pytest.approx([1.822 * 2**0.5, 33.4 * 2**0.5, 0, 0, 0, 0])
    assert found["001"][1] is None


def test_constants_are_shown_with_errors(campaign: Path, plain_command: Command) -> None:
    """show and diff have values with errors and significances; as JSON errors come with --errors, in mm and rad."""
    shown = plain_command("constants", "show", "camp").out
    assert "38.0±1.8" in shown
    assert "276±33" in shown
    assert "errors are statistical" in shown
    start = layout.constants_file(str(campaign), 1, 1)
    found = plain_command("constants", "diff", start, "camp").out
    assert re.search(r"module 0 of layer 0 of station 0, y +276±33 +8\.3 ", found)
    plain: dict[str, Any] = json.loads(plain_command("constants", "show", "camp", "--json").out)
    assert plain["000"][:2] == [0.03796, 0.27631]
    both: dict[str, Any] = json.loads(plain_command("constants", "diff", start, "camp", "--json", "--errors").out)
    assert both["constants"]["000"][1] == 0.27631
    assert both["errors"]["000"][:2] == pytest.approx([0.001822, 0.0334])
    assert both["errors"]["001"][1] is None


def test_constants_are_shown_in_units_of_their_errors(campaign: Path, plain_command: Command) -> None:
    """--sigma writes numbers of standard deviations, with a dash for a constant without an error; JSON has them, too."""
    shown = plain_command("constants", "show", "camp", "--sigma").out
    assert re.search(r"000 +20\.8 +8\.3 +- +- +- +-\n", shown)
    assert re.search(r"001 +0\.0 +- +- +- +- +-\n", shown)
    start = layout.constants_file(str(campaign), 1, 1)
    assert plain_command("constants", "diff", start, "camp", "--sigma").out == shown
    both: dict[str, Any] = json.loads(plain_command("constants", "show", "camp", "--json", "--errors").out)
    assert both["sigma"]["000"] == pytest.approx([20.8342, 8.2728, *[None] * 4], abs=1e-3)
    assert "leave out --sigma" in plain_command("constants", "show", start, "--sigma", status=2).err


def test_constants_are_exported_with_errors(campaign: Path, plain_command: Command, here: Path) -> None:
    """export --errors writes errors as JSON and CSV; Calypso's format and constants without errors are refused."""
    said = plain_command("constants", "export", "camp", "-o", "c.txt", "--errors", status=2)
    assert "add --format json or --format csv" in said.err
    words = ("-o", "c.json", "--format", "json", "--errors")
    unknown = plain_command("constants", "export", layout.constants_file(str(campaign), 1, 1), *words, status=2)
    assert "leave out --errors" in unknown.err
    for form in ("json", "csv"):
        assert plain_command("constants", "export", "camp", "-o", f"c.{form}", "--format", form, "--errors").status == 0
    assert json.loads((here / "c.json").read_text())["errors"]["000"][1] == pytest.approx(0.0334)
    rows = {row["key"]: row for row in csv.DictReader((here / "c.csv").read_text().splitlines())}
    assert float(rows["000"]["error_y_mm"]) == pytest.approx(0.0334)
    assert (rows["001"]["error_y_mm"], rows["001"]["error_z_mm"]) == ("", "0.0")
