"""Test constants: text, arithmetic, corrections."""

import contextlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faser_align.alignment.parameters.constants import (
    Constants,
    add_constants,
    correction_from_parameters,
    export_constants,
    format_constants,
    parameters_from_correction,
    parse_constants,
    read_constants,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.parameters.differences import changes, moved, movers
from faser_align.alignment.parameters.labels import KEYS, PARAMETERS
from faser_align.fsm.errors import UserError

GOOD = '"00": [0, 0.1, 0, 0, 0, 0]'

values = st.floats(-10, 10).map(lambda value: float(f"{value:g}"))
constants_of_keys = st.dictionaries(st.sampled_from(KEYS), st.tuples(*[values] * 6), min_size=1)


@pytest.mark.parametrize("name", ["align_2022_4st_local.txt", "align_2025.txt", "correction_2024.txt"])
def test_real_files_survive_reading_and_writing(data: Path, name: str) -> None:
    """Reading and writing real constants gives the same bytes."""
    path = data / "constants" / name
    assert format_constants(read_constants(path)) == path.read_text()


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"00": (0, math.nan, 0, 0, 0, 0)}, "y of key \"00\" is 'nan'"),
        ({"07": (0,) * 6}, '"07" is not a layer or module'),
        ({"00": (0,) * 5}, '"00" has 5 values'),
        ({}, "is empty"),
    ],
)
def test_only_constants_that_can_be_read_are_written(tmp_path: Path, constants: Constants, words: str) -> None:
    """Constants that reading would refuse are not written, and the file in their place stays."""
    path = tmp_path / "c.txt"
    path.write_text(GOOD)
    with pytest.raises(UserError, match=re.escape(words)):
        write_constants(path, constants)
    assert path.read_text() == GOOD


