"""Test histograms and profiles, and the file with the data of figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from faser_align.alignment.histograms import Bins, Categories, Histogram, Profile, from_uhi
from faser_align.alignment.mille.distributions import MODULE as MODULES
from faser_align.alignment.mille.distributions import PULL, RESIDUAL
from faser_align.alignment.parameters.labels import KEYS, LAYER_KEYS
from faser_align.alignment.quality.figure_data import (
    Correction,
    FigureData,
    Files,
    Mode,
    ParameterRow,
    Spectrum,
    read_figures,
    write_figures,
)
from faser_align.fsm.errors import UserError

MODULE = Categories("module", "module", ("000", "001"))
SIDE = Categories("side", "side", ("0", "1"))
X = Bins.evenly("residual", "residual [µm]", 10, -5.0, 5.0)


def filled(seed: int = 1) -> Histogram:
    """Return a histogram of two modules with two sides."""
    return Histogram((MODULE, SIDE, X), np.random.default_rng(seed).integers(0, 9, (2, 2, 12)))


def test_histogram_follows_the_protocol() -> None:
    """Axes, values, variances, counts and kind follow the protocol of hist and mplhep, without flow bins."""
    found = filled()
    assert found.kind == "COUNT"
    assert found.values().shape == found.variances().shape == found.counts().shape == (2, 2, 10)
    assert found.values(flow=True).shape == (2, 2, 12)
    assert [axis.traits.discrete for axis in found.axes] == [True, True, False]
    assert not any(axis.traits.circular for axis in found.axes)
    assert (len(X), X[0], X[-1]) == (10, (-5.0, -4.0), (4.0, 5.0))
    assert (list(SIDE), list(X)[1]) == (["0", "1"], (-4.0, -3.0))
    assert Bins.evenly("residual", "residual [µm]", 10, -5.0, 5.0) == X


def test_parts_and_sums() -> None:
    """Categories are chosen and axes summed with the flow bins; the order of the axes stays."""
    found = filled()
    assert_array_equal(found.at(module="001", side="0").contents, found.contents[1, 0])
    assert_array_equal(found.at(module=["001"]).contents, found.contents[[1]])
    assert_array_equal(found.sum("side").contents, found.contents.sum(axis=1))
    assert_array_equal(found.sum("module", "side").contents, found.contents.sum(axis=(0, 1)))
    assert_array_equal(found.rebin(5).contents[0, 0, 1:3], found.contents[0, 0, 1:11].reshape(2, 5).sum(axis=1))
    assert found.rebin(5).axes[-1] == Bins.evenly("residual", "residual [µm]", 2, -5.0, 5.0)
    with pytest.raises(KeyError, match="no module 7"):
        found.at(module="7")
    with pytest.raises(KeyError, match="no axis strip"):
        found.sum("strip")


def test_sums_of_histograms() -> None:
    """Histograms with equal axes add up bin by bin; others are refused."""
    one, two = filled(1), filled(2)
    assert_array_equal((one + two).contents, one.contents + two.contents)
    with pytest.raises(ValueError, match="different axes"):
        one + two.sum("side")


def test_quantiles_and_moments() -> None:
    """A histogram gives median and width of a normal distribution to a fraction of a bin."""
    axis = Bins.evenly("residual", "residual [µm]", 250, -500.0, 500.0)
    values = np.random.default_rng(3).normal(7.0, 25.0, 200_000)
    places = np.searchsorted(np.array(axis.edges), values, side="right")
    empty = Histogram.empty(axis).contents
    found = Histogram((MODULE, axis), np.stack([np.bincount(places, minlength=252), empty]))
    low, median, high = found.quantiles()[0]
    assert_allclose([median, (high - low) / 2], [np.median(values), 25.0], atol=0.15)
    entries, mean, rms = found.moments()
    assert_allclose(
        [entries[0], mean[0], rms[0]], [200_000, values.mean(), np.hypot(values.std(), 4 / 12**0.5)], atol=0.01
    )
    assert np.isnan([*found.quantiles()[1], mean[1], rms[1]]).all()


def test_profiles_have_means_and_variances() -> None:
    """A profile's values are means, and its variances sample variances; both are NaN in empty bins."""
    entries = np.array([1.0, 2.0, 6.0])
    sums = np.array([[3.0, entries.sum(), (entries**2).sum()], [0.0, 0.0, 0.0]])
    found = Profile((MODULE,), sums, "q/p")
    assert found.kind == "MEAN"
    assert_allclose(found.values(), [3.0, np.nan])
    assert_allclose(found.variances(), [entries.var(ddof=1), np.nan])
    assert_allclose((found + found).counts(), [6.0, 0.0])
    assert_allclose(found.sum("module").values(), 3.0)


