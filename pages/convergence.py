"""Show how a campaign converged: charts over its iterations, and the limits of its criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm.rules import Rules, limits_of
from faser_align.pages import charts
from faser_align.pages.charts import Series
from faser_align.pages.collect import Facts

_RULES = {
    "residual_shift": "the expected residual shift",
    "delta_chi2_per_parameter": "the expected delta chi2 per parameter",
    "relative": "relative",
    "absolute": "the largest correction",
}


def drawn(facts: Facts) -> list[tuple[str, Markup]]:
    """Return heading and drawing of each chart: the judged quantities with their limits, and the corrections."""
    judged = facts.judged
    places = [facts.name_of(row["stage"], row["iteration"]) for row in judged]
    stages = [row["stage"] for row in judged]
    limited = [limits_of(convergence_of(facts.record, row["stage"])) for row in judged]

    def chart(title: str, series: list[Series], number: str, **options: Any) -> Markup:
        limits = [of.get(number) for of in limited]
        if len(set(limits)) > 1:  # stages have different limits
            return charts.line_chart(title, places, [*series, Series("limit", limits)], groups=stages, **options)
        limit = limits[0] if limits else None
        return charts.line_chart(title, places, series, limit=limit, groups=stages, **options)

    def curve(number: str, title: str, **options: Any) -> Markup:
        return chart(title, [Series(title, [row["metrics"].get(number) for row in judged])], number, **options)

    charted = [
        ("chi2/ndf of the reconstruction, before hit cuts", curve("chi2_per_ndf", "chi2/ndf")),
        ("Expected rms shift of the residuals", curve("effect_um", "expected residual shift", unit="um", log=True)),
        ("Expected decrease of chi2 per parameter", curve("significance", "expected delta chi2", log=True)),
    ]
    if any("relative" in of for of in limited):
        charted.append(("Relative: the correction over the constants", curve("relative", "relative", log=True)))
    for size, number in (("rms", ""), ("largest", "largest_")):
        for unit in ("um", "urad"):
            of_unit = _corrections(judged, unit, size)
            if of_unit and (size == "rms" or any(number + unit in of for of in limited)):
                title = f"corrections, {size}, in {unit}"
                svg = chart(title, of_unit, number + unit, unit=unit, log=True)
                charted.append((title[:1].upper() + title[1:], svg))
    return charted


def asked(record: Manifest) -> list[str]:
    """Return the criteria for convergence: one sentence, or one per stage where they differ."""
    limits: dict[str, str] = {}
    for place, stage in enumerate(record["stages"], start=1):
        convergence = convergence_of(record, place)
        if convergence:
            rules = Rules.from_config(convergence)
            every = rules.require == "all" and len(rules.rules) > 1
            names = (" and " if every else " or ").join(_RULES[rule] for rule in rules.rules)
            below = f"{names} {'are below their limits' if every else 'is below its limit'} (dashed)"
            in_a_row = f" in {rules.patience} consecutive iterations" if rules.patience > 1 else ""
            limits[f"stage {place}, {stage['name']}"] = f"{below}{in_a_row}"
    if len(set(limits.values())) > 1:
        return [f"In {stage}, the alignment has converged when {words}." for stage, words in limits.items()]
    return [f"The alignment has converged when {words}; no other curve has a limit." for words in set(limits.values())]


def _corrections(judged: Sequence[Mapping[str, Any]], unit: str, size: str) -> list[Series]:
    """Return the corrections per degree of freedom of a unit: their ``rms``, or the absolute ``largest``."""
    corrections = [row["metrics"].get("corrections", {}) for row in judged]
    dofs = dict.fromkeys(dof for by_dof in corrections for dof, of in by_dof.items() if of.get("unit") == unit)
    sizes = {dof: [by_dof.get(dof, {}).get(size) for by_dof in corrections] for dof in dofs}
    return [Series(dof, [None if value is None else abs(value) for value in values]) for dof, values in sizes.items()]
