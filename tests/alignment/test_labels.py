"""Labels and the elements that they belong to."""

from faser_align.alignment.labels import (
    KEYS,
    PARAMETERS,
    constants_key,
    layer_label,
    layer_number,
    module_rz_label,
    module_x_label,
)


def test_there_are_348_labels_and_108_keys() -> None:
    """The tracker has 192 sides, 96 modules and 60 layer parameters, and 12 + 96 keys of constants."""
    kinds = [parameter.kind for parameter in PARAMETERS.values()]
    assert (len(PARAMETERS), kinds.count("module.x"), kinds.count("module.rz")) == (348, 192, 96)
    assert len(KEYS) == 108
    assert list(PARAMETERS) == sorted(PARAMETERS)


def test_labels_are_the_predecessors() -> None:
    """The labels of a hit on station 2, layer 1, module 3, side 1 are those of the predecessor's converter."""
    assert module_x_label(2, 1, 3, 1) == 31311
    assert module_rz_label(2, 1, 3) == 31302
    assert [layer_label(2, 1, dof) for dof in range(1, 6)] == [311, 312, 313, 314, 315]


def test_a_label_knows_its_element() -> None:
    """A label leads to the key of the constants, and to its unit."""
    assert PARAMETERS[10302].key == "003"
    assert PARAMETERS[102].key == "00"
    assert PARAMETERS[10301].translation
    assert not PARAMETERS[10302].translation
    assert constants_key(3, 2) == "32"
    assert layer_number(1, 1) == 21
