"""Search along a step for the point of smallest slope, as pede does (PTLINE of linesrch.f90)."""

from dataclasses import dataclass, field

from faser_align.alignment.arrays import FloatArray

STEP_MAX = 10.0
POINTS_MAX = 10


@dataclass
class LineSearch:
    """One search; call ``advance`` with the function's gradient at each point, including the first.

    Attributes:
        slope_ratio: ratio of slope to initial slope at which the search ends.
        points_min: minimum number of points, including the first.
        points: (step, slope) of each point.
    """

    slope_ratio: float
    points_min: int
    points: list[tuple[float, float]] = field(default_factory=list)
    _total: float = 1.0  # step of the point whose gradient comes next
    _left: int = 0  # index of the point with the smallest negative slope
    _right: int = -1  # index of the point with the smallest positive slope

    def advance(self, gradient: FloatArray, direction: FloatArray) -> tuple[float, bool]:
        """Return how far to go along ``direction``, and whether the search ends there.

        ``gradient`` is the negative gradient of the function (pede's right-hand side). Unless the search has ended, the
        caller evaluates the function at the new point and calls again.
        """
        slope = -float(gradient @ direction)
        if not self.points:
            self.points.append((0.0, slope))
            return (1.0, False) if slope < 0 else (0.0, True)
        self.points.append((self._total, slope))
        last = len(self.points) - 1
        if slope <= 0 and slope >= self.points[self._left][1]:
            self._left = last
        if slope >= 0 and (self._right < 0 or slope <= self.points[self._right][1]):
            self._right = last
        first, second = (-2, -1) if self._right < 0 else (self._left, self._right)
        (x1, slope1), (x2, slope2) = self.points[first], self.points[second]
        zero = (x1 * slope2 - x2 * slope1) / (slope2 - slope1) if slope1 != slope2 else x2  # by interpolation
        good = len(self.points) >= self.points_min and abs(slope) <= abs(self.points[0][1]) * self.slope_ratio
        step = min(zero, STEP_MAX) - self._total
        if good or len(self.points) >= POINTS_MAX or abs(step) < 1e-3:
            best = min(self.points, key=lambda point: abs(point[1]))
            return best[0] - self._total, True
        self._total += step
        return step, False


def line_search(method: str, *, first: bool) -> LineSearch:
    """Return a search with pede's accuracy for a method of its list (XLOOPN); the ``first`` one may end earlier."""
    if "MINRES" in method:
        return LineSearch(0.1, 3 if first else 4)
    if not first:
        return LineSearch(0.5, 3)
    return LineSearch(0.5, 2 if method == "diagonalization" else 1)  # 1: it may end at the Newton step itself
