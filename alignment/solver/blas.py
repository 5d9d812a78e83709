"""One thread for numpy's matrix products.

OpenBLAS, which numpy's packages bring along, takes all cores for products of a hundred rows. They are too small for
that: its threads wait for each other in loops, and on a machine that has other work a solution takes five times as
long. The solver has threads of its own, if it is asked for them.
"""

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "_64", "")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give products one thread while the block runs; without effect if numpy was built with another library."""
    functions = _functions()
    if functions is None:
        yield
        return
    get, put = functions
    before = int(get())
    put(1)
    try:
        yield
    finally:
        put(before)


@cache
def _functions() -> tuple[Callable[[], Any], Callable[[int], Any]] | None:
    """OpenBLAS's functions that tell and set its number of threads; looked up where numpy calls it."""
    try:
        library = ctypes.CDLL(str(importlib.import_module("numpy.linalg._umath_linalg").__file__))
    except (ImportError, OSError):
        return None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                return get, put
    return None
