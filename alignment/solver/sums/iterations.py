"""Iterate the built-in solver from sums."""

from dataclasses import dataclass, field

from faser_align.alignment.solver.iterations import Iterations
from faser_align.alignment.solver.passes import Pass
from faser_align.alignment.solver.sums.total import Total


@dataclass
class SummedIterations(Iterations):
    """Iterations whose passes follow from the ``total`` of sums; the diagnostics observe no record."""

    total: Total = field(kw_only=True)

    def _pass(self, number: int, *, with_matrix: bool, observed: bool) -> Pass:
        return self.total.at(self.problem, self.values, self._cut, first=number == 1, with_matrix=with_matrix)

    def observe_last(self) -> None:
        """Do nothing: there is no pass through records to observe."""
