"""Evaluate the function without its records, where it is exactly quadratic.

While no record crosses a cut and none is down-weighted, half the chi2 is a quadratic function of the global parameters. The pass
that computes the matrix ``C`` and the negative gradient ``b`` then knows it everywhere: after a displacement ``d`` it is
smaller by ``b d - d C d / 2``, and its negative gradient is ``b - C d``. The few records near a cut are fitted again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.solver.equations import Equations
from faser_align.alignment.solver.passes import Pass

_SMALL = 512  # parameters; with more, directions take longer than a pass
_PARTS = 4.0 ** np.arange(9)  # chi2 of the part along weak directions
_ROUNDING = 1e-6  # relative, far above the errors of float32 factors


@dataclass
class Quadratic:
    """The function about the point of a pass with matrix.

    Attributes:
        done: the sums over the records there, without presigmas and the steering's own measurements, with matrix.
        values: value of each label there.
        cut: factor of the 3-sigma chi2 there.
        variable: which labels are variable.
        places: shape (places, sets): position of the label at each place of a set of labels.
        weight_min: smallest weight of a record.
        fit: returns the sums over given records at other values, with the same cut.
        near: records near a cut.
    """

    done: Pass
    values: FloatArray
    cut: float
    variable: IntArray
    places: IntArray
    weight_min: float
    fit: Callable[[Sequence[Equations], FloatArray], Pass]
    near: tuple[Equations, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.near = self.done.near
        done = self.done.far or self.done
        # presigmas will be added to the sums
        self.done = replace(done, gradient=done.gradient.copy(), accepted=done.accepted.copy())
        self.values = self.values.copy()
        self._reached, self._bound = self.values, 0.0  # the last values, and a bound of the change up to them

    def moved(self, done: Pass, values: FloatArray) -> "Quadratic":
        """Return the same function about the point of a later pass, which is nearer to the next ones.

        Unchanged if other records were accepted there, because the matrix belongs to the old ones.
        """
        far = done.far or done
        if far.accepted_set != self.done.accepted_set:
            return self
        here = replace(far, matrix=self.done.matrix, pulls_max=self.done.pulls_max, near=self.near)
        return replace(self, done=here, values=values)

    def at(self, values: FloatArray, cut: float) -> Pass | None:
        """Return the sums at other values of the labels; None if another record might cross a cut, or with another cut."""
        if cut != self.cut:
            return None
        step, last_step = (values - self.values)[self.variable], (values - self._reached)[self.variable]
        bound = min(self._change(step), self._bound + self._change_of_fits(last_step))
        if not bound < self.done.margin:
            bound = min(bound, self._change_in_parts(step))
        if not bound < self.done.margin:
            return None
        self._reached, self._bound = values.copy(), bound
        matrix, before = self.done.matrix, self.done.gradient
        assert matrix is not None
        product = matrix @ step
        chi2 = self.done.chi2 - float(step @ (2.0 * before - product))
        far = replace(self.done, matrix=None, chi2=chi2, gradient=before - product, accepted=self.done.accepted.copy())
        return far + self.fit(self.near, values) if self.near else far

    def _change(self, step: FloatArray) -> float:
        """Return a bound of the rms change of a record's differences, each divided by its error, after its fit.

        A fit only shortens the change that the parameters make, and the rms is at most the largest change of an equation.
        """
        moved = np.zeros(len(self.values))
        moved[self.variable] = np.abs(step)
        return float(np.max((moved[self.places] * self.done.pulls_max).sum(axis=0), initial=0.0)) * (1.0 + _ROUNDING)

    def _change_of_fits(self, step: FloatArray) -> float:
        """Return another bound, which is small if the fits absorb the step.

        The matrix is the sum of those of the accepted records, none of which is negative. So no record's chi2 changes by more
        than that of all, unless it has no weight.
        """
        if sum(self.done.rejects[2:]) or self.weight_min <= 0:
            return np.inf
        assert self.done.matrix is not None
        squares = max(float(step @ (self.done.matrix @ step)), 0.0) / self.weight_min
        return float(np.sqrt(squares / self.done.equations_min)) * (1.0 + _ROUNDING)

    def _change_in_parts(self, step: FloatArray) -> float:
        """Return the sum of the second bound for a part along weak directions, and of the first one for the rest."""
        matrix = self.done.matrix
        if not isinstance(matrix, np.ndarray) or len(matrix) > _SMALL:
            return np.inf
        scales = np.sqrt(np.diagonal(matrix))
        scales = np.where(scales > 0, scales, 1.0)
        weights, directions = np.linalg.eigh(matrix / np.outer(scales, scales))
        along = directions.T @ (step * scales)
        squares = np.cumsum(np.maximum(weights, 0.0) * along**2)
        bounds = []
        for limit in _PARTS:
            k = int(np.searchsorted(squares, limit))
            weak = directions[:, :k] @ along[:k] / scales
            bounds.append(self._change(step - weak) + self._change_of_fits(weak))
        return min(bounds)
