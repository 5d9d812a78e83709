"""Make the figures of the convergence: the judged quantities against the iteration. Pure."""

from typing import Any

from faser_align.alignment.quality import describe
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.shapes import Curve, Curves, Measured
from faser_align.pages.figures.source import Source


def expected_shift(source: Source) -> Plot | None:
    """Expected rms shift of the residuals of each iteration."""
    return _curve(source, "effect_um", "expected-shift", "expected residual shift", "µm", log=True)


def chi2_per_ndf(source: Source) -> Plot | None:
    """Chi2/ndf of the reconstruction of each iteration."""
    return _curve(source, "chi2_per_ndf", "chi2-per-ndf", "χ²/ndf", "", log=False)


def _curve(source: Source, key: str, name: str, label: str, unit: str, *, log: bool) -> Plot | None:
    values: list[tuple[int, Any]] = [(of.number, of.metrics.get(key)) for of in source.iterations]
    points = [(at, Measured(float(value))) for at, value in values if value is not None and (value > 0 or not log)]
    if not points:
        return None
    curve = Curve("", [at for at, _ in points], [measured for _, measured in points])
    title = f"{label[:1].upper()}{label[1:]} of each iteration"
    return Plot(name, title, f"{describe.words(key)}.", Curves("iteration", label, unit, [curve], log=log, whole=True))
