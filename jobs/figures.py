"""Write the data of an iteration's figures, and of a validation's; draw a campaign's convergence for its messages.

No result depends on them, so errors are only printed.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from faser_align.alignment.histograms import Histogram, Profile
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.mille.distributions import Distributions, read_distributions
from faser_align.alignment.parameters.constants import Six
from faser_align.alignment.quality import figure_rows
from faser_align.alignment.quality.figure_data import FigureData, Files, write_figures
from faser_align.campaign import layout
from faser_align.fsm.metrics import Metrics
from faser_align.jobs.program import Iteration
from faser_align.jobs.steps import Solved
from faser_align.pages.figures import convergence, style
from faser_align.system.atomic import write_bytes


def keep_solution(iteration: Iteration, solved: Solved, correction: Mapping[str, Six], metrics: Metrics) -> None:
    """Write the data of an iteration's figures; the correction is empty if it is not finite."""
    steps, normal = solved.steps, solved.normal

    def data() -> FigureData:
        factor = metrics["error_scale"].get("factor", 1.0)
        return dataclasses.replace(
            _data(iteration, solved.binaries, solved.counts, solved.rows),
            residual_max_mm=solved.residual_max_mm,
            corrections=figure_rows.corrections(steps, correction, normal, factor) if correction else {},
            parameters=figure_rows.parameters(steps, normal, factor),
            spectra=figure_rows.spectra(steps, normal, factor),
            weak_modes=[{**mode} for mode in metrics["weak_modes"].get("modes", ())],
        )

    _keep(iteration, data)


def keep_half(half: Iteration, files: Sequence[int], files_of: str) -> None:
    """Write the data of the figures of a validation's half: the tracks of ``files`` with one set of constants."""

    def data() -> FigureData:
        counts, rows = figure_rows.rows_of_files(half.mille_file, files)
        return dataclasses.replace(
            _data(half, [half.mille_file(file) for file in files], counts, rows), files_of=files_of
        )

    _keep(half, data)


def _data(iteration: Iteration, binaries: Sequence[str], counts: Counts, rows: Sequence[Files]) -> FigureData:
    return FigureData(
        stage=iteration.stage,
        iteration=iteration.number,
        residual_max_mm=iteration.residual_max_mm,
        hits=counts.hits_read,
        ndf=counts.ndf,
        histograms=_histograms(binaries) | figure_rows.counted(counts),
        files=rows,
    )


def _histograms(binaries: Sequence[str]) -> dict[str, Histogram | Profile]:
    """Return the sum of the files' histograms; none if a file of an older version has none."""
    total = Distributions.empty()
    for binary in binaries:
        found = read_distributions(layout.histograms_file(binary))
        if found is None:
            return {}
        total += found
    return total.histograms()


def _keep(iteration: Iteration, data: Callable[[], FigureData]) -> None:
    path = layout.figures_file(iteration.record["folder"], iteration.stage, iteration.number)
    try:
        Path(path).unlink(missing_ok=True)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_figures(path, data())
    except Exception as error:  # noqa: BLE001 -- the solution exists whatever happens here
        sys.stderr.write(f"the data of the figures are not stored: {error}\n")


def plot(path: str, history: Sequence[Metrics], limits: Mapping[str, float], label: str = style.LABEL) -> str:
    """Draw the convergence of a campaign, from metrics oldest first, into the PNG file ``path``, atomically.

    ``limits`` are those of the convergence criteria, named as in ``fsm.rules.limits_of``. Returns why there is no picture,
    or an empty string; never raises, because no result depends on the picture.
    """
    if why := style.missing():
        return why
    try:
        found = convergence.of(history, limits)
        if found is None:
            return "no iteration has numbers to draw"
        content = style.written(found.figure(label), "png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_bytes(path, content)
    except Exception as problem:  # noqa: BLE001 -- as the docstring says
        return f"the plot could not be drawn: {type(problem).__name__}: {problem}"
    return ""
