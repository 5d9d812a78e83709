"""Test fix rules, which choose the parameters that a step keeps fixed."""

import pytest

from faser_align.alignment.parameters.fix_rules import fix_rules
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.fsm.errors import UserError


def free(items: list[str | int], stations: int = 4) -> dict[str, int]:
    """Return how many parameters of each kind are free."""
    fixed = fix_rules(items, stations)
    kinds = [parameter.kind for label, parameter in PARAMETERS.items() if label not in fixed]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def test_two_layers_fixed_and_then_the_others() -> None:
    """faser-alignment-script's 3ST steps fix 21 and 41 with their modules, then all others; x of layers always."""
    first = free(["IFT", 21, 41], 3)
    assert first == {"layer.y": 7, "layer.rx": 7, "layer.ry": 7, "layer.rz": 7, "module.x": 112, "module.rz": 56}
    second = free(["IFT", 20, 22, 30, 31, 32, 40, 42], 3)
    assert sum(second.values()) == 56
    assert 211 in fix_rules([], 3)
    assert not fix_rules(["IFT", 20, 22, 30, 31, 32, 40, 42], 3) & {212, 213, 214, 215, 21101, 21102, 412}


def test_three_stations_have_no_ift() -> None:
    """With three stations the IFT is fixed without being named."""
    assert fix_rules([21], 3) == fix_rules(["IFT", 21], 4)


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


def test_something_must_be_free() -> None:
    """A step that fixes everything is rejected."""
    with pytest.raises(UserError, match="fixes every parameter"):
        fix_rules(["IFT", "3ST"])
