"""Which examples tests of properties see: the same ones in each `make test`, ten times as many new ones in `make soak`."""

import os

from hypothesis import HealthCheck, settings

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
    if not SOAK:
        draw_no_constants()


def draw_no_constants() -> bool:
    """Keep what stands in modules out of the examples; whether this hypothesis is one that can be kept from it.

    It draws numbers and words also from the modules imported so far. Which these are depends on the tests that ran before, and
    no setting says otherwise.
    """
    try:
        from hypothesis.internal.conjecture import providers
    except ImportError:
        return False
    if not {"_get_local_constants", "_local_constants"} <= vars(providers).keys():
        return False
    providers._get_local_constants = lambda: providers._local_constants
    return True
