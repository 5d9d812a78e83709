"""What hooks need, tried where they run: ``python -I -S probe.py FOLDER`` as the PRE script of an empty node.

The folder holds ``request.json``; the answer, one entry for each thing that was tried, becomes ``answer.json`` there.
Nothing is sent to anybody.
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

Entry = dict[str, str]
REQUEST, ANSWER = "request.json", "answer.json"


def main(folder: str) -> int:
    """Try everything and write the answer; returns the exit status, 0 whatever was found."""
    from faser_align.config.atomic import write_text
    from faser_align.config.libraries import site_packages

    with open(f"{folder}/{REQUEST}", encoding="utf-8") as file:
        request = json.load(file)
    looks: list[tuple[str, Callable[[], str]]] = [
        ("interpreter", _interpreter),
        ("libraries", lambda: _libraries(site_packages)),
        ("campaign folder", lambda: _folder(folder)),
        ("Kerberos", lambda: _ticket("klist")),
        ("AFS token", lambda: _ticket("tokens")),
    ]
    looks += [(f"target {name}", _target(name, request["targets_file"])) for name in request["targets"]]
    write_text(f"{folder}/{ANSWER}", json.dumps([_look(name, look) for name, look in looks]))
    return 0


def _look(name: str, look: Callable[[], str]) -> Entry:
    from faser_align.config.outside import AbsentError

    try:
        return {"name": name, "result": "ok", "text": look()}
    except AbsentError as absent:
        return {"name": name, "result": "skipped", "text": str(absent) or "not on that machine"}
    except Exception as problem:  # noqa: BLE001 -- whatever it is, somebody waits for the answer
        return {"name": name, "result": "failed", "text": str(problem) or type(problem).__name__}


def _interpreter() -> str:
    from faser_align.hooks import node

    return f"{sys.executable} {platform.python_version()} loads {node.__name__} on {os.uname().nodename}"


def _libraries(site_packages: Callable[[], None]) -> str:
    site_packages()
    import apprise
    import transitions

    return f"apprise {apprise.__version__}, transitions {transitions.__version__}"


def _folder(folder: str) -> str:
    from faser_align.state.trial import try_folder

    return f"{try_folder(folder)} in {os.path.dirname(folder)}"


def _ticket(tool: str) -> str:
    """For how long the ticket or token is good; one that has ended is no ticket."""
    from faser_align.config import outside

    text = outside.run(tool)
    parse: Any = outside.parse_klist if tool == "klist" else outside.parse_tokens
    left_s = parse(text, outside.local_now())
    if left_s is None or left_s <= 0:
        raise RuntimeError(f"`{tool}` shows no valid one there")
    return f"good for {left_s / 3600:.1f} h"


def _target(name: str, path: str) -> Callable[[], str]:
    def look() -> str:
        from faser_align.config.outside import AbsentError
        from faser_align.notifiers.reach import reach, server_of
        from faser_align.notifiers.targets import load_targets

        server = server_of(load_targets(path)[name])
        if server is None:
            raise AbsentError("its address does not name a server; send something with `faser-align notify test`")
        return reach(server)

    return look


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    sys.exit(main(sys.argv[1].replace("%20", " ").replace("%25", "%")))
