"""Import SQLite's module of C without ``functools``. Startup-critical: standard library only.

``_sqlite3`` takes ``lru_cache`` from there, for the prepared statements of a connection, and nothing else.
``functools`` and its own imports would take a tenth of a script's time (``benchmarks/hook.py``).
"""

import sys

NEWEST = (3, 14)  # the newest Python whose ``_sqlite3`` was seen to call ``lru_cache(maxsize)(connection)``


def load() -> None:
    """Import ``_sqlite3``; code that needs ``functools`` afterwards imports it as usual."""
    if "functools" in sys.modules or sys.version_info[:2] > NEWEST:
        return
    from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]

    class Stub:
        @staticmethod
        def lru_cache(maxsize):  # type: ignore[no-untyped-def]
            return lambda connection: _lru_cache_wrapper(connection, maxsize, False, tuple)

    sys.modules["functools"] = Stub  # type: ignore[assignment]
    try:
        import _sqlite3  # noqa: F401
    finally:
        del sys.modules["functools"]
