"""Describe each count of a conversion, and each metric of ``metrics.json``: unit, meaning, formula and readers.

``alignment.quality.metrics`` and the jobs write the metrics, ``metrics.toml`` describes them. Tables of
``docs/alignment.md`` and ``docs/metrics.md``, and headings of charts are generated from here.
"""

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faser_align.alignment.mille.counts import Counts


class Metric(NamedTuple):
    """A name in ``metrics.json``, as ``metrics.toml`` describes it.

    Attributes:
        name: dotted path from the top level. Capitals stand for any key, ``[]`` for each element of a list.
        words: its meaning.
        source: what it is computed from, one of the table ``sources``.
        unit: empty for dimensionless numbers and for values that are not numbers.
        formula: how it is computed; empty if it is copied.
        readers: convergence criteria, as `why` names them, and some of the table ``readers``.
    """

    name: str
    words: str
    source: str
    unit: str = ""
    formula: str = ""
    readers: str = ""


_READ = tomllib.loads(Path(__file__).with_name("metrics.toml").read_text(encoding="utf-8"))
SOURCES, READERS, COUNTS = (_READ.pop(table) for table in ("sources", "readers", "counts"))
# By heading in docs/metrics.md.
TABLES = {heading: tuple(Metric(name, **keys) for name, keys in metrics.items()) for heading, metrics in _READ.items()}
VALIDATION = TABLES.pop("validation")
OF_VALIDATION = ("format", "stage", "iteration", "files.expected", "files.used", "files.lost", "wall_s", "notes")
METRICS = {metric.name: metric for metrics in TABLES.values() for metric in metrics}


def words(name: str) -> str:
    """Return a metric's description for a heading, without the meaning of its values."""
    return METRICS[name].words.partition(":")[0]


def counts_table() -> str:
    """Return the table of the conversion's counts."""
    rows = ["| number | by name | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(Counts):
        described = COUNTS[field.name]
        rows.append(f"| {described['name']} | `{field.name}` | {described['meaning']} |")
    return "\n".join(rows) + "\n"


def metrics_tables() -> str:
    """Return the tables of all metrics of an iteration and of a validation, with the meaning of their columns."""
    lines = ["| source | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in SOURCES.items()), ""]
    lines += ["| read by | |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in READERS.items())]
    lines.append("| `code` | the criterion of that name, as `faser-align why` shows it |")
    for heading, metrics in TABLES.items():
        lines += ["", f"## {heading}", "", *_table(metrics)]
    shared = ", ".join(f"`{name}`" for name in OF_VALIDATION)
    lines += ["", "## A validation", "", f"In `validation/after`, in addition to {shared}:", "", *_table(VALIDATION)]
    return "\n".join(lines) + "\n"


def _table(metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield "| name (unit) | meaning, formula | source | read by |"
    yield "|---|---|---|---|"
    for metric in metrics:
        unit = f" ({metric.unit})" if metric.unit else ""
        description = f"{metric.words}<br>{metric.formula}" if metric.formula else metric.words
        readers = ", ".join(name if name in READERS else f"`{name}`" for name in metric.readers.split())
        yield f"| `{metric.name}`{unit} | {description} | {metric.source} | {readers} |"
