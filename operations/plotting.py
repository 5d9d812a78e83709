"""Write the figures of a campaign as files: SVG, PNG, PDF, and their numbers as CSV."""

import os

from faser_align.alignment.parameters.constants import read_constants
from faser_align.fsm.errors import UserError
from faser_align.operations.exporting import as_csv
from faser_align.pages.collect import collect
from faser_align.pages.figures import style
from faser_align.pages.figures.catalogue import plots
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.source import source
from faser_align.system import atomic

FORMS = ("svg", "png", "pdf", "csv")


def write(
    folder: str,
    output: str,
    *,
    stage: int = 0,
    iteration: int = 0,
    forms: tuple[str, ...] = FORMS,
    only: tuple[str, ...] = (),
    label: str = "",
    reference: str = "",
) -> tuple[list[Plot], str]:
    """Write the figures of the campaign in ``folder`` to the folder ``output``; files of the same names are replaced.

    Returns the figures that were written, and the iteration that they show.

    Args:
        folder: the campaign's folder.
        output: made if it does not exist.
        stage, iteration: which iteration is drawn beside the stage's first; 0: the last one.
        forms: suffixes of the files, from ``FORMS``.
        only: names of figures; empty: all.
        label: the experiment's label; empty: as configured.
        reference: file of constants to draw the difference to; empty: none.

    Raises UserError if a choice is unknown, no iteration is solved, matplotlib is missing, or a file cannot be written.
    """
    unknown = [form for form in forms if form not in FORMS]
    if unknown or not forms:
        raise UserError(f"--format {unknown[0] if unknown else repr('')}: must be one of {', '.join(FORMS)}")
    found = collect(folder)
    other = (os.path.basename(reference), read_constants(reference)) if reference else None
    shown = source(found, stage, iteration, reference=other)
    made = plots(shown)
    known = [plot.name for plot in made]
    missing = [name for name in only if name not in known]
    if missing:
        raise UserError(f"{found.record['name']} has no figure {missing[0]}; it has {', '.join(known) or 'none'}")
    chosen = [plot for plot in made if not only or plot.name in only]
    if any(form != "csv" for form in forms) and (why := style.missing()):
        raise UserError(why)
    try:
        os.makedirs(output, exist_ok=True)
        for plot in chosen:
            _write(plot, os.path.join(output, plot.name), forms, label or style.label(found.record["config"]))
    except OSError as problem:
        raise UserError(f"{output} cannot be written: {problem.strerror}; name another folder with -o") from None
    return chosen, shown.last.name


def _write(plot: Plot, stem: str, forms: tuple[str, ...], label: str) -> None:
    if "csv" in forms:
        # With ASCII units
        atomic.write_text(f"{stem}.csv", as_csv(*plot.table()).replace("µ", "u").replace("χ²", "chi2"))
    drawn = [form for form in forms if form != "csv"]
    if not drawn:
        return
    figure = plot.figure(label)
    for form in drawn:
        atomic.write_bytes(f"{stem}.{form}", style.written(figure, form))
