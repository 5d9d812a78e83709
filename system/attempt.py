"""Try things, wait for them, and describe failures in one line (standard library only)."""

import time
from collections.abc import Callable

from faser_align.system.site_tools import AbsentError

Entry = dict[str, str]


def attempt(name: str, look: Callable[[], str]) -> Entry:
    """Call ``look`` and return the entry ``name`` with its result: ``ok``, ``warning``, ``failed`` or ``skipped``."""
    try:
        return {"name": name, "result": "ok", "text": look()}
    except AbsentError as absent:
        return {"name": name, "result": "skipped", "text": str(absent) or "not on that machine"}
    except UserWarning as warning:
        return {"name": name, "result": "warning", "text": str(warning)}
    except Exception as problem:  # noqa: BLE001 -- the waiting machine must get an answer whatever happens here
        return {"name": name, "result": "failed", "text": str(problem) or type(problem).__name__}


def wait_until(condition: Callable[[], object], wait_s: float, poll_s: float) -> bool:
    """Wait until ``condition()`` is true, for at most ``wait_s``; return whether it is."""
    end = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(poll_s)
    return True


def first_line(error: Exception) -> str:
    """Return the first line of an error's text without its full stop."""
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
