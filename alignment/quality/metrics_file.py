"""Parse ``metrics.json``, which a full disk may have truncated or somebody may have edited. Pure.

All readers of metrics rely on these checks: existing values have the right type, and numbers are finite or None.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

NUMBER, WORDS = (int, float, None), (str, None)
_FINITE = (int, float)


class Whole(dict[str, Any]):
    """Shape of a mapping whose keys are all required."""


_MOMENTUM = {"common": NUMBER, "momentum_change_plus": NUMBER, "momentum_change_minus": NUMBER}
_RESIDUALS = {"*": {"median_um": NUMBER, "width_um": NUMBER}}
_SIDES = {"*": Whole(hits=int, mean_um=float, rms_um=float)}
_CONSTANTS_READ = {"tracks": NUMBER, "chi2_per_ndf": NUMBER, "residuals": _RESIDUALS}
_DIFFERENCE = Whole(kind=str, module=str, file=str, deviation_um=NUMBER, sigma=NUMBER, together=bool)
_PART = Whole(rms_um=NUMBER, directions=int)
_PARTS = {"significant": _PART, "weak": _PART, "modes": [Whole(name=str, moved_um=NUMBER)]}
_SURVEYED = Whole(name=str, overlap=NUMBER, weak=bool, error_sigma=NUMBER, drift_sigma=float, drift_um=float, where=str)
_GAINS = {"*": Whole(parameters=NUMBER, expected_decrease=NUMBER, significance=NUMBER)}
_LINE = Whole(name=str, title=str, grade=str, text=str, short=str, criterion=str, source=str, figure=str)
_QUALITY = Whole(grade=str, sentence=str, lines=[_LINE])

# A tuple lists the allowed types, a list with one entry may have any length; other keys are not checked.
SHAPE: dict[str, Any] = {
    "files": {
        "expected": NUMBER,
        "used": NUMBER,
        "lost": [int],
        "agreement": {"worst": _DIFFERENCE},
        "duplicates": {"share": NUMBER, "pairs": [[str, str, float]]},
    },
    "tracks": {"read": NUMBER, "used": NUMBER, "cut": {"*": NUMBER}},
    "hits": {
        "read": NUMBER,
        "kept": NUMBER,
        "cut": {"*": NUMBER},
        "modules": {"*": [int, int]},
        "outliers": NUMBER,
        "of_cut_tracks": {"*": int},
    },
    "residual_max_mm": NUMBER,
    "chi2_per_ndf": NUMBER,
    "residuals": _RESIDUALS,
    "sides": _SIDES,
    "momentum": {"since_before": _MOMENTUM, "since_first": _MOMENTUM},
    "magnets": {"*": Whole(deviation=_FINITE, error=_FINITE, chi2=_FINITE)},
    "solver": {"backend": WORDS, "end_code": NUMBER, "end_text": WORDS, "rejects": ({"*": NUMBER}, None)},
    "steps": [{"name": WORDS, "free_parameters": NUMBER, "frozen": [str], "parts": _PARTS}],
    "delta_chi2_per_parameter": NUMBER,
    "residual_shift_um": NUMBER,
    "significance": NUMBER,
    "effect_um": NUMBER,
    "relative": NUMBER,
    "determined": {"sigma": NUMBER, "effect_um": NUMBER, "repetition": NUMBER},
    "corrections": {"*": Whole(rms=NUMBER, largest=NUMBER, where=WORDS, unit=str)},
    "module_pulls": {"*": NUMBER},
    "error_scale": {"factor": NUMBER, "scatter": NUMBER, "response": NUMBER},
    "constant_errors": {"*": [NUMBER] * 6},
    "held_fixed": _GAINS,
    "freed_earlier": _GAINS,
    "weak_modes": {"directions": int, "weak": int, "drift_sigma": float, "drift_um": float, "modes": [_SURVEYED]},
    "truth": {"sigma": NUMBER, "dofs": {"*": Whole(rms=NUMBER, unit=str)}},
    "quality": _QUALITY,
    "reconstruction": {"cpu_s": NUMBER},
    "cpu_s": NUMBER,
    "constants": {"start_sha256": WORDS, "result_sha256": WORDS},
    "versions": {"*": str},
    "notes": [str],
    "groups": {"*": Whole(before=_CONSTANTS_READ, after=_CONSTANTS_READ)},
}


def parse_metrics(text: str, source: str) -> "Metrics":
    """Return the metrics in ``text``; ``source`` names the file in errors.

    Raises ValueError if it is not JSON, or not the shape of metrics.
    """
    try:
        value = finite(json.loads(text))
    except RecursionError:
        raise ValueError(f"{source} is not the metrics of an iteration") from None
    except ValueError as problem:
        raise ValueError(f"{source} is not valid JSON ({problem})") from None
    wrong = fault(value)
    if wrong:
        raise ValueError(f"{source} is malformed: {wrong}")
    metrics: Metrics = value
    return metrics


def finite(value: Any) -> Any:
    """Return ``value`` with None for NaN and infinities, which JSON does not support."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fault(value: object, shape: Any = SHAPE, where: str = "") -> str:
    """Return where ``value`` differs from ``shape``, as a sentence; empty if it matches."""
    odd = f"{where or 'it'} is {value!r:.60}"
    if isinstance(shape, tuple):
        return "" if any(not fault(value, alternative) for alternative in shape) else odd
    if isinstance(shape, list):
        if not isinstance(value, list) or len(shape) not in (1, len(value)):
            return odd
        parts = [(str(at), inner, shape[at % len(shape)]) for at, inner in enumerate(value)]
    elif isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return odd
        missing = [key for key in shape if key not in value] if isinstance(shape, Whole) else []
        if missing:
            return f"{where or 'it'} lacks {missing[0]}"
        known = [(key, shape.get(key, shape.get("*"))) for key in value]
        parts = [(key, value[key], kind) for key, kind in known if kind is not None]
    else:
        return "" if value is shape or (shape is not None and type(value) is shape) else odd
    return next(filter(None, (fault(inner, kind, f"{where}.{key}".strip(".")) for key, inner, kind in parts)), "")
