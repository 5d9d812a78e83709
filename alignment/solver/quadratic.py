"""Evaluate the function without its records, where it is exactly quadratic.

While no record crosses a cut and none is down-weighted, half the chi2 is a quadratic function of the global parameters. The pass
that computes the matrix ``C`` and the negative gradient ``b`` then knows it everywhere: after a displacement ``d`` it is
smaller by ``b d - d C d / 2``, and its negative gradient is ``b - C d``.
"""

from dataclasses import replace

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.solver.passes import Pass

_ROUNDING = 1e-6  # relative, far above the errors of float32 factors


class Quadratic:
    """The function about the point of a pass with matrix.

    Args:
        done: the sums over the records there, without presigmas and the steering's own measurements.
        values: value of each label there.
        variable: which labels are variable.
        places: shape (places, sets): position of the label at each place of a set of labels.
    """

    def __init__(self, done: Pass, values: FloatArray, variable: IntArray, places: IntArray) -> None:
        # presigmas will be added to the sums
        self._done = replace(done, gradient=done.gradient.copy(), accepted=done.accepted.copy())
        self._values = values.copy()
        self._variable = variable
        self._places = places

    def moved(self, done: Pass, values: FloatArray) -> "Quadratic":
        """Return the same function about the point of a later pass, which is nearer to the next ones.

        Without change if other records were accepted there, to which the matrix does not belong.
        """
        if done.accepted_set != self._done.accepted_set:
            return self
        here = replace(done, matrix=self._done.matrix, pulls_max=self._done.pulls_max)
        return Quadratic(here, values, self._variable, self._places)

    def at(self, values: FloatArray) -> Pass | None:
        """Return the sums at other values of the labels; None if a record might cross a cut.

        A record's chi2 is the squared length of the differences of its equations, each divided by its error, after a fit, which only
        shortens a change of them. So the root of chi2 changes by at most the largest change times the root of their number.
        """
        moved = values - self._values
        changes = (np.abs(moved[self._places]) * self._done.pulls_max).sum(axis=0)
        if not float(np.max(changes, initial=0.0)) * (1.0 + _ROUNDING) < self._done.margin:
            return None
        matrix, before = self._done.matrix, self._done.gradient
        assert matrix is not None
        step = moved[self._variable]
        product = matrix @ step
        chi2 = self._done.chi2 - float(step @ (2.0 * before - product))
        return replace(
            self._done, matrix=None, chi2=chi2, gradient=before - product, accepted=self._done.accepted.copy()
        )