def test_a_module_side_moves_x_and_y() -> None:
    """Equal shifts of both sides give x, opposite ones y with the sign of the module's mounting."""
    correction = correction_from_parameters({10001: 0.01, 10011: 0.01, 10101: -0.01, 10111: 0.01, 10102: 0.5})
    assert list(correction["000"]) == [0.01, 0, 0, 0, 0, 0]
    assert list(correction["001"]) == [0, -0.5, 0, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "c.txt is empty") for text in ("", "  \n")),
        ("{}", "contains no constants"),
        ("nonsense", "near 'nonsense'"),
        (GOOD + "," + GOOD, '"00" is given twice'),
        (GOOD + GOOD.replace("00", "01", 1), "expected ,"),
        (GOOD.replace("00", "07", 1), '"07" is not a layer or module'),
        (GOOD.replace("0.1, ", ""), '"00" has 5 values'),
        ('"00": []', '"00" has 0 values'),
        *((GOOD.replace("0.1", value), f"y of key \"00\" is '{value}'") for value in ("abc", "nan", "-inf")),
        (GOOD.replace("0.1", "1_0"), "y of key \"00\" is '1_0', which is not a number; correct it"),
        (GOOD[:-1], "near"),
        ("{" + GOOD, "only one of two braces; add the other"),
        (GOOD + "}", "only one of two braces"),
    ],
)
def test_a_bad_file_gets_a_sentence(text: str, words: str) -> None:
    """An error in the text is reported with file, key and value."""
    with pytest.raises(UserError, match=r"^c\.txt") as raised:
        parse_constants(text, "c.txt")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_texts_of_other_systems_are_read(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends and a trailing comma are ignored."""
    (tmp_path / "c.txt").write_bytes(
        b"\xef\xbb\xbf" + GOOD.encode() + b",\r\n" + GOOD.replace("00", "01", 1).encode() + b",\r\n"
    )
    assert list(read_constants(tmp_path / "c.txt")) == ["00", "01"]


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    """A file that cannot be read is reported by name."""
    with pytest.raises(UserError, match=r"none\.txt"):
        read_constants(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not text"):
        read_constants(tmp_path / "binary.txt")


@given(constants_of_keys)
@settings(deadline=None)
def test_text_round_trip(constants: Constants) -> None:
    """Constants with six digits survive a round trip through text, with and without braces and line ends."""
    text = format_constants(constants)
    assert parse_constants(text, "x") == constants
    assert parse_constants("{" + text.replace('],"', '],\n "') + "}\n", "x") == constants


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_numbers_of_numpy_are_written_as_numbers(kind: type[np.generic]) -> None:
    """Constants computed with numpy are written as plain numbers, with all their digits."""
    six = np.array([1 / 3, -2 / 3, 0, 1e-9, 7, 12345678], dtype=kind)
    text = format_constants({"003": tuple(six)})
    assert parse_constants(text, "x") == {"003": tuple(six.tolist())}


@given(constants_of_keys, constants_of_keys)
@settings(deadline=None)
def test_difference_undoes_sum(first: Constants, second: Constants) -> None:
    """Subtracting what was added restores the constants, up to rounding."""
    back = subtract_constants(add_constants(first, second), second)
    for key, six in first.items():
        assert back[key] == pytest.approx(six, abs=1e-4)  # sums up to 20 have six digits


@given(st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.floats(-1, 1)))
@settings(deadline=None)
def test_parameters_of_a_correction_are_those_that_made_it(parameters: dict[int, float]) -> None:
    """A correction gives back the parameters that made it, up to the six digits of its text."""
    found = parameters_from_correction(correction_from_parameters(parameters))
    assert found == pytest.approx(dict.fromkeys(PARAMETERS, 0.0) | parameters, abs=3e-6)


@given(constants_of_keys, st.dictionaries(st.sampled_from(KEYS), st.tuples(*[st.floats(-1, 1)] * 6)))
@settings(deadline=None)
def test_what_does_not_change_keeps_its_digits(correction: Constants, constants: Constants) -> None:
    """Constants with more than six digits keep them in a sum and its text wherever nothing is added."""
    total = parse_constants(format_constants(add_constants(constants, correction)), "sum")
    for key, six in total.items():
        for place, value in enumerate(six):
            added = correction.get(key, (0.0,) * 6)[place]
            before = constants.get(key, (0.0,) * 6)[place]
            assert value == (before if not added else float(f"{before + added:g}"))


def test_differences_of_absurd_constants_are_finite() -> None:
    """A constant whose square is too large for a float has an rms like any other."""
    (summary,) = moved(changes({}, {"00": (1e200, 0.0, 0.0, 0.0, 0.0, 0.0)}))
    assert summary.rms == pytest.approx(1e203)


def test_differences_are_told_by_degree_of_freedom() -> None:
    """Changes are listed by degree of freedom with units and description, without unchanged ones."""
    before = parse_constants('"00": [0, 0, 0, 0, 0, 1e-3],"013": [0.001, 0, 0, 0, 0, 0]', "before")
    after = parse_constants(
        '"00": [0, 0, 0, 0, 0, 1.5e-3],"013": [0.004, -0.25, 0, 0, 0, 0],"212": [0.001, 0, 0, 0, 0, 0]', "b"
    )
    found = changes(before, after)
    assert [(change.key, change.dof, round(change.value, 9), change.unit) for change in found] == [
        ("00", "rz", 500.0, "urad"),
        ("013", "x", 3.0, "um"),
        ("013", "y", -250.0, "um"),
        ("212", "x", 1.0, "um"),
    ]
    assert [(part.kind, part.dof, part.elements) for part in moved(found)] == [
        ("layer", "rz", 1),
        ("module", "x", 2),
        ("module", "y", 1),
    ]
    assert moved(found)[1][3:5] == pytest.approx((5**0.5, 2.0))
    assert [change.words for change in movers(found, 2, rotations=False)] == [
        "module 3 of layer 1 of station 0, y",
        "module 3 of layer 1 of station 0, x",
    ]
    assert [change.words for change in movers(found, 2, rotations=True)] == ["layer 0 of station 0, rz"]
    assert changes(before, before) == []


@given(st.text(alphabet='"0123:[], .-e{}', max_size=40))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text is parsed or rejected with a sentence."""
    with contextlib.suppress(UserError):
        parse_constants(text, "x")


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_damaged_files_are_read_or_refused(data: Path, tmp_path: Path, at: int, byte: int, cut: bool) -> None:
    """A file with a changed byte, or truncated there, gives finite constants of known keys or a sentence with its name."""
    content = bytearray((data / "constants" / "align_2025.txt").read_bytes())
    at %= len(content)
    content[at : len(content) if cut else at + 1] = bytes([byte])
    path = tmp_path / "c.txt"
    path.write_bytes(content)
    try:
        constants = read_constants(path)
    except UserError as error:
        sentence = str(error)
    else:
        sentence = f"c.txt has {len(constants)} good keys" if set(constants) <= set(KEYS) else ""
        assert all(math.isfinite(value) for six in constants.values() for value in six)
    assert "c.txt" in sentence
    assert "\n" not in sentence


def test_export_has_other_forms() -> None:
    """Constants are exported for Calypso in braces, as JSON and as CSV."""
    constants = parse_constants(GOOD, "x")
    assert export_constants(constants, "calypso") == '{"00": [0, 0.1, 0, 0, 0, 0]}\n'
    assert '"00": [' in export_constants(constants, "json")
    assert export_constants(constants, "csv").splitlines()[1] == "00,0.0,0.1,0.0,0.0,0.0,0.0"


def test_every_label_changes_its_key() -> None:
    """Each of the 348 parameters changes the constants of its own key and no others."""
    for label, parameter in PARAMETERS.items():
        changed = [key for key, six in correction_from_parameters({label: 1e-3}).items() if any(six)]
        assert changed == [parameter.key]
