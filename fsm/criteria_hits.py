"""Criteria on hits: which modules lose them to the residual cut, and which parameters have too few."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faser_align.fsm.plural import count, in_percent
from faser_align.fsm.rules import Criterion, Rules

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

_KEEP = "; a larger first value of mille.residual_max keeps its hits"
MODULE_HITS_MIN = 25  # as solver.entries: with fewer hits, the cut is not the reason
FAR_UM = 200.0  # correction above which the first constants misplaced the module


def entries(metrics: "Metrics") -> Criterion:
    """Return the criterion on parameters that should be free and have too few measurements.

    They prevent convergence only where the cut on residuals removed the hits, or the cut on chi2 the tracks. An element
    without hits to cut, dead or at the edge of the beam, keeps its constants and is named.
    """
    steps = metrics.get("steps", ())
    names = [name for step in steps for name in step.get("entries_fixed_names") or step.get("entries_fixed", ())]
    where = tuple(key for step in steps for key in step.get("entries_fixed_in", ()))
    known = all("entries_fixed_in" in step for step in steps)
    # Modules with too few entries are not free.
    hits = metrics.get("hits", {})
    modules = {key: numbers for key, numbers in hits.get("modules", {}).items() if key.startswith(where)}
    cut_off = sorted(key for key, (kept, cut) in modules.items() if cut > kept and kept + cut >= MODULE_HITS_MIN)
    far = sorted(
        key
        for key, lost in hits.get("of_cut_tracks", {}).items()
        if key.startswith(where) and lost > sum(modules.get(key, (0, 0))) and lost >= MODULE_HITS_MIN
    )
    passed = not names or (known and not cut_off and not far)
    shown = "; ".join(str(name) for name in names[:5]) + ("; ..." if len(names) > 5 else "")
    text = "no free parameter had too few entries"
    if names:
        text = f"{count(len(names), 'parameter')} had too few entries to be free ({shown})"
        text += "; without hits to cut, their values stay" if passed else ""
        if cut_off:
            text += f", because the residual cut took the hits of module {', '.join(cut_off[:3])}{_KEEP}"
        elif far:
            text += f", because tracks through module {', '.join(far[:3])} are cut by their chi2: it is far from where "
            text += "its constants say; larger mille.chi2_max and first value of mille.residual_max keep them"
    return Criterion("entries", float(len(names)), None if passed else 0.0, passed, text)


def cuts(rules: Rules, history: Sequence["Metrics"]) -> list[Criterion]:
    """Return the criteria on the hits that the residual cut removes, of the worst module and of the detector."""
    modules = history[-1].get("hits", {}).get("modules", {})
    more = _cut_shares(history[-1])
    worst = max(more, key=lambda key: more[key], default="")
    share = max(more.get(worst, 0.0), 0.0)
    text = "no module has more of its hits cut by residual than the median module"
    if share > 0:
        kept, cut = modules[worst]
        text = f"module {worst} has {in_percent(cut / (kept + cut), 1)} of its hits cut by residual, {in_percent(share, 1)} more than the median "
        text += f"module (limit {in_percent(rules.module_cut_max)})"
    if share > rules.module_cut_max:
        off = started_off(history, worst)
        text += f"{off}{_KEEP}" if off else ": it is not where its constants say, or has noisy strips"
    kept, cut = (sum(hits[part] for hits in modules.values()) for part in (0, 1))
    of_all = cut / (kept + cut) if kept + cut else 0.0
    limit = rules.detector_cut_max
    total = f"{in_percent(of_all, 1)} of all hits are cut by residual (limit {in_percent(limit)})"
    return [
        Criterion("module_cut", share, rules.module_cut_max, share <= rules.module_cut_max, text),
        Criterion("detector_cut", of_all, limit, of_all <= limit, total),
    ]


def _cut_shares(metrics: "Metrics") -> dict[str, float]:
    """Return the share of hits that the residual cut removes in each free module, less that in the median module.

    Outliers and noise cost every module the same share. A module that loses more is not where its constants say.
    """
    modules = metrics.get("hits", {}).get("modules", {})
    shares = {key: cut / (kept + cut) for key, (kept, cut) in modules.items() if kept + cut > 0}
    usual = sorted(shares.values())[(len(shares) - 1) // 2] if shares else 0.0
    free = metrics.get("free_modules")
    return {key: share - usual for key, share in shares.items() if free is None or key in free}


def started_off(history: Sequence["Metrics"], module: str) -> str:
    """Return how far a module has moved across its strips where it moved most of all; empty below ``FAR_UM``."""
    found = [metrics.get("corrections", {}).get("module.x") for metrics in history]
    moved = sum(one.get("largest") or 0.0 for one in found if one and one.get("where") == module)
    return f", and started about {abs(moved) / 1000:.2f} mm off" if abs(moved) > FAR_UM else ""
