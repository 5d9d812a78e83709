"""Test labels and their elements, and the fix rules that choose the parameters that a step keeps fixed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import (
    KEYS,
    PARAMETERS,
    constants_key,
    describe,
    describe_all,
    layer_label,
    layer_number,
    module_rz_label,
    module_x_label,
    parse,
)
from faser_align.fsm.errors import UserError


def test_there_are_348_labels_and_108_keys() -> None:
    """The tracker has 192 sides, 96 modules and 60 layer parameters, and 12 + 96 keys of constants."""
    kinds = [parameter.kind for parameter in PARAMETERS.values()]
    assert (len(PARAMETERS), kinds.count("module.x"), kinds.count("module.rz")) == (348, 192, 96)
    assert len(KEYS) == 108
    assert list(PARAMETERS) == sorted(PARAMETERS)


def test_labels_are_the_predecessors() -> None:
    """The labels of a hit on station 2, layer 1, module 3, side 1 equal those of faser-alignment-script's converter."""
    assert module_x_label(2, 1, 3, 1) == 31311
    assert module_rz_label(2, 1, 3) == 31302
    assert [layer_label(2, 1, dof) for dof in range(1, 6)] == [311, 312, 313, 314, 315]
    assert [PARAMETERS[label].key for label in (10302, 102)] == ["003", "00"]
    assert (constants_key(3, 2), layer_number(1, 1)) == ("32", 21)


@pytest.mark.parametrize(
    ("label", "words", "name", "unit"),
    [
        (11302, "module 3 of layer 1 of station 0, rotation about z", "013.rz", "rad"),
        (31311, "side 1 of module 3 of layer 1 of station 2, shift along x", "213.1.x", "mm"),
        (225, "layer 2 of station 1, rotation about z", "12.rz", "rad"),
        (412, "layer 1 of station 3, shift along y", "31.y", "mm"),
        (103, "layer 0 of station 0, rotation about x", "00.rx", "rad"),
    ],
)
def test_a_label_is_said_in_words(label: int, words: str, name: str, unit: str) -> None:
    """A label is described by element and degree of freedom, with a short name and a unit."""
    assert describe(label) == words
    assert (PARAMETERS[label].name, PARAMETERS[label].unit) == (name, unit)


def test_words_name_one_label_each() -> None:
    """Description, short name and number of each of the 348 labels give that label, in any case and spacing."""
    for label, parameter in PARAMETERS.items():
        spaced = "  " + parameter.words.upper().replace(" of ", "   of ")
        assert {parse(text) for text in (parameter.words, parameter.name, str(label), spaced, f"label {label}")} == {
            label
        }


@pytest.mark.slow
@given(st.text(max_size=40))
def test_other_words_are_refused(text: str) -> None:
    """Any other text is rejected with a sentence that lists valid forms."""
    known = {words for parameter in PARAMETERS.values() for words in (parameter.words, parameter.name)}
    if text.strip().lower() in known or text.strip().removeprefix("label ").isdecimal():
        return
    with pytest.raises(UserError, match="not a parameter of the tracker"):
        parse(text)


def test_many_labels_are_counted() -> None:
    """Of many labels the first ones are named; labels outside the tracker are numbers."""
    assert describe(4711) == "label 4711"
    assert describe_all([102, 4711]) == "layer 0 of station 0, shift along y (102); label 4711"
    assert describe_all(list(PARAMETERS)).endswith("; and 344 more")
    assert describe_all([]) == ""


def test_parts_and_depths_combine() -> None:
    """``IFT_layer`` fixes the intersection of ``IFT`` and ``layer``; numbers may be text; side equals module."""
    assert fix_rules(["IFT_layer", "3ST"]) == fix_rules(["layer", "3ST"]) | fix_rules(["3ST"])
    assert fix_rules(["21_layer"]) >= {211, 212, 213, 214, 215}
    assert 21101 not in fix_rules(["21_layer"])
    assert fix_rules(["21"]) == fix_rules([21])
    assert fix_rules(["3ST_side"]) == fix_rules(["3ST_module"])


@pytest.mark.parametrize("item", ["ift", "IFT_", "_layer", "layer_IFT", "", "50", 13, 2, "21_x", "3st"])
def test_an_unknown_item_is_named(item: str | int) -> None:
    """An unknown item is rejected with the known ones."""
    with pytest.raises(UserError, match="not one of IFT, 3ST") as raised:
        fix_rules([item])
    assert repr(item) in str(raised.value)
