"""Read what tests compare of the diagnostics that pede and the solver write."""

import re
from pathlib import Path
from typing import NamedTuple

Key = tuple[str, int, int]
_BLOCK = re.compile(r"^(Histogram|XY-Data) +(\d+) +version +(\d+) (.*?)^end of", re.DOTALL | re.MULTILINE)


def blocks(path: Path) -> dict[Key, list[str]]:
    """Return the histograms and points of ``millepede.his`` by kind, number and version."""
    found = _BLOCK.findall(path.read_text())
    return {(kind, int(number), int(version)): text.splitlines() for kind, number, version, text in found}


class Histogram(NamedTuple):
    """Entries of a histogram: in its bins, below, inside and above its limits, and the extreme values."""

    bins: tuple[int, ...]
    below: int
    inside: int
    above: int
    smallest: float
    largest: float


def histogram(path: Path, number: int, version: int = 0) -> Histogram:
    """Return one histogram of ``millepede.his``."""
    lines = blocks(path)["Histogram", number, version]
    (entries,) = (line.split()[-3:] for line in lines if "out-low" in line)
    begin = next(at for at, line in enumerate(lines) if line.strip() == "bincontent") + 1
    end = next(at for at, line in enumerate(lines) if line.startswith("minmax"))
    bins = tuple(int(word) for line in lines[begin:end] for word in line.split() if not line.startswith("m"))
    smallest, largest = (float(word) for word in lines[end].split()[1:])
    return Histogram(bins, *(int(word) for word in entries), smallest, largest)


def points(path: Path, number: int) -> list[list[float]]:
    """Return the points of XY data, each x and y, and their errors if it has them."""
    lines = blocks(path)["XY-Data", number, 0]
    begin = next(at for at, line in enumerate(lines) if line.startswith("x-y")) + 1
    return [[float(word) for word in line.split()] for line in lines[begin:]]


class Monitored(NamedTuple):
    """Residuals of the measurements that begin with a label, in one pass."""

    cycle: int
    label: int
    entries: int
    median: float
    spread: float
    error: float


def monitored(path: Path) -> list[Monitored]:
    """Return the rows of ``millepede.mon``."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.lstrip().startswith(("!", "*"))]
    return [Monitored(*map(int, row[:3]), *map(float, row[3:])) for row in rows]
