"""Try what scripts need where they run: ``python -I -S probe.py FOLDER`` as the PRE script of an empty node.

The folder contains ``request.json``; the answer, one entry for each attempt, becomes ``answer.json`` there. Nothing is sent.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable

REQUEST, ANSWER = "request.json", "answer.json"


def main(folder: str) -> int:
    """Try everything and write the answer; return the exit status 0."""
    from faser_align.system import credential, kerberos
    from faser_align.system.atomic import write_text
    from faser_align.system.attempt import attempt
    from faser_align.system.libraries import site_packages
    from faser_align.system.site_tools import ticket

    with open(f"{folder}/{REQUEST}", encoding="utf-8") as file:
        request = json.load(file)
    looks: list[tuple[str, Callable[[], str]]] = [
        ("interpreter", _interpreter),
        ("libraries", lambda: _libraries(site_packages)),
        ("campaign folder", lambda: _folder(folder)),
        ("Kerberos", lambda: ticket("klist")),
        ("AFS token", lambda: ticket("tokens")),
    ]
    if request["credential"]:
        credential.adopt()
        looks.append(("credential", lambda: kerberos.stored(time.time())))
    looks += [(f"target {name}", _target(name, request["targets_file"])) for name in request["targets"]]
    write_text(f"{folder}/{ANSWER}", json.dumps([attempt(name, look) for name, look in looks]))
    return 0


def _interpreter() -> str:
    from faser_align.hooks import entry

    return f"{sys.executable} {platform.python_version()} loads {entry.__name__} on {os.uname().nodename}"


def _libraries(site_packages: Callable[[], None]) -> str:
    site_packages()
    import apprise
    import transitions

    return f"apprise {apprise.__version__}, transitions {transitions.__version__}"


def _folder(folder: str) -> str:
    from faser_align.system.folder_probe import try_folder

    return f"{try_folder(folder)} in {os.path.dirname(folder)}"


def _target(name: str, path: str) -> Callable[[], str]:
    def look() -> str:
        from faser_align.notifiers.reach import reach, server_of
        from faser_align.notifiers.targets import load_targets
        from faser_align.system.site_tools import AbsentError

        server = server_of(load_targets(path)[name])
        if server is None:
            raise AbsentError("its address does not name a server; send something with `faser-align notify test`")
        return reach(server)

    return look


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from faser_align.hooks.entry import decode

    sys.exit(main(decode(sys.argv[1])))
