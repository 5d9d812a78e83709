"""Limit numpy's matrix products to one thread.

OpenBLAS, which numpy's packages include, uses all cores for products of a hundred rows. They are too small for that:
its threads busy-wait for each other, and on a busy machine a solution takes five times as long. The solver starts its
own threads on request.
"""

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Use one thread for matrix products within the block; no effect if numpy was built with another library."""
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
    """Return OpenBLAS's functions that get and set its number of threads, from the library that numpy uses."""
    try:
        library = ctypes.CDLL(str(importlib.import_module("numpy.linalg._umath_linalg").__file__))
    except (ImportError, OSError):
        return None
    for prefix, suffix in product(("scipy_openblas", "openblas"), ("64_", "_64", "")):
        get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
        put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
        if get is not None and put is not None:
            return get, put
    return None
