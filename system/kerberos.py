"""Read the Kerberos credential that HTCondor keeps for a campaign's scripts (standard library only).

HTCondor's credmon stores it as a file in MIT's format 4 (MIT Kerberos, "Credential cache file format"). Reading it here
saves a script from starting ``klist``, and gives the end of the ticket.
"""

import io
import os
import struct
from datetime import UTC, datetime
from typing import NamedTuple

from faser_align.fsm.errors import CampaignError
from faser_align.system.credential import CACHE, VARIABLE

# How the schedd tells DAGMan that a credential was stored when its job was submitted.
MARK, MARKED = "_condor_SEC_CREDENTIAL_PRODUCER", "CREDENTIAL_ALREADY_STORED"
MAGIC = b"\x05\x04"


class Ticket(NamedTuple):
    """A ticket-granting ticket: principal and times (Unix time, s); ``renew_until`` is 0 if it is not renewable."""

    principal: str
    start: int
    end: int
    renew_until: int


def expired(now: float) -> str:
    """Return a sentence if this script's credential has expired; empty if it is valid, absent or unreadable."""
    if VARIABLE not in os.environ:
        return ""
    try:
        ticket = read(os.environ.get(CACHE, "").removeprefix("FILE:"))
    except (OSError, ValueError):
        return ""
    if ticket is None or now < ticket.end:
        return ""
    ended = datetime.fromtimestamp(ticket.end, UTC)
    return f"the credential that HTCondor stores for the campaign expired at {ended:%Y-%m-%d %H:%M} UTC"


def stored(now: float) -> str:
    """Describe the stored credential as seen by a script on the access point; raise CampaignError if DAGMan has none."""
    if os.environ.get(MARK) != MARKED:
        raise CampaignError(
            "HTCondor gave DAGMan no credential, so it cannot submit jobs: SendCredential of its job is not true"
        )
    path = os.environ.get(VARIABLE, "")
    if not os.access(path, os.R_OK):
        return f"stored by HTCondor; {path or 'its path'} cannot be read here"
    return _validity(path, now)


def received(now: float) -> str:
    """Return how long this job's credential is valid; raise CampaignError if it is missing or has expired."""
    if not os.environ.get(CACHE):
        raise CampaignError(f"HTCondor gave the job no credential: {CACHE} is not set")
    return _validity(os.environ[CACHE].removeprefix("FILE:"), now)


def _validity(path: str, now: float) -> str:
    try:
        ticket = read(path)
    except OSError as error:
        raise CampaignError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as problem:
        return f"{problem}; its expiry time is unknown"
    if ticket is None or ticket.end <= now:
        raise CampaignError(f"{path} has no valid ticket; run `kinit`, then repeat the command")
    renewable = f", renewable for {(ticket.renew_until - now) / 3600:.1f} h" if ticket.renew_until > ticket.end else ""
    return f"valid for {(ticket.end - now) / 3600:.1f} h{renewable}"


def read(path: str) -> Ticket | None:
    """Return the ticket-granting ticket of a credential cache with the latest end; None if there is none.

    Raises OSError if the file cannot be read, ValueError if it is not a cache of format 4.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] != MAGIC:
        raise ValueError(f"{path} is not a credential cache of MIT's format 4")
    cache = _Cache(data)
    try:
        cache.seek(len(MAGIC))
        cache.skip(cache.number("H"))  # header
        principal = cache.principal()
        tickets = []
        while cache.tell() < len(data):
            server, times = cache.credential()
            if server.startswith("krbtgt/"):
                tickets.append(Ticket(principal, times[1] or times[0], times[2], times[3]))
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a complete credential cache: {error}") from None
    return max(tickets, key=lambda ticket: ticket.end, default=None)


class _Cache(io.BytesIO):
    """Reads a cache's numbers (big-endian) and counted strings in sequence."""

    def number(self, kind: str) -> int:
        return int(struct.unpack(f">{kind}", self.read(struct.calcsize(f">{kind}")))[0])

    def skip(self, size: int) -> None:
        self.seek(size, io.SEEK_CUR)

    def text(self) -> str:
        size = self.number("I")
        found = self.read(size)
        if len(found) < size:
            raise struct.error("it ends within a string")
        return found.decode()

    def principal(self) -> str:
        self.number("I")  # type of the name
        count, realm = self.number("I"), self.text()
        return "/".join(self.text() for _ in range(count)) + f"@{realm}"

    def credential(self) -> tuple[str, list[int]]:
        """Return the server and the times: authentication, start, end, renewable until."""
        self.principal()
        server = self.principal()
        self.number("H")  # type of the key
        self.skip(self.number("I"))
        times = [self.number("I") for _ in range(4)]
        self.skip(1 + 4)  # whether it is a session key; flags
        for _ in range(2):  # addresses, authorisation data
            for _ in range(self.number("I")):
                self.number("H")
                self.skip(self.number("I"))
        for _ in range(2):  # ticket, second ticket
            self.skip(self.number("I"))
        return server, times
