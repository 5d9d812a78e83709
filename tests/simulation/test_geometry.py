"""Test the positions of sensors, the field between them, and misaligned modules."""

import numpy as np
import pytest

from faser_align.alignment.detector import LAYERS_Z_MM, rotations
from faser_align.alignment.parameters.constants import Constants
from faser_align.simulation import geometry as geo
from faser_align.simulation.misalign import distance_to_truth, misplace_ift

TRUTH: Constants = {"00": (1.0, 0.2, 0.0, 0.05, 0.06, 0.002), "003": (0.1, 0.2, 0.0, 0.0, 0.0, 0.001)}


def element(layer: int, module: int, side: int) -> int:
    return (layer * geo.MODULES + module) * geo.SIDES + side


def test_sensors_lie_where_calypso_has_them() -> None:
    """Sides of station 1's middle layer have z and y of Calypso's geometry."""
    origin = geo.build({}).origin
    assert [origin[element(4, 0, side), 2] for side in (0, 1)] == pytest.approx([45.855, 44.97])
    assert [origin[element(4, 1, side), 2] for side in (0, 1)] == pytest.approx([53.8, 52.915])
    assert [origin[element(4, 4, side), 2] for side in (0, 1)] == pytest.approx([49.83, 48.945])
    assert [origin[element(4, 5, side), 2] for side in (0, 1)] == pytest.approx([41.885, 41.0])
    # nominaly of CKF2Alignment.cxx
    assert [origin[element(4, k, 0), 1] for k in range(8)] == pytest.approx([-100.61, -36.87, 26.87, 90.61] * 2)


def test_axes_are_rotations() -> None:
    """Every sensor's axes are orthonormal and right-handed, with real constants too."""
    axes = geo.build({"01": (1.0, 0.2, 0.1, 0.05, 0.06, 0.003), "013": (0.3, -0.4, 0.0, 0.01, 0.02, 0.001)}).axes
    assert np.linalg.det(axes) == pytest.approx(np.ones(geo.ELEMENTS))
    assert axes @ axes.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), axes.shape), abs=1e-14)


def test_strips_of_the_sides_cross_at_40_mrad() -> None:
    """Side 0 measures along y rotated by 20 mrad, side 1 by the opposite angle, alternating with the module."""
    across = geo.build({}).axes[:, :, 0].reshape(geo.LAYERS, geo.MODULES, geo.SIDES, 3)
    assert across[..., 1] == pytest.approx(np.full(across.shape[:-1], np.cos(0.020)))
    assert across[5, :, 0, 0] == pytest.approx(np.sin(0.020) * np.array([-1, 1, -1, 1, 1, -1, 1, -1]))
    assert across[..., 1, 0] == pytest.approx(-across[..., 0, 0])


def test_module_moves_in_its_own_frame() -> None:
    """A module's x is the global y, its y the global x; a rotation about z keeps its centre."""
    nominal = geo.build({})
    moved = geo.build({"123": (0.1, 0.2, 0.0, 0.0, 0.0, 0.0)})
    shift = (moved.origin - nominal.origin)[element(5, 3, 0)]
    assert shift == pytest.approx([0.2, 0.1, 0.0])
    assert np.flatnonzero(np.abs(moved.origin - nominal.origin).sum(axis=1)).tolist() == [86, 87]
    turned = geo.build({"123": (0.0, 0.0, 0.0, 0.0, 0.0, 1e-3)})
    assert turned.origin == pytest.approx(nominal.origin)
    assert turned.axes[86, :, 0] == pytest.approx(nominal.axes[86, :, 0] + 1e-3 * nominal.axes[86, :, 1], abs=1e-6)


def test_layer_turns_about_its_own_plane() -> None:
    """A layer's rotation keeps (0, 0, z of the layer), so that a module moves along z by the angle times its y."""
    nominal = geo.build({})
    turned = geo.build({"21": (0.0, 0.0, 0.0, 1e-3, 0.0, 0.0)})
    shift = turned.origin[element(7, 3, 0)] - nominal.origin[element(7, 3, 0)]
    y, z = nominal.origin[element(7, 3, 0), 1:]
    assert shift == pytest.approx([0.0, -1e-3 * (z - LAYERS_Z_MM[7]), 1e-3 * y], abs=1e-4)


def test_later_rotations_are_about_fixed_axes() -> None:
    """Rz * Ry * Rx rotates about x first."""
    quarter = np.pi / 2
    turned = rotations(np.array([[quarter, quarter, 0.0]]))[0] @ np.array([0.0, 1.0, 0.0])
    assert turned == pytest.approx([1.0, 0.0, 0.0])


def test_field_bends_as_boxes_do() -> None:
    """Before the first magnet the deflection is zero; after it the kick is 0.3 GeV/(T m) times field and length."""
    shift, kick = geo.bending_at(np.array([-1891.65, 47.4, 637.4]))
    assert shift[0] == kick[0] == 0.0
    first = 0.299792458 * 0.57 * 1.5
    assert kick[1] == pytest.approx(first)
    assert shift[1] == pytest.approx(first * (47.4 + 815.3))
    half = 0.299792458e-3 * 0.57 * 500.0
    assert kick[2] == pytest.approx(first + half)
    assert shift[2] == pytest.approx(first * (637.4 + 815.3) + half * 250.0)


def test_elements_have_calypsos_numbers() -> None:
    """An element's number is 1000 * station + 100 * layer + 10 * module + side."""
    numbers = geo.identifiers()
    assert numbers[element(0, 0, 1)] == 1
    assert numbers[element(11, 7, 1)] == 3271
    assert len(set(numbers.tolist())) == geo.ELEMENTS


def test_ift_is_misplaced_by_the_given_rms() -> None:
    """Modules of the IFT move by exactly the requested rms; layers and other stations stay."""
    start = misplace_ift(TRUTH, seed=3)
    assert distance_to_truth(start, TRUTH) == pytest.approx((24.0, 121.0, 380.0))
    assert set(start) == set(TRUTH) | {f"0{layer}{module}" for layer in range(3) for module in range(8)}
    assert start["00"] == TRUTH["00"]
    assert misplace_ift(TRUTH, seed=3) == start
    assert misplace_ift(TRUTH, seed=4) != start


def test_constrained_modes_are_not_excited() -> None:
    """In each layer, the mean shift across the strips and the mean rotation about z stay zero."""
    start = misplace_ift({}, seed=1, u_um=50.0)
    for layer in range(3):
        values = np.array([start[f"0{layer}{module}"] for module in range(8)])
        assert values[:, [0, 5]].mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-12)
        assert abs(values[:, 1].mean()) > 1e-4


def test_distance_ignores_constrained_modes() -> None:
    """A common shift and rotation of a layer's modules gives no distance."""
    moved: Constants = {f"01{module}": (0.3, 0.0, 0.0, 0.0, 0.0, 0.002) for module in range(8)}
    assert distance_to_truth(moved, {}) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
