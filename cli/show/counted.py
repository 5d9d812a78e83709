"""Show the counts of ``mille``."""

from typing import Any

from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.parameters.labels import LAYER_KEYS
from faser_align.alignment.quality import describe
from faser_align.alignment.quality.notes import derivative_cut
from faser_align.cli import console

MODULES_SHOWN = 5  # with the largest loss of hits
SHOWN = (
    *("files", "tracks_read", "tracks_cut_chi2", "tracks_cut_pz", "tracks_cut_hits", "tracks_written"),
    *("hits_read", "hits_cut_residual", "hits_cut_derivative", "measurements"),
)


def tell(counts: Counts, *, as_json: bool) -> None:
    """Show the counts, or write them as JSON, and warn of a cut that rejects too much."""
    cut = derivative_cut(counts.hits_cut_derivative, counts.hits_read)
    if cut:
        console.warn(cut)
    if as_json:
        # The histograms serve for adding counts and are in the file beside the binary; this shows the derived numbers.
        told: dict[str, Any] = {key: value for key, value in counts.to_json().items() if not key.endswith("_bins")}
        plus, minus = counts.median_q_over_p()
        momenta = {"median_q_over_p_plus": plus, "median_q_over_p_minus": minus}
        console.show_json(
            told | {"chi2_per_ndf": counts.chi2_per_ndf(), **momenta, "residuals": counts.layer_residuals_um()}
        )
    else:
        show(counts)


def show(counts: Counts) -> None:
    """Write tracks and hits by reason, chi2/ndf, momenta, and the residuals of each layer."""
    rows: list[tuple[str, object]] = [(describe.COUNTS[name]["name"], getattr(counts, name)) for name in SHOWN]
    chi2 = counts.chi2_per_ndf()
    if chi2 is not None:
        rows.append(("chi2/ndf before hit cuts", f"{chi2:.4f}"))
    for sign, median in zip("+-", counts.median_q_over_p(), strict=True):
        if median is not None:
            rows.append((f"median q/p of {sign} (1/TeV)", f"{1e3 * median:.4f}"))
    console.table(["counted", ">number"], rows)
    layers = []
    for key, residual in counts.layer_residuals_um().items():
        kept, cut = counts.modules[LAYER_KEYS.index(key)].sum(axis=0).tolist()
        layers.append([key, kept, cut, f"{residual['median_um']:.2f}", f"{residual['width_um']:.2f}"])
    console.table(["layer", ">hits kept", ">cut by residual", ">median um", ">width um"], layers)
    _show_modules(counts)


def _show_modules(counts: Counts) -> None:
    rows = []
    for key, (kept, cut) in counts.module_counts().items():
        derivative = int(counts.modules_cut_derivative[LAYER_KEYS.index(key[:2]), int(key[2])])
        share = (cut + derivative) / (kept + cut + derivative)
        rows.append((share, [key, kept, cut, derivative, f"{100 * share:.1f}"]))
    worst = sorted(rows, key=lambda row: (-row[0], row[1][0]))[:MODULES_SHOWN]
    if worst and worst[0][0] > 0:
        columns = ["module", ">hits kept", ">cut by residual", ">by derivative", ">% cut"]
        console.table(columns, [row for share, row in worst if share > 0])
