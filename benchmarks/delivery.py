"""Measure how long scripts wait for a receiver that never answers: no longer than the alarm.

    python benchmarks/delivery.py [--alarm 20] [--final 30] [--hooks 4] [--servers silent dripping tls dns]

A server on loopback accepts connections and stays silent, answers at one byte per second, or stays silent where TLS
would begin; or name servers (root can run them) never answer. Several HOLD scripts run at once, then FINAL. A second
target works: it must get every message once.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from campaigns import hook, make_campaign
from receivers import listening
from worlds import altered

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox


class Waited(NamedTuple):
    """Results of the scripts.

    Attributes:
        pre_s: wall time of a reconstruction node's PRE meanwhile (s).
        hold_s, final_s: wall times of the HOLD scripts and of FINAL (s).
        statuses: exit statuses of all of them.
        letters: number of mails to the working target, and of different ones.
    """

    pre_s: float
    hold_s: list[float]
    final_s: float
    statuses: list[int]
    letters: tuple[int, int]


# Kind of silent server -> address of the target, with the server's port.
SERVERS = {
    "silent": "mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org",
    "dripping": "mmost://127.0.0.1:{port}/yobjmukpaw3r3urc5h6i369yima",
    "tls": "mailtos://127.0.0.1:{port}?from=a@example.org&to=b@example.org&mode=ssl",
    "dns": "mailto://mail.example.org:{port}?from=a@example.org&to=b@example.org",
}
NAME_SERVERS = ("127.0.0.51", "127.0.0.52", "127.0.0.53")  # glibc uses at most three


def deaf_names(base: Path, stack: ExitStack) -> tuple[str, ...]:
    """Return a command prefix for silent name servers, which run while the stack is open."""
    for address in NAME_SERVERS:
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((address, 53))
    names = base / "resolv.conf"
    names.write_text("search example.com\n" + "".join(f"nameserver {address}\n" for address in NAME_SERVERS))
    return ("unshare", "--mount", "sh", "-c", f'mount --bind "{names}" /etc/resolv.conf && exec "$@"', "sh")


def wait(base: Path, *, alarm_s: float, final_s: float, hooks: int, server: str = "silent") -> Waited:
    """Run scripts of a campaign in ``base`` with one silent target, one working target, and these alarms (s)."""
    program = altered(
        "from faser_align.system.libraries import site_packages\nsite_packages()\n"
        "from faser_align.hooks import delivery\n"
        f"delivery.DELIVERY_S_MAX, delivery.DELIVERY_FINAL_S_MAX = {alarm_s}, {final_s}"
    )
    statuses: list[int] = []

    def timed(*words: object) -> float:
        started = time.perf_counter()
        statuses.append(hook(*words, interpreter=program).returncode)
        return time.perf_counter() - started

    with ExitStack() as stack:
        mailbox = stack.enter_context(Mailbox(base / "mail"))
        port = stack.enter_context(listening(drip=server == "dripping"))
        if server == "dns":
            program = (*deaf_names(base, stack), *program)
        targets = base / "targets.toml"
        address = SERVERS[server].format(port=port)
        targets.write_text(f'[targets]\nquiet = "{address}"\nme = "{mailbox.url("me@example.org")}"\n')
        targets.chmod(0o600)
        notify = {"targets": ["quiet", "me"], "events": ["end", "held"], "file": str(targets)}
        record = make_campaign(base / "campaign", files=hooks + 1, config={"notify": notify})
        nodes = [layout.reco_node(1, 1, file) for file in record["files"]]
        for node in nodes[:-1]:
            hook("pre", record["folder"], node, 0, 2)
        with ThreadPoolExecutor(hooks + 1) as crowd:
            held = [
                crowd.submit(timed, "hold", record["folder"], node, f"{i}.0", 0) for i, node in enumerate(nodes[:-1])
            ]
            time.sleep(1)
            pre_s = timed("pre", record["folder"], nodes[-1], 0, 2)
            hold_s = [future.result() for future in held]
        last_s = timed("final", record["folder"], "final", 4, 0)
        keys = [str(letter["X-Faser-Align-Key"]) for letter in mailbox.messages()]
    return Waited(pre_s, hold_s, last_s, statuses, (len(keys), len(set(keys))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alarm", type=float, default=20.0, help="of HOLD and of a Millepede node's hooks (s)")
    parser.add_argument("--final", type=float, default=30.0, help="of FINAL (s)")
    parser.add_argument("--hooks", type=int, default=4)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=["silent", "dripping", "tls"])
    arguments = parser.parse_args()
    print(f"alarms: {arguments.alarm:.0f} s, FINAL {arguments.final:.0f} s; one target never answers, one works")
    for server in arguments.servers:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as base:
            found = wait(
                Path(base), alarm_s=arguments.alarm, final_s=arguments.final, hooks=arguments.hooks, server=server
            )
        print(f"{server}:")
        print(f"  {arguments.hooks} HOLD hooks at once waited {', '.join(f'{s:.1f}' for s in sorted(found.hold_s))} s")
        print(
            f"  FINAL waited {found.final_s:.1f} s; a PRE meanwhile {found.pre_s:.2f} s; exit statuses {found.statuses}"
        )
        print(f"  the target that works got {found.letters[0]} letters, {found.letters[1]} different ones")


if __name__ == "__main__":
    main()
