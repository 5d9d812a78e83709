"""Format ``millepede.his`` as pede does: histograms and points (mphistab of pede V04-16).

pede uses single precision, and so do limits and bins here. A histogram without limits derives them from its first 120
values.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from faser_align.alignment.pede.results import exponential, general

Singles = npt.NDArray[np.float32]

_BINS = 120
_FINE = 20  # bins per unit of a summed histogram
_REACHES = (6, 12, 60)  # its limits
_DECADES = 6  # of logarithmic histograms, 20 bins each
_SPAN_MIN = np.finfo(np.float32).tiny * _BINS  # with limits closer than this, all values are in one bin
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 15.0, 20.0)
_WIDTHS = ((2, 36), (3, 24), (4, 18), (6, 12), (8, 9), (9, 8), (12, 6))  # digits of a number, and numbers per line


class Histogram:
    """A histogram with 120 bins; equal limits mean that the first values choose them."""

    kind = 1

    def __init__(self, number: int, title: str, low: float = 0.0, high: float = 0.0) -> None:
        self.number, self.title = number, title
        self.low, self.high = np.float32(low), np.float32(high)
        self.contents = np.zeros(_BINS, np.int64)
        self._first: Singles = np.zeros(0, np.float32)
        self._outside = [0, 0]
        self._range = (np.float32(0), np.float32(0))
        self._sums = [0.0, 0.0]
        self._started = False

    def fill(self, values: npt.NDArray[np.floating | np.integer]) -> None:
        """Add values, without those that are not finite."""
        singles = values.astype(np.float32)
        singles = singles[np.isfinite(singles)]
        if not self._started:
            self._first = np.concatenate([self._first, singles])
            if len(self._first) < _BINS:
                return
            self._start()
        else:
            self._count(singles)

    def lines(self, version: int) -> list[str]:
        """Return the histogram as pede writes it (HMPWRT); ``version`` is the pass, from 0."""
        if not self._started and len(self._first):
            self._start()
        low, high = self.low, self.high
        inside = int(self.contents.sum())
        if low == high and not inside + sum(self._outside):
            low, high = low - np.float32(0.001), high + np.float32(0.001)
        text = [
            " ",
            f"Histogram {self.number:4d}          version {version:4d}          type{self.kind:2d}",
            f"{self.title:<60}",
            f"           bins, limits {_BINS:4d}{general(float(low), 15, 5)}{general(float(high), 15, 5)}",
            f"          out-low inside out-high {self._outside[0]:10d}{inside:10d}{self._outside[1]:10d}",
            "bincontent",
            *_integers(self.contents.tolist()),
            f"minmax{exponential(float(self._range[0]), 15, 7)}{exponential(float(self._range[1]), 15, 7)}",
        ]
        if self.kind == 1 and inside > 1:
            mean = float(self._centre()) + self._sums[0] / inside
            variance = max(self._sums[1] - self._sums[0] ** 2 / inside, 0.0) / (inside - 1)
            text.append(f"meansigma{exponential(mean, 15, 7)}{exponential(math.sqrt(variance), 15, 7)}")
        return [*text, "end of histogram"]

    def _centre(self) -> np.float32:
        return np.float32(0.5) * (self.low + self.high)

    def _start(self) -> None:
        """Derive the limits from the first values, which may be more than pede's if they arrive together."""
        if self.low == self.high:
            self.low, self.high = _limits(np.sort(self._first[:_BINS]))
        self._started, self._range = True, (self._first[0], self._first[0])
        self._count(self._first)

    def _count(self, singles: Singles) -> None:
        if not len(singles):
            return
        span = self.high - self.low
        scale = np.float32(_BINS) / span if span > _SPAN_MIN else np.float32(0)
        with np.errstate(over="ignore"):  # values so far off are outside
            places = np.float32(1) + scale * (singles - self.low)
        bins = np.floor(np.clip(places, 0, _BINS + 1)).astype(np.int64)
        self._outside[0] += int((bins < 1).sum())
        self._outside[1] += int((bins > _BINS).sum())
        within = (bins >= 1) & (bins <= _BINS)
        self.contents += np.bincount(bins[within] - 1, minlength=_BINS)
        apart = (singles[within] - self._centre()).astype(np.float64)
        self._sums[0] += float(apart.sum())
        self._sums[1] += float((apart**2).sum())
        self._range = (min(self._range[0], np.min(singles)), max(self._range[1], np.max(singles)))


