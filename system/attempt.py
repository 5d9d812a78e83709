"""Try one thing and describe the outcome, as an entry of an answer that another machine writes (standard library only)."""

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
