"""Test the figures of a campaign: axes, units, data, and files.

matplotlib is imported where it is used, because all workers of `make test` load this file and one runs it.
"""

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from campaigns import make_campaign, run_iteration
from commandline import faser_align

from faser_align.alignment.histograms import Bins, Categories, Histogram
from faser_align.alignment.parameters.constants import ZERO, Constants, write_constants
from faser_align.alignment.parameters.labels import KEYS, module_rz_label, module_x_label
from faser_align.alignment.pede.results import Row, write_result
from faser_align.alignment.quality.figure_data import FigureData, Files, Mode, ParameterRow, Spectrum
from faser_align.campaign import layout
from faser_align.fsm.metrics import Metrics
from faser_align.pages.collect import Solution
from faser_align.pages.figures import distributions, elements, modes, page, style
from faser_align.pages.figures.catalogue import plots
from faser_align.pages.figures.plot import Plot
from faser_align.pages.figures.source import Iteration, Source

ERRORS: Constants = dict.fromkeys(("000", "001"), (0.001, 0.05, 0.0, 0.0, 0.0, 2e-05))


def solution(x_mm: float) -> Solution:
    """Return a solution that moved module 000 along x."""
    moved: Constants = {"000": (x_mm, 0.0, 0.0, 0.0, 0.0, 0.0), "001": ZERO}
    return Solution(moved, ERRORS, {"000": (0.1 + x_mm, 0.0, 0.0, 0.0, 0.0, 0.0)}, ERRORS)


@pytest.fixture
def source() -> Source:
    """Return a campaign of two iterations, with a dead module."""
    hits = {f"0{layer}{module}": [1000, 10] for layer in range(3) for module in range(8)} | {"013": [3, 0]}
    metrics: Metrics = {"hits": {"modules": hits}}
    iterations = [Iteration(f"iteration {at}", at, metrics, solution(0.08 / at**3)) for at in (1, 2)]
    group = {
        half: {"modules": {"000": {"hits": 400, "mean_um": mean, "rms_um": 20.0}}}
        for half, mean in (("before", 9.0), ("after", 1.0))
    }
    validation: Metrics = {"groups": {"unused": group}}  # type: ignore[typeddict-item]
    return Source(
        iterations, {"000": (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)}, None, {"000": (0.11, 0.0, 0.0, 0.0, 0.0, 0.0)}, validation
    )


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


def test_corrections_have_errors_and_units(source: Source) -> None:
    """Each degree of freedom has a panel with its unit, grey and then blue points, and error bars."""
    plot = drawn(elements.corrections(source))
    axes = plot.figure("FASER Internal").axes
    assert [one.get_title(loc="left") for one in axes] == ["x [µm]", "y [µm]", "rz [µrad]"]
    bars, before, more, after = axes[0].get_lines()[:4]
    assert before.get_ydata() == pytest.approx([80.0, 0.0])
    assert after.get_ydata() == pytest.approx([10.0, 0.0])
    assert (before.get_color(), after.get_color()) == (style.BEFORE, style.AFTER)
    assert list(bars.get_ydata())[:2] == pytest.approx([79.0, 81.0])
    assert list(more.get_ydata())[:2] == pytest.approx([9.0, 11.0])


def test_the_largest_corrections_are_followed(source: Source) -> None:
    """The most significant correction is drawn first, against whole iterations."""
    plot = drawn(elements.course(source))
    (axes,) = plot.figure("FASER Internal").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "correction over error [σ]")
    assert axes.get_yscale() == "symlog"
    assert [tick for tick in axes.get_xticks() if tick in (1, 2)] == [1, 2]
    first = [row for row in plot.table()[1] if row[1] == "000 x"]
    assert [row[4] for row in first] == pytest.approx([80.0, 10.0])


