"""Load as few libraries as possible: scripts start without any, and some libraries load others only because they exist."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def site_packages() -> None:
    """Make installed libraries importable in an interpreter that was started with ``-S``.

    ``site.main`` finds the virtual environment by the interpreter's own path, as at an ordinary start. With ``-I`` it
    adds neither the user's own site nor anything from the environment. Without ``-S``, and the second time, this does
    nothing.
    """
    if "site" in sys.modules:
        return
    import site

    site.main()


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Make libraries that are imported meanwhile find none of these, which they would load if they are installed.

    Libraries that are loaded already stay.
    """
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
