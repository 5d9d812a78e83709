"""Add the virtual environment's libraries in hooks, which start without them and rarely need them."""

import sys


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
