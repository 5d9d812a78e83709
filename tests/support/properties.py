"""Choose the examples of property tests: fixed in `make test`, half in `make check`, twenty times as many in `make soak`.

Those of `make soak` are random.
"""

import os

from hypothesis import HealthCheck, settings

SOAK = bool(os.environ.get("FASER_ALIGN_SOAK"))
QUICK = bool(os.environ.get("FASER_ALIGN_QUICK"))


def examples(number: int) -> int:
    """Return how many examples a property test draws, if ``number`` in `make test`."""
    return 20 * number if SOAK else number // 2 if QUICK else number


def load_profile() -> None:
    """Make examples deterministic, so that a failure is due to a change of the code.

    The duration of an example depends on the machine as much as on the test.
    """
    settings.register_profile(
        "any machine",
        deadline=None,
        derandomize=not SOAK,
        max_examples=examples(50),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("any machine")