@pytest.mark.parametrize("axes", [(MODULE, SIDE, X), (Bins("p", "p [GeV]", (1.0, 10.0, 100.0)),)])
def test_json_gives_the_same_histogram(axes: tuple[Bins | Categories, ...]) -> None:
    """Histograms and profiles survive JSON in the form of uhi."""
    shape = [axis.size for axis in axes]
    histogram = Histogram(axes, np.arange(np.prod(shape)).reshape(shape))
    sums = np.random.default_rng(4).normal(size=(*shape, 1)) * [0.0, 10.0, 0.0] + [10.0, 0.0, 1000.0]
    for one in (histogram, Profile(axes, sums, "mean [µm]")):
        text = json.dumps(one._to_uhi_(), default=np.ndarray.tolist)
        again = from_uhi(json.loads(text))
        assert type(again) is type(one)
        assert again.axes == one.axes
        assert_allclose(again.values(flow=True), one.values(flow=True))
        assert_allclose(again.variances(flow=True), one.variances(flow=True), rtol=1e-9)
    with pytest.raises(ValueError, match="not a histogram"):
        from_uhi({"uhi_schema": 1})


def test_file_of_figures(tmp_path: Path) -> None:
    """Written data are read back; without a file the result is None, and a damaged file is refused."""
    path = tmp_path / "figures.json.gz"
    assert read_figures(path) is None
    data = FigureData(
        stage=1,
        iteration=2,
        residual_max_mm=0.5,
        hits=100,
        ndf=64,
        histograms={"residuals": filled()},
        files=(Files("400", "400", 1, 100, 1.1, 1800, 3, {"00": 0.1, "01": None}),),
        corrections={"000": Correction((1.0, 2.0, 0.0, 0.0, 0.0, 3.0), (0.1, None, 0.0, 0.0, 0.0, 1.0))},
        parameters=(ParameterRow(10302, 1, 1e-3, None, 0.9),),
        spectra=(Spectrum("all", 0.01, 1e-6, (Mode(1e-7, 3.0, "tilt in y"), Mode(1.0, 0.1, ""))),),
        weak_modes=({"name": "tilt in y", "drift_sigma": 0.4},),
    )
    write_figures(path, data)
    first = path.read_bytes()
    again = read_figures(path)
    assert again is not None
    write_figures(path, again)
    assert path.read_bytes() == first
    assert again.spectra == data.spectra
    assert again.corrections == data.corrections
    assert again.expected_pull == 0.8
    assert again.histogram("pulls") is None
    assert again.module_spreads() is None
    residuals = again.module_residuals("000", "1")
    assert residuals is not None
    assert_array_equal(residuals.contents, filled().contents[0, 1])
    medians = again.module_medians(least=1)
    assert medians is not None
    assert list(medians) == ["000", "001"]
    path.write_bytes(first[:-20])
    with pytest.raises(UserError, match="restore it"):
        read_figures(path)


def test_size_of_the_file(tmp_path: Path) -> None:
    """With 2 million tracks of 500 files, badly aligned, and all parameters free in two steps, the file has at most 200 kB."""
    numbers = np.random.default_rng(5)
    filled: dict[str, Histogram | Profile] = {}
    for name, axes, width in (("residuals", (MODULES, SIDE, RESIDUAL), 120.0), ("pulls", (MODULES, PULL), 2.0)):
        shape = np.exp(-((np.array(axes[-1].edges) / width) ** 2) / 2) + 0.01
        of_each = 36e6 / np.prod([len(axis) for axis in axes[:-1]]) * np.append(shape, 0.02) / shape.sum()
        filled[name] = Histogram(axes, numbers.poisson(of_each, [axis.size for axis in axes]))

    def drawn(count: int) -> list[float]:
        return [float(f"{value:.6g}") for value in numbers.normal(size=count)]

    layers = dict(zip(LAYER_KEYS, drawn(12), strict=True))
    modes = tuple(Mode(value**2, moved, "") for value, moved in zip(drawn(348), drawn(348), strict=True))
    data = FigureData(
        stage=1,
        iteration=1,
        residual_max_mm=0.5,
        histograms=filled,
        files=[Files(str(at), str(at), 1, 4000 + at, 1.01234 + at / 1e5, 72_000 + at, at, layers) for at in range(500)],
        corrections={key: Correction(tuple(drawn(6)), tuple(drawn(6))) for key in KEYS},
        parameters=[ParameterRow(at, step, *drawn(3)) for step in (1, 2) for at in range(348)],
        spectra=(Spectrum("a", 0.1, 1e-3, modes), Spectrum("b", 0.1, 1e-3, modes)),
    )
    write_figures(tmp_path / "figures.json.gz", data)
    assert 80_000 < (tmp_path / "figures.json.gz").stat().st_size <= 200_000