def test_numbers_of_a_figure_are_rows(source: Source) -> None:
    """The rows have each value that is drawn, with its error and unit."""
    columns, rows = drawn(elements.corrections(source)).table()
    assert columns == ("quantity", "unit", "series", "element", "value", "error")
    assert rows[0] == ("x", "µm", "iteration 1", "000", pytest.approx(80.0), pytest.approx(1.0))
    assert rows[3] == ("x", "µm", "iteration 2", "001", 0.0, pytest.approx(1.0))


def test_the_map_keeps_the_sign(source: Source) -> None:
    """The detector is blue below zero and red above, on a scale that is symmetric about zero."""
    plot = drawn(elements.map_displacement(source))
    (axes,) = plot.figure("FASER Internal").axes
    assert [text.get_text() for text in axes.texts][-3:] == ["modules x [µm]", "−10", "+10"]
    squares = axes.collections[0].get_facecolor()
    red, _, blue = squares[0][:3]
    assert red > blue


def test_arrows_show_shifts_of_layers(source: Source) -> None:
    """A layer's arrow points to the left for positive x and upwards for positive y; its rotation colours it as a whole."""
    from matplotlib.text import Annotation

    moved: Constants = {"10": (0.003, 0.004, 0.0, 0.0, 0.0, 2e-3), "21": (-0.001, 0.0, 0.0, 0.0, 0.0, 0.0)}
    shown = source._replace(
        start={}, iterations=[of._replace(solution=Solution(moved, {}, moved, {})) for of in source.iterations]
    )
    plot = drawn(elements.map_displacement(shown))
    assert plot.table()[1] == [
        ("layers, x", "µm", "10", 3.0),
        ("layers, y", "µm", "10", 4.0),
        ("layers, x", "µm", "21", -1.0),
        ("layers, y", "µm", "21", 0.0),
        ("layers rz", "µrad", "10", pytest.approx(2000.0)),
    ]
    arrows, turned = plot.figure("FASER Internal").axes
    ends = [(note.xy, note.xyann) for note in arrows.texts if isinstance(note, Annotation)]
    (tip, tail), (other, from_) = ends
    assert (tip[0] < tail[0], tip[1] > tail[1]) == (True, True)
    assert (other[0] > from_[0], other[1]) == (True, pytest.approx(from_[1]))
    assert [text.get_text() for text in turned.texts][-2:] == ["−2,000", "+2,000"]
    shades = turned.collections[0].get_facecolor()
    assert [at for at, (red, _, blue, _) in enumerate(shades) if red > blue + 0.1] == [3]


def test_the_truth_is_compared_in_sigma(source: Source) -> None:
    """The distance to the truth shows the start and the result; the caption has the rms of distance over error."""
    plot = drawn(elements.from_truth(source))
    _, rows = plot.table()
    assert ("x", "µm", "start", "000", pytest.approx(-10.0), None) in rows
    assert ("x", "µm", "iteration 2", "000", pytest.approx(0.0, abs=1e-9), pytest.approx(1.0)) in rows
    assert "rms of distance over error" in plot.caption


def test_validation_shows_each_module(source: Source) -> None:
    """The validation has the mean residual of each module on unused files, before and after, with its error."""
    plot = drawn(elements.validation(source))
    assert plot.title == "Validation on files that the alignment did not use"
    _, rows = plot.table()
    assert rows[:2] == [("mean", "µm", "before", "000", 9.0, 1.0), ("mean", "µm", "after", "000", 1.0, 1.0)]
    assert plot.caption.endswith("No mean moved away from zero by more than two standard deviations.")
    halves = source.validation["groups"]["unused"]
    halves["before"], halves["after"] = halves["after"], halves["before"]
    assert drawn(elements.validation(source)).caption.endswith("standard deviations: 000 (+1.0 to +9.0 µm).")


def test_a_dead_module_is_named(source: Source) -> None:
    """A module with hardly any hits is named as dead, and has few hits in the figure."""
    plot = drawn(elements.occupancy(source))
    assert plot.caption.endswith("013: dead.")
    assert [axes.get_ylim()[0] for axes in plot.figure("FASER Internal").axes] == [0, 0]
    assert ("hits", "", "iteration 2", "013", 3.0, pytest.approx(3**0.5)) in plot.table()[1]