class SummedHistogram(Histogram):
    """Histogram whose contents can be added to those of other data; its limits are chosen at the end.

    Attributes:
        fine: values below -60, in 2400 bins from there to 60, and above.
        extremes: smallest and largest value.
    """

    def __init__(self, number: int, title: str, low: float = 0.0, high: float = 0.0) -> None:
        super().__init__(number, title)
        self.fine = np.zeros(2 * _FINE * _REACHES[-1] + 2, np.int64)
        self.extremes = np.array([np.inf, -np.inf])

    def fill(self, values: npt.NDArray[np.floating | np.integer]) -> None:
        """Add values, without those that are not finite."""
        finite = values[np.isfinite(values)].astype(np.float64)
        if not len(finite):
            return
        reach = _REACHES[-1]
        places = np.floor(_FINE * np.clip(finite, -reach - 1, reach + 1)).astype(np.int64) + _FINE * reach + 1
        self.fine += np.bincount(np.clip(places, 0, len(self.fine) - 1), minlength=len(self.fine))
        self.extremes = np.array([min(self.extremes[0], np.min(finite)), max(self.extremes[1], np.max(finite))])

    def lines(self, version: int) -> list[str]:
        """Return the histogram within the smallest limits that have 99 percent of the values."""
        total = int(self.fine.sum())
        if total:
            self._choose(total)
        return super().lines(version)

    def _choose(self, total: int) -> None:
        zero = _FINE * _REACHES[-1] + 1
        for reach in _REACHES:
            first = zero - (_FINE * reach if self.extremes[0] < 0 else 0)
            within = self.fine[first : zero + _FINE * reach]
            if within.sum() >= 0.99 * total:
                break
        self.low, self.high = np.float32((first - zero) / _FINE), np.float32(reach)
        self.contents = within.reshape(_BINS, -1).sum(axis=1)
        self._outside = [int(self.fine[:first].sum()), int(self.fine[zero + _FINE * reach :].sum())]
        apart = (np.arange(len(within)) + 0.5) / _FINE + float(self.low - self._centre())
        self._sums = [float(within @ apart), float(within @ apart**2)]
        self._range, self._started = (np.float32(self.extremes[0]), np.float32(self.extremes[1])), True


class LogHistogram(Histogram):
    """Histogram of positive integers with 20 bins per decade."""

    kind = 2

    def __init__(self, number: int, title: str, counts: Mapping[int, int]) -> None:
        super().__init__(number, title, 0.0, _DECADES)
        self._started = True
        for value, count in counts.items():
            place = int(np.float32(1) + np.float32(20) * np.log10(np.float32(value))) if value > 0 else 0
            if 1 <= place <= _BINS:
                self.contents[place - 1] += count
            else:
                self._outside[place > _BINS] += count
        positive = [value for value in counts if value > 0] or [0]
        self._range = (np.float32(min(positive)), np.float32(max(positive)))


def points(number: int, title: str, rows: Iterable[tuple[float, ...]], *, errors: bool = True) -> list[str]:
    """Return points as pede's XY data (GMPWRT): type 4 with x, y and their errors in a row, type 1 with x and y."""
    all_rows = list(rows)
    return [
        " ",
        f"XY-Data {number:4d}          version    0          type {4 if errors else 1}",
        f"{title:<60}",
        f"          stored  not-stored {len(all_rows):10d}",
        "x-y-dx-dy" if errors else "x-y",
        *("   " + "".join(general(value, 15, 7) for value in row) for row in all_rows),
        "end of xy-data",
    ]


def _integers(numbers: list[int]) -> list[str]:
    """Return lines of at most 72 characters, each with the narrowest possible columns."""
    lines = []
    while numbers:
        for width, count in _WIDTHS:
            largest = 10 ** (width - 1) - 1
            if width == _WIDTHS[-1][0] or all(-(largest // 10) <= number <= largest for number in numbers[:count]):
                lines.append("".join(f"{number:{width}d}" for number in numbers[:count]))
                numbers = numbers[count:]
                break
    return lines


def _limits(values: Singles) -> tuple[np.float32, np.float32]:
    """Return round limits for sorted values (BINTAB of mphistab)."""
    low, high = _span([float(value) for value in values])
    best = (0.0, 0.0, 1.0)
    chosen = 0
    for turn in range(len(_STEPS) + 1):
        at = chosen if turn == len(_STEPS) else turn
        step = _STEPS[at] * 10.0 ** (int(101.0 + math.log10(high - low) - math.log10(6.0 * _STEPS[at])) - 100)
        first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
        while last - first < 6:
            first -= first != 0
            if last - first < 6:
                last += last != 0
            if first == last == 0:
                last = 6
        ratio = (high - low) / ((last - first) * step)
        if ratio > best[0]:
            best, chosen = (ratio, first * step, last * step), at
    return np.float32(best[1]), np.float32(best[2])


def _span(values: list[float]) -> tuple[float, float]:
    """Return the range that the limits must contain: all of few values, most of many."""
    count = len(values)
    low, high = values[0], values[-1]
    if count >= 100:
        tail, shoulder = int(0.05 * count), int(0.16 * count)
        low = values[tail] - 4.0 * (values[shoulder] - values[tail])
        high = values[-1 - tail] + 4.0 * (values[-1 - tail] - values[-1 - shoulder])
        if low < 0 <= values[0]:
            low = values[0]
        if high > 0 >= values[-1]:
            high = values[-1]
        low = 0.0 if low * values[0] <= 0 else low
        high = 0.0 if high * values[-1] <= 0 else high
        if low * high < 0 and min(-low, high) > 0.6 * max(-low, high):
            low, high = -max(-low, high), max(-low, high)
        elif low * high > 0 and abs(min(low, high)) < 0.4 * abs(max(low, high)):
            low, high = (low, 0.0) if low < 0 else (0.0, high)
    margin = max(1.0, 1e-3 * abs(low)) if low == high else 0.0
    return low - margin, high + margin
