"""Write tickets for testing a pool with credentials: ``python -m faser_align.pool.ticket [-l SECONDS] [-r SECONDS]``.

A ticket has the format and times of a real one, but no key that any server would accept.
"""

import argparse
import os
import struct
import sys
import time

from faser_align.system.atomic import write_bytes
from faser_align.system.credential import CACHE
from faser_align.system.kerberos import MAGIC, Ticket

REALM = "STAND.IN"
LIFETIME_S, RENEWABLE_S = 10 * 3600, 5 * 86400


def write(path: str, ticket: Ticket) -> None:
    """Write a credential cache with one ticket-granting ticket."""
    name, _, realm = ticket.principal.rpartition("@")
    client = _principal([name], realm)
    times = struct.pack(">4I", ticket.start, ticket.start, ticket.end, ticket.renew_until)
    rest = struct.pack(">BI", 0, 0) + struct.pack(">II", 0, 0) + _counted(b"no ticket") + _counted(b"")
    credential = client + _principal(["krbtgt", realm], realm) + struct.pack(">H", 0) + _counted(b"") + times + rest
    write_bytes(path, MAGIC + struct.pack(">H", 0) + client + credential, mode=0o600)


def _principal(components: list[str], realm: str) -> bytes:
    texts = b"".join(_counted(text.encode()) for text in (realm, *components))
    return struct.pack(">II", 1, len(components)) + texts


def _counted(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def renewed(ticket: Ticket, now: int) -> Ticket | None:
    """Return the ticket that a server would return for ``ticket``: the same lifetime, within its renewable life."""
    if now >= ticket.end or ticket.renew_until <= ticket.end:
        return None
    return ticket._replace(start=now, end=min(now + ticket.end - ticket.start, ticket.renew_until))


def main() -> None:
    """Write a new ticket to the path in $KRB5CCNAME."""
    parser = argparse.ArgumentParser(prog="kinit", description="Write a ticket that no Kerberos server knows.")
    parser.add_argument("-l", type=int, default=LIFETIME_S, metavar="SECONDS", help="lifetime")
    parser.add_argument("-r", type=int, default=RENEWABLE_S, metavar="SECONDS", help="renewable lifetime")
    asked = parser.parse_args()
    path = os.environ.get(CACHE, "").removeprefix("FILE:")
    if not path:
        sys.exit(f"kinit: {CACHE} is not set; set it to FILE:PATH, the file to write")
    now = int(time.time())
    write(path, Ticket(f"{os.environ.get('USER') or os.getuid()}@{REALM}", now, now + asked.l, now + asked.r))


if __name__ == "__main__":
    main()