def test_names_that_no_detector_has_are_left_out(source: Source) -> None:
    """If somebody has edited the metrics, the other figures are still drawn."""
    edited: Metrics = {"hits": {"modules": {"xyz": [1, 2], "000": [5, 0]}}, "magnets": {"left": {}}}  # type: ignore[typeddict-item]
    odd = source._replace(iterations=[of._replace(metrics=edited) for of in source.iterations])
    assert {row[3] for row in drawn(elements.occupancy(odd)).table()[1]} == {
        f"0{l}{m}" for l in range(3) for m in range(8)
    }
    assert distributions.magnets(odd) is None


@pytest.mark.slow
def test_figures_of_a_page_share_no_ids(source: Source) -> None:
    """In a page, figures have selectable text, the page's colours, and unique ids."""
    texts = [
        str(page.embedded(plot.figure("FASER Internal"), name=f"f{at}", title=plot.title))
        for at, plot in enumerate(plots(source))
    ]
    ids = re.findall(r' id="([^"]+)"', "".join(texts))
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', "".join(texts))
    assert len(ids) == len(set(ids))
    assert set(used) == set(ids)
    for text in texts:
        assert ">FASER</text>" in text
        assert "var(--text)" in text
        assert "#1b1f24" not in text
        assert "<style" not in text
        assert len(text) < 60_000


