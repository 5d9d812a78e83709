"""Add up the counts of the raw files of an iteration, and make their rows for the figures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from faser_align.alignment.mille.counts import Counts, read_counts
from faser_align.alignment.quality import figure_rows
from faser_align.alignment.quality.figure_data import ROWS_MAX, Files
from faser_align.campaign import layout


def rows_of_files(
    mille_file: Callable[[int], str], files: Sequence[int], each: Callable[[Counts], Any] | None = None
) -> tuple[Counts, list[Files]]:
    """Return the sum of the conversions' counts, and rows of raw files; of many files a row has several.

    ``each`` is called with the counts of each file. Raises UserError if they cannot be read.
    """
    total, rows = Counts(), []
    for group in np.array_split(np.array(files), min(len(files), ROWS_MAX) or 1):
        of_group = Counts()
        for file in group.tolist():
            counts = read_counts(f"{mille_file(file)}.json")
            of_group += counts
            if each is not None:
                each(counts)
        total += of_group
        names = [layout.raw_name(file) for file in group.tolist()]
        if names:
            rows.append(figure_rows.files_row(names, of_group))
    return total, rows
