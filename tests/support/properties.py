"""Which examples tests of properties see: drawn by the test itself in `make test`, ten times as many by chance in `make soak`."""

import os

from hypothesis import HealthCheck, settings

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))


def examples(number: int) -> int:
    """How many examples a property sees that is to see ``number`` in `make test`."""
    return 10 * number if SOAK else number


def load_profile() -> None:
    """Let no chance choose the examples, so that a run that fails accuses what was changed.

    How long an example takes says as much about the machine as about the test.
    """
    settings.register_profile(
        "any machine",
        deadline=None,
        derandomize=not SOAK,
        max_examples=examples(100),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("any machine")