@pytest.mark.slow
def test_the_command_writes_figures_and_numbers(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plots` writes figures as SVG, PNG, PDF and CSV, also a second time, and names what an iteration lacks."""
    monkeypatch.chdir(workdir)
    record = make_campaign(workdir / "c", files=1)
    folder = record["folder"]
    start = faser_align("plots", folder, "-o", "p")
    assert (start.status, "has no solved iteration yet" in start.err) == (2, True)
    for at in (1, 2):
        run_iteration(record, at)
        write_constants(layout.result_file(folder, 1, at), {"003": (0.0, 0.005 * at, 0.0, 0.0, 0.0, 0.0)})
        labels = [module_x_label(0, 0, 3, 0), module_x_label(0, 0, 3, 1), module_rz_label(0, 0, 3)]
        place = Path(layout.metrics_file(folder, 1, at)).parent / "millepede.res"
        write_result(place, {label: Row(0.001 / at, 0.0, 0.001, 0.0002) for label in labels})
    write_constants(layout.constants_file(folder, 1, 1), {"003": ZERO})
    done = faser_align("plots", folder, "-o", "p", "--only", "corrections", "--only", "displacements")
    assert done.status == 0, done.err
    assert faser_align("plots", folder, "-o", "p", "--format", "csv").status == 0
    assert "2 figures of iteration 2 as svg, png, pdf, csv in " in done.out.splitlines()[-1]
    assert (workdir / "p" / "corrections.png").read_bytes().startswith(b"\x89PNG")
    assert (workdir / "p" / "corrections.pdf").read_bytes().startswith(b"%PDF")
    with open(workdir / "p" / "displacements.csv", encoding="utf-8") as file:
        assert next(csv.DictReader(file)) == {
            "quantity": "x", "unit": "um", "series": "iteration 2", "element": "003", "value": "0.0", "error": "0.1414213562373095"
        }  # fmt: skip
    wrong = faser_align("plots", folder, "--iteration", "3", "--format", "csv")
    assert wrong.err.strip() == "error: Y2023_R011705_F400-405 has no solved iteration 3; choose one of 1, 2"
    closed = faser_align("plots", folder, "--format", "csv", "-o", "/proc")
    assert closed.err.startswith("error: /proc cannot be written: ")
    for unknown in ("gif", "", ","):
        wrong = faser_align("plots", folder, "--format", unknown, status=2)
        assert "must be one of svg, png, pdf, csv" in wrong.err
    one = faser_align("plots", folder, "-o", "p", "--only", "convergence", "--format", "csv", status=0)
    assert "1 figure of iteration 2 as csv in " in one.out


def histograms(offset_um: float) -> FigureData:
    """Return the data of an iteration whose module 000 is off."""
    keys = tuple(key for key in KEYS if len(key) == 3)
    bins = Bins.evenly("residual", "residual [um]", 250, -500.0, 500.0)
    contents = np.zeros((96, 2, 252), np.int64)
    for key, middle in (("000", offset_um), ("001", 0.0), ("100", 0.0)):
        places = np.searchsorted(np.array(bins.edges), middle + np.linspace(-40, 40, 1001), side="right")
        contents[keys.index(key), :] = np.bincount(places, minlength=252)
    residuals = Histogram(
        (Categories("module", "module", keys), Categories("side", "side", ("0", "1")), bins), contents
    )
    probability = Histogram((Bins.evenly("probability", "", 50, 0.0, 1.0),), np.full(52, 7))
    files = [Files(str(400 + at), str(400 + at), 1, 10, 1.0 + at, 100, 1, {"00": 0.5}) for at in range(3)]
    modes = tuple(Mode(value, 0.1, name) for value, name in ((1e-6, "curvature in y"), (0.04, ""), (0.25, "")))
    return FigureData(
        stage=1,
        iteration=1,
        residual_max_mm=0.5,
        histograms={"residuals": residuals, "chi2_probability": probability},
        files=files,
        spectra=(Spectrum("all", 4e-4, 4e-8, modes),),
    )


@pytest.fixture
def filled(source: Source) -> Source:
    """Return the campaign with histograms; module 000 is off by 60 um at first."""
    return source._replace(iterations=[of._replace(data=histograms(60.0 / of.number**4)) for of in source.iterations])


def test_residuals_have_median_and_width(filled: Source) -> None:
    """The axis names its unit, and the table has every entry of both iterations."""
    plot = drawn(distributions.residuals(filled))
    axes = plot.figure("FASER Internal").axes[1]
    assert axes.get_xlabel() == "residual [µm]"
    _, rows = plot.table()
    assert {row[2] for row in rows} == {"00", "10"}
    assert sum(float(row[6] or 0) for row in rows if row[2:4] == ("00", "iteration 2")) == 4 * 1001


def test_medians_of_modules_are_by_station(filled: Source) -> None:
    """The distribution of medians (DMR) has an entry for each module, which moves to zero."""
    plot = drawn(distributions.medians(filled))
    assert [axes.get_title(loc="left") for axes in plot.figure("FASER Internal").axes[:2]] == ["IFT", "station 1"]
    entries = [row for row in plot.table()[1] if row[6]]
    before = [row for row in entries if row[2:4] == ("IFT", "iteration 1")]
    assert sum(float(row[6] or 0) for row in before) == 2
    assert any(float(row[4] or 0) > 50 for row in before)
    assert all(abs(float(row[4] or 0)) < 10 for row in entries if row[3] == "iteration 2")


def test_the_spectrum_has_its_limit_and_names(filled: Source) -> None:
    """Each direction is drawn with its error; the weak one is above the line and named."""
    (plot,) = modes.spectrum(filled)
    assert "curvature in y" in plot.caption
    (axes,) = plot.figure("FASER Internal").axes
    assert axes.get_ylabel() == "error [µm]"
    errors = [float(row[4] or 0) for row in plot.table()[1]]
    assert errors == pytest.approx([1000.0, 5.0, 2.0])
    limit = next(line for line in axes.get_lines() if line.get_color() == style.BAD)
    assert list(limit.get_ydata()) == pytest.approx([50.0, 50.0])


def test_the_precision_of_each_constant_is_drawn(source: Source) -> None:
    """Errors of the last iteration have a panel per degree of freedom from zero, and the largest is named."""
    plot = drawn(elements.precision(source))
    assert plot.table()[1] == [
        (dof, unit, "iteration 2", key, pytest.approx(error), None)
        for dof, unit, error in (("x", "µm", 1.0), ("y", "µm", 50.0), ("rz", "µrad", 20.0))
        for key in ("000", "001")
    ]
    assert all(axes.get_ylim()[0] == 0 for axes in plot.figure("FASER Internal").axes)
    assert plot.caption.endswith("Largest: x 1.0 µm (000), y 50 µm (000), rz 20 µrad (000).")
    layers = source.last._replace(solution=source.last.solution._replace(all_errors=ERRORS | {"10": ERRORS["000"]}))  # type: ignore[union-attr]
    assert "layer y 50 µm (10)" in drawn(elements.precision(source._replace(iterations=[layers]))).caption


def test_mean_residuals_have_errors(source: Source) -> None:
    """Means have errors; the last iteration has its own panel, and its most significant mean is named."""
    sides = [
        {f"{key}{side}": {"hits": 50, "mean_um": mean, "rms_um": 20.0} for key, mean in of.items() for side in "01"}
        for of in ({"000": 30.0, "001": -5.0}, {"000": 1.0, "001": -4.0})
    ]
    iterations = [
        of._replace(metrics={"sides": sides[of.number - 1]})  # type: ignore[typeddict-item]
        for of in source.iterations
    ]
    plot = drawn(elements.means(source._replace(iterations=iterations)))
    assert ("mean residual", "µm", "iteration 1", "000", 30.0, 2.0) in plot.table()[1]
    both, last = plot.figure("FASER Internal").axes
    assert (both.get_ylim()[1] > 30, last.get_ylim()[1] < 10) == (True, True)
    assert [line.get_color() for line in last.get_lines()][1] == style.AFTER
    assert "001 is farthest from zero by its error: −4.0 ± 2.0 µm (2.0 σ)" in plot.caption


def test_correlations_have_one_scale(filled: Source) -> None:
    """Each panel of the global correlations shows 0 to 1."""
    rows = [
        ParameterRow(label, 1, 0.0, 0.001, value)
        for label, value in ((module_x_label(0, 0, 0, 0), 0.4), (module_rz_label(0, 0, 0), 0.9))
    ]
    last = filled.last._replace(data=dataclasses.replace(histograms(0.0), parameters=rows))
    plot = drawn(modes.correlations(filled._replace(iterations=[last])))
    ends = {axes.get_ylim() for axes in plot.figure("FASER Internal").axes}
    assert len(ends) == 1
    assert min(ends)[0] == 0
    assert min(ends)[1] > 1


def test_iterations_with_different_numbers_of_tracks_are_compared(filled: Source) -> None:
    """Tracks and hits are drawn as shares that add up to 1; rows and caption have their numbers."""
    plot = drawn(distributions.probability(filled))
    (axes,) = plot.figure("FASER Internal").axes
    assert axes.get_ylabel() == "share of tracks"
    assert sum(axes.patches[0].get_data().values) == pytest.approx(50 / 52)
    assert sum(float(row[6] or 0) for row in plot.table()[1]) == 2 * 50 * 7
    assert plot.caption.endswith("Tracks: 364 in iteration 1, 364 in iteration 2.")


@pytest.mark.slow
def test_names_above_the_axes_do_not_meet(filled: Source) -> None:
    """The legend has a row of its own if it has no room beside the experiment's label."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    long = ("a campaign with a long name", "another with a long name")
    for names in (("iteration 1.1", "iteration 1.2"), ("1", "2"), long):
        named = [of._replace(name=name) for of, name in zip(filled.iterations, names, strict=True)]
        for make in (distributions.residuals, distributions.medians, elements.corrections):
            figure = drawn(make(filled._replace(iterations=named))).figure("FASER Work in progress")
            canvas = FigureCanvasAgg(figure)
            with style.look():
                canvas.draw()
            (legend,) = figure.legends
            box = legend.get_window_extent(canvas.get_renderer())
            others = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]
            others += [axes.get_window_extent() for axes in figure.axes]
            assert [other.bounds for other in others if box.overlaps(other)] == [], box.bounds


def test_labels_of_ticks_keep_their_digits(filled: Source) -> None:
    """A page has the tick labels of the figure: only coordinates are shortened."""
    plot = drawn(distributions.probability(filled))
    figure = plot.figure("FASER Internal")
    (axes,) = figure.axes
    axes.set_yticks([0.0, 0.0125], ["0.0000", "0.0125"])
    assert ">0.0125</text>" in page.embedded(figure, name="f", title=plot.title)


def test_the_largest_drift_of_a_name_is_drawn(source: Source) -> None:
    """Of several modes with one name the largest drift is drawn, and its mode is called weak if it is."""
    found = [
        {"name": "twist", "weak": True, "drift_sigma": drift, "drift_um": 4.0, "error_sigma": 30.0, "where": "10"}
        for drift in (0.4, 1.5)
    ]
    last = source.last._replace(metrics={"weak_modes": {"modes": found}})  # type: ignore[typeddict-item]
    plot = drawn(modes.drift(source._replace(iterations=[last])))
    assert plot.table()[1] == [(2, "twist (weak)", "drift", "σ of the survey", 1.5, None)]
    assert "2 of 2. Largest drift along a weak mode: 1.5 σ (4.0 µm) along twist" in plot.caption
    (axes,) = plot.figure("FASER Internal").axes
    assert axes.get_ylim()[0] == 0


def test_a_mode_is_followed_by_its_number(source: Source) -> None:
    """The drift of a mode is one curve although its largest modules change from one iteration to the next."""

    def iteration(*drifts: tuple[str, float]) -> Iteration:
        rows = [{"name": n, "weak": True, "drift_sigma": of, "drift_um": 4.0, "where": "010"} for n, of in drifts]
        return source.last._replace(metrics={"weak_modes": {"modes": rows}})  # type: ignore[typeddict-item]

    kind = "pattern of module.y"
    first = iteration((f"{kind}, largest in 010 and 023", 0.2), (f"{kind} (2), largest in 000 and 010", 0.9))
    last = iteration((f"{kind} (2), largest in 007 and 010", 1.1), (f"{kind}, largest in 000 and 010", 0.5))
    plot = drawn(modes.drift(source._replace(iterations=[first._replace(number=1), last])))
    assert [row[:2] + row[4:5] for row in plot.table()[1]] == [
        (1, f"{kind} (2) (weak)", 0.9),
        (2, f"{kind} (2) (weak)", 1.1),
        (1, f"{kind} (weak)", 0.2),
        (2, f"{kind} (weak)", 0.5),
    ]


def test_files_have_their_names_on_the_axis(filled: Source) -> None:
    """Stability over files has a point per file under its name; the caption has the fewest and the most tracks of a file."""
    plot = drawn(distributions.stability(filled))
    assert [row[:1] + row[4:5] for row in plot.table()[1]][-3:] == [("400", 1.0), ("401", 2.0), ("402", 3.0)]
    assert re.search(r"Tracks of a file: [\d,]+ \(40\d\) to [\d,]+ \(40\d\)\.$", plot.caption)
    (axes,) = plot.figure("FASER Internal").axes
    assert [label.get_text() for label in axes.get_xticklabels()][:1] == ["400"]


@pytest.mark.slow
def test_every_figure_can_be_drawn_as_every_file(filled: Source) -> None:
    """Every figure of the catalogue is drawn, has a table, and is explained on the page of figures."""
    explained = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    reference = filled._replace(
        reference=("in use.txt", {"000": (0.05, 0.0, 0.0, 0.0, 0.0, 0.0)}),
        halves={"before": histograms(60.0), "after": histograms(0.0)},
    )
    made = plots(reference)
    assert len({plot.name for plot in made}) == len(made)
    assert {plot.name for plot in made} >= {
        *("residuals", "medians", "probability", "map-residual", "map-reference", "reference", "spectrum"),
        *("validation-residuals", "files"),
    }
    for plot in made:
        assert page.embedded(plot.figure("FASER Internal"), name=plot.name, title=plot.title)
        assert f"`{plot.name}`" in explained
        columns, rows = plot.table()
        assert all(len(row) == len(columns) for row in rows)
        assert rows
