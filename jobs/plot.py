"""Draw a campaign's convergence for its messages, in the Millepede job, if matplotlib is installed."""

import os
from collections.abc import Mapping, Sequence

from faser_align.fsm.metrics import Metrics
from faser_align.pages.figures import convergence, style
from faser_align.system.atomic import replacing


def plot(path: str, history: Sequence[Metrics], limits: Mapping[str, float], label: str = style.LABEL) -> str:
    """Draw the convergence of a campaign into the PNG file ``path``.

    Args:
        path: the picture, written atomically.
        history: metrics of its iterations, oldest first.
        limits: limits of the convergence criteria, named as in ``fsm.rules.limits_of``.
        label: the experiment's label.

    Returns:
        Why there is no picture, or an empty string. Never raises, because no result depends on the picture.
    """
    if why := style.missing():
        return why
    try:
        found = convergence.of(history, limits)
        if found is None:
            return "no iteration has numbers to draw"
        content = style.written(found.figure(label), "png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except Exception as problem:  # noqa: BLE001 -- as the docstring says
        return f"the plot could not be drawn: {type(problem).__name__}: {problem}"
    return ""
