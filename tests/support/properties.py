"""Which examples tests of properties see: the same ones in each `make test`, ten times as many new ones in `make soak`."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))


def examples(number: int) -> int:
    """How many examples a property sees that is to see ``number`` in `make test`."""
    return 10 * number if SOAK else number


def load_profile() -> None:
    """Let properties see the same examples each time, so that a run that fails accuses what was changed.

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
    # Hypothesis also draws numbers and words that stand in the modules imported so far. Which these are depends on the tests
    # that ran before, and these on the other workers: no setting keeps hypothesis from it.
    if not SOAK and hasattr(providers, "_local_constants"):
        providers._get_local_constants = lambda: providers._local_constants
