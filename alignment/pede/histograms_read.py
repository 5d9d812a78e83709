"""Read pede's diagnostics: ``millepede.his`` and ``millepede.mon``.

A histogram file is a sequence of blocks ``Histogram n version v type t ... end of histogram`` and ``XY-Data n ...``;
``version`` is the pass over the data. Numbers are those of pede's source (mphistab.f90, pede.f90): 1 words per record,
2 entries per label, 3 and 12 normalised residuals of measurements with and without global derivatives, 13 and 14 their
pulls, 4 chi2/ndf of the local fits, 5 their degrees of freedom, 6 the down-weighted fraction; XY data 1 is the function
value in each iteration. The monitor file groups normalised residuals by a measurement's first label.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faser_align.fsm.errors import UserError


class Histogram(NamedTuple):
    """A histogram.

    Attributes:
        number, version: number of the histogram, and of the pass.
        logarithmic: whether the axis is the decimal logarithm of the quantity.
        title: pede's title.
        low, high: limits of the axis; ``bins`` are the entries of equal bins in between.
        below, inside, above: numbers of entries.
        smallest, largest: extreme values.
        mean, sigma: if pede prints them.
    """

    number: int
    version: int
    logarithmic: bool
    title: str
    low: float
    high: float
    bins: tuple[int, ...]
    below: int
    inside: int
    above: int
    smallest: float
    largest: float
    mean: float | None = None
    sigma: float | None = None


class Points(NamedTuple):
    """XY data: number, version, title, and (x, y, dx, dy) of each point; dx and dy are zero if not given."""

    number: int
    version: int
    title: str
    points: tuple[tuple[float, float, float, float], ...]


class Monitored(NamedTuple):
    """Normalised residuals of the measurements that begin with a label, in a local-fit cycle.

    ``median`` is in units of the mean error, ``spread`` is 1.4826 times the median absolute deviation, ``error`` the
    mean error of the measurements (mm).
    """

    cycle: int
    label: int
    entries: int
    median: float
    spread: float
    error: float


class Histograms(NamedTuple):
    """Content of a histogram file."""

    histograms: tuple[Histogram, ...]
    points: tuple[Points, ...]

    def expected_decrease(self) -> float | None:
        """Return the decrease of chi2 by the first solution with seven digits; None without a second function value."""
        values = next((data.points for data in self.points if data.number == 1), ())
        return values[1][3] if len(values) > 1 else None


_HEAD = re.compile(r"\s*(Histogram|XY-Data)\s+(\d+)\s+version\s+(\d+)\s+type\s+(\d+)\s*$")
_LOGARITHMIC = 2  # histogram type


def read_histograms(path: str | os.PathLike[str]) -> Histograms:
    """Read ``millepede.his`` without an incomplete last block.

    Raises UserError if it cannot be read or a block is malformed.
    """
    lines = iter(_text(path).splitlines())
    histograms: list[Histogram] = []
    points: list[Points] = []
    for line in lines:
        head = _HEAD.match(line)
        if head is None:
            continue
        number, version, kind = (int(word) for word in head.groups()[1:])
        block, whole = _block(lines)
        if not whole:
            break
        try:
            if head[1] == "Histogram":
                histograms.append(_histogram(number, version, kind == _LOGARITHMIC, block))
            else:
                points.append(_points(number, version, block))
        except (ValueError, IndexError, KeyError, StopIteration):
            raise UserError(
                f"{path}: {head[1]} {number} of version {version} is broken; run the solver again"
            ) from None
    return Histograms(tuple(histograms), tuple(points))


def read_monitor(path: str | os.PathLike[str]) -> tuple[Monitored, ...]:
    """Read ``millepede.mon``; raise UserError if it cannot be read or a line is malformed."""
    rows: list[Monitored] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(("!", "*")):
            continue
        fields = [line[:5], line[5:15], line[15:25], line[25:39], line[39:53], line[53:67]]
        try:
            rows.append(Monitored(*(int(field) for field in fields[:3]), *(float(field) for field in fields[3:])))
        except ValueError:
            raise UserError(f"{path}: line {number} does not belong to a monitor: {line.strip()[:60]!r}") from None
    return tuple(rows)


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; the solver did not write it") from error


def _block(lines: Iterator[str]) -> tuple[list[str], bool]:
    block: list[str] = []
    for line in lines:
        if line.lstrip().lower().startswith("end of"):
            return block, True
        block.append(line)
    return block, False


def _histogram(number: int, version: int, logarithmic: bool, block: list[str]) -> Histogram:
    values: dict[str, list[str]] = {}
    bins: list[int] = []
    inside_bins = False
    for line in block[1:]:
        words = line.split()
        if line.strip() == "bincontent":
            inside_bins = True
        elif words[:1] in (["minmax"], ["meansigma"]):
            inside_bins = False
            values[words[0]] = words[1:]
        elif inside_bins:
            bins += [int(word) for word in words]
        elif "limits" in line:
            values["limits"] = words[-3:]
        elif "out-low" in line:
            values["entries"] = words[-3:]
    count, low, high = values["limits"]
    if len(bins) != int(count):
        raise ValueError("bins are missing")
    below, inside, above = (int(word) for word in values["entries"])
    smallest, largest = (float(word) for word in values["minmax"])
    mean, sigma = (float(word) for word in values["meansigma"]) if "meansigma" in values else (None, None)
    title = block[0].strip()
    return Histogram(
        number, version, logarithmic, title, float(low), float(high), tuple(bins), below, inside, above, smallest,
        largest, mean, sigma,
    )  # fmt: skip


def _points(number: int, version: int, block: list[str]) -> Points:
    start = next(at for at, line in enumerate(block) if line.strip().startswith("x-y")) + 1
    points = []
    for line in block[start:]:
        x, y, *errors = (float(word) for word in line.split())
        dx, dy = errors or (0.0, 0.0)  # absent in types 1 to 3, such as those of several binaries and of MINRES
        points.append((x, y, dx, dy))
    return Points(number, version, block[0].strip(), tuple(points))
