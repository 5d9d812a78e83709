"""Write remarks about an iteration besides its decision, one sentence each, from its metrics. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from faser_align.campaign.layout import raw_name
from faser_align.fsm.criteria_files import between_files
from faser_align.fsm.metrics import Magnet, Metrics, Solver
from faser_align.fsm.plural import count, first_of, in_percent
from faser_align.fsm.rules import Rules

NEAR_END_UM = 2.0  # residual shift of a correction below which a stage may end soon
CHI2_MIN, CHI2_MAX = 0.85, 1.3  # of the reconstruction, which are usual
SCATTER_MIN, SCATTER_MAX = 0.92, 1.07  # of the hits within the cut, in units of their errors
OUTLIERS_MIN = 0.0005  # fraction of hits
RULES = Rules()
# The magnets of the metrics, numbered along the beam.
MAGNETS = {
    "1": "the magnet before station 1",
    "2": "the magnet between stations 1 and 2",
    "3": "the magnet between stations 2 and 3",
}
FIELD_TOLERANCE = 0.003  # relative deviation of a magnet's field that is negligible
FIELD_SIGMA_MAX = 4.0
LIKELY = 4.0  # chi2 above the best magnet's, up to which another one may be the wrong one
NAMED_MAX = 5  # dropped files
# Above this fraction of rejected records, or outside this chi2/ndf, pede ends with a warning.
REJECTED_MAX, PEDE_CHI2_MIN, PEDE_CHI2_MAX = 0.01, 0.9, 1.1
_SEVERE = {
    2: "some free parameters have few accepted measurements, so that their errors are large",
    3: "the matrix is not positive definite, or constraints depend on each other; look at the weak modes",
    4: "a binary file ends within a record; convert it again",
}
DERIVATIVE_CUT_MAX = 0.03  # fraction of hits
RAISE_IT = 'raise it, for example to 10, or set mille.pivot = "layer", which has no such cut'


def notes(metrics: Metrics, momentum_max: float, rules: Rules = RULES) -> list[str]:
    """Return remarks about an iteration; empty if nothing is unusual.

    Args:
        momentum_max: normal relative change of the median momentum since the stage's first iteration.
        rules: limits on differences between files.
    """
    hits = metrics.get("hits", {})
    cut = derivative_cut(hits.get("cut", {}).get("derivative", 0), hits.get("read", 0))
    files = [found.text for found in between_files(rules, metrics) if not found.passed]
    own = (
        changed_by_hand(metrics),
        _converted_again(metrics),
        _dropped(metrics),
        cut,
        _drift(metrics, momentum_max),
        _magnets(metrics),
        _chi2(metrics),
    )
    return [text for text in (*own, *files, uncompressed(metrics.get("files", {}).get("uncompressed", 0))) if text]


def uncompressed(files: int) -> str:
    """Return a sentence if ROOT files are not compressed, else an empty string."""
    if not files:
        return ""
    return (
        f"{count(files, 'ROOT file')} without compression: damage to such a file may go unnoticed, because ROOT has "
        "checksums in compressed data alone; let the reconstruction write compressed files"
    )


def derivative_cut(cut: int, read: int) -> str:
    """Return a sentence if the derivative cut rejected more than a few percent of the hits read, else an empty string.

    Layers that are tilted by more than 30 mrad, such as those of the IFT, have derivatives with respect to rx and ry
    above 2 mm/rad.
    """
    if cut <= DERIVATIVE_CUT_MAX * read:
        return ""
    return (
        f"{in_percent(cut / read)} of the hits are cut by mille.derivative_max, for the most part hits of tilted layers, which "
        f"the alignment then does without; {RAISE_IT}"
    )


def _chi2(metrics: Metrics) -> str:
    """Return a sentence with the causes if chi2/ndf near the end of a stage is far from 1, else an empty string."""
    shift, chi2 = metrics.get("effect_um"), metrics.get("chi2_per_ndf")
    if shift is None or chi2 is None or shift >= NEAR_END_UM or CHI2_MIN <= chi2 <= CHI2_MAX:
        return ""
    scale = metrics.get("error_scale") or {}
    causes = [text for text in (_outliers(metrics), _scatter(scale.get("scatter"))) if text]
    if not causes:
        causes = ["a module or layer may not be aligned" if chi2 > CHI2_MAX else "the errors of hits may be too large"]
    factor = scale.get("factor")
    known = f"; errors of the constants include the factor {factor:.2f}" if factor else ""
    return f"chi2/ndf of the reconstruction is {chi2:.2f} instead of about 1: {'; '.join(causes)}{known}"


def _outliers(metrics: Metrics) -> str:
    share = metrics.get("hits", {}).get("outliers") or 0.0
    if share < OUTLIERS_MIN:
        return ""
    return f"{in_percent(share, 1)} of the hits are more than 0.2 mm from their tracks, in all layers: outliers or noisy strips"


def _scatter(scatter: float | None) -> str:
    if scatter is None or SCATTER_MIN <= scatter <= SCATTER_MAX:
        return ""
    about = f"hits scatter about their tracks by {scatter:.2f} times their errors"
    if scatter < 1:
        return f"{about}: the errors of hits may be too large"
    return f"{about}, not counting those that are cut: the errors of hits may be too small, or a module or layer is not aligned"


def _magnets(metrics: Metrics) -> str:
    """Return a sentence near the end of a stage if the field of a magnet seems wrong, else an empty string."""
    shift, magnets = metrics.get("effect_um"), metrics.get("magnets", {})
    if shift is None or shift >= NEAR_END_UM or not metrics.get("residual_max_final") or not magnets:
        return ""
    best = min(magnets.values(), key=lambda one: one["chi2"])
    sigma = field_sigma(best, len(magnets))
    if sigma <= FIELD_SIGMA_MAX:
        return ""
    likely = [
        f"that of {MAGNETS.get(number, number)} by {100 * one['deviation']:+.1f} +- {100 * one['error']:.1f} %"
        for number, one in sorted(magnets.items(), key=lambda item: item[1]["chi2"])
        if one["chi2"] <= best["chi2"] + LIKELY
    ]
    return (
        f"residuals depend on charge and momentum ({sigma:.1f} sigma), as if a field differed from the one of the "
        f"reconstruction: {', or '.join(likely)}, relative to the other magnets. Momenta may be wrong by as much, constants only "
        "if one charge prevails; check the field map and its tag"
    )


def fields(metrics: Metrics) -> str:
    """Return what the tracks say about the fields of the magnets, and what they cannot say; empty if nothing is known."""
    magnets = metrics.get("magnets", {})
    if not magnets:
        return ""
    each = [
        f"{name} {100 * magnets[number]['deviation']:+.2f} +- {100 * magnets[number]['error']:.2f} %"
        for number, name in MAGNETS.items()
        if number in magnets
    ]
    return (
        f"field of each magnet relative to the others, if it alone is wrong: {', '.join(each)}. No residual shows a field that "
        "is wrong by the same factor in all magnets: the momentum scale is that of the field map"
    )


def field_sigma(magnet: Magnet, magnets: int) -> float:
    """Return the significance of a deviation above ``FIELD_TOLERANCE``, corrected for the number of magnets."""
    pull = max(abs(magnet["deviation"]) - FIELD_TOLERANCE, 0.0) / magnet["error"] if magnet["error"] > 0 else 0.0
    return math.sqrt(max(pull**2 - 2 * math.log(magnets), 0.0))


def _dropped(metrics: Metrics) -> str:
    """Return a sentence that names the dropped files and what is lost with them, else an empty string."""
    files = metrics.get("files", {})
    lost, used = files.get("lost", []), files.get("used", 0)
    if not lost or not used:
        return ""
    names = first_of([raw_name(file) for file in lost], NAMED_MAX)
    return (
        f"file{'s' * (len(lost) > 1)} {names} {'were' if len(lost) > 1 else 'was'} dropped: {used:,} of "
        f"{used + len(lost):,} files are used, and statistical errors are about {in_percent(math.sqrt(1 + len(lost) / used) - 1)} larger"
    )


def solver_end(solver: Solver) -> str:
    """Return the solver's end code and text, and what caused a warning: pede's texts do not say.

    pede warns of *bad measurements* (code 1) if it rejects more than 1 % of the records, if chi2/ndf is not in 0.9 to 1.1, or if
    constraints bind only fixed parameters: then the measurements are good.
    """
    code, said = solver.get("end_code"), str(solver.get("end_text", ""))
    if isinstance(code, int):  # not of an imported iteration
        said = f"end code {code}, {said}"
    if code in _SEVERE:
        return f"{said}: {_SEVERE[code]}"
    records, chi2 = solver.get("records"), solver.get("chi2_per_ndf")
    if code != 1 or not records or chi2 is None:
        return said
    rejected = sum(number or 0 for number in (solver.get("rejects") or {}).values())
    share = f"{rejected:,} of {records:,} records rejected"
    many, unusual = rejected > REJECTED_MAX * records, not PEDE_CHI2_MIN <= round(chi2, 2) <= PEDE_CHI2_MAX
    causes = [
        f"{share} ({in_percent(rejected / records, 1)}), which the solution leaves out; above a few percent, look at the cuts"
    ] * many
    causes += [f"chi2/ndf {chi2:.3f} is outside 0.9 to 1.1; the errors of the constants account for it"] * unusual
    harmless = f"harmless, because some constraints contain only fixed parameters; {share}, chi2/ndf {chi2:.3f}"
    return f"{said}: {'; '.join(causes) or harmless}"


def changed_by_hand(metrics: Metrics) -> str:
    """Return a sentence if somebody changed the constants of an iteration or validation, else an empty string."""
    changed = metrics.get("constants", {}).get("changed_by_hand")
    if not changed:
        return ""
    if isinstance(changed, list):  # both halves of a validation
        which = {"before": "the first constants", "after": "the last constants"}
        named = " and ".join(which[half] for half in changed)
        return f"{named}, as the validation has them, were changed by hand"
    stage = f" of stage {metrics['stage']}" if metrics["stage"] > 1 else ""
    return f"the constants of iteration {metrics['iteration']}{stage} were changed by hand"


def _converted_again(metrics: Metrics) -> str:
    if not metrics.get("converted_again"):
        return ""
    return (
        f"the solver rejected more than a third of the tracks, so the tracks were converted again with hits up to "
        f"{metrics['residual_max_mm']:g} mm, ten times the cut; the iteration does not count as converged"
    )


def _drift(metrics: Metrics, momentum_max: float) -> str:
    since = metrics.get("momentum", {}).get("since_first", {})
    changes = [_change(since, name, sign) for name, sign in (("plus", "positive"), ("minus", "negative"))]
    if all(abs(change) <= momentum_max for change, _ in changes):
        return ""
    lost = {edge: since.get(f"lost_{edge}", 0) for edge in ("low", "high")}
    left = f"; {lost['low']:,} tracks left the momentum window at its lower edge, {lost['high']:,} at its upper"
    shown = " and ".join(text for _, text in changes if text)
    return f"{_bending(metrics)}momenta moved since iteration 1: {shown}{left if any(lost.values()) else ''}"


def _change(since: Mapping[str, Any], name: str, sign: str) -> tuple[float, str]:
    """Return the relative change of the momenta of a charge, and its description; a change of sign counts as 100 %."""
    change = since.get(f"momentum_change_{name}")
    if change is not None:
        return change, f"those of {sign} tracks by {in_percent(change, 1, '+')}"
    before, now = since.get(f"median_q_over_p_{name}", (None, None))
    if before is None or now is None:
        return 0.0, ""
    return 1.0, f"the curvature of {sign} tracks changed its sign"


def _bending(metrics: Metrics) -> str:
    """Return the weak mode that changes momenta; empty if the data determine it well."""
    modes = [mode for step in metrics.get("steps", ()) for mode in step.get("parts", {}).get("modes", ())]
    bending = [mode for mode in modes if mode["name"].startswith("curvature in y")]
    if not bending:
        return ""
    chosen = max(bending, key=lambda mode: mode["moved_um"])
    return f"{chosen['name']} is poorly determined by the data (moved by {chosen['moved_um']:.3g} um in this iteration) and "
