"""Find the statistical errors of constants: those of the iteration that made them, by the checksum of the file."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from faser_align.alignment.parameters.constants import ZERO
from faser_align.alignment.quality.metrics_file import parse_metrics
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm.errors import CampaignError

# um, urad; 0: fixed, None: undetermined
Errors = Mapping[str, Sequence[float | None]]


def errors_of(path: Path) -> Errors:
    """Return the errors of the constants in a file of a campaign; empty if they are unknown.

    Constants that somebody changed have none, nor have files outside a campaign's folder.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return {}
    for metrics_file in _metrics_files(path):
        try:
            metrics = parse_metrics(metrics_file.read_text(encoding="utf-8"), str(metrics_file))
        except (OSError, ValueError):
            continue
        if metrics.get("constants", {}).get("result_sha256") == digest:
            return metrics.get("constant_errors", {})
    return {}


def errors_of_difference(before: Path, after: Path) -> Errors:
    """Return the errors of the difference of two sets of constants.

    Constants of one campaign follow from the same tracks: a difference has the error of the second set. Otherwise errors are
    added in quadrature, which overestimates them where tracks are in common.
    """
    first, second = errors_of(before), errors_of(after)
    folder = _campaign(after)
    if folder is not None and folder == _campaign(before):
        return second or first
    pairs = {key: zip(first.get(key, ZERO), second.get(key, ZERO), strict=True) for key in {**first, **second}}
    return {key: [None if a is None or b is None else math.hypot(a, b) for a, b in of] for key, of in pairs.items()}


def _metrics_files(path: Path) -> Iterator[Path]:
    """Yield the metrics beside the file, then those of all iterations of the campaign that it is in, latest first."""
    yield path.with_name(layout.METRICS)
    folder = _campaign(path)
    if folder is None:
        return
    try:
        iterations = layout.iterations(read_record(str(folder)))
    except CampaignError:
        return
    for stage, iteration in reversed(iterations):
        yield Path(layout.metrics_file(str(folder), stage, iteration))


def _campaign(path: Path) -> Path | None:
    """Return the folder of the campaign that a file is in."""
    return next((parent for parent in path.resolve().parents if (parent / layout.RECORD).is_file()), None)
