"""Replace HTCondor's condor_credmon_krb on a test pool: ``python -m faser_align.pool.credmon``, run by condor_master.

For each USER.cred that the condor_credd stores it keeps USER.cc, which scripts and jobs use. It renews tickets of
``pool.ticket`` after half of their lifetime, until they are no longer renewable, and copies others. It makes no AFS
token.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import htcondor2

from faser_align.pool import ticket
from faser_align.system import kerberos
from faser_align.system.atomic import write_bytes, write_text

COMPLETE, PID = "CREDMON_COMPLETE", "pid"  # files by which the schedd and the condor_credd recognise a credmon
LOOK_S, ALIVE_S, HUNG_S = 1.0, 60.0, 3600


def main() -> None:
    """Update the credentials until the condor_master ends."""
    folder, master = Path(htcondor2.param["SEC_CREDENTIAL_DIRECTORY_KRB"]), os.getppid()
    signals = {signal.SIGHUP}  # from the condor_credd, when it has stored a credential
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    write_text(folder / PID, str(os.getpid()))
    told = -ALIVE_S
    while os.getppid() == master:
        for stored in folder.glob("*.cred"):
            with contextlib.suppress(OSError):  # removed meanwhile
                keep(stored, int(time.time()))
        if time.monotonic() - told > ALIVE_S:
            write_text(folder / COMPLETE, "")
            htcondor2.send_alive(timeout=HUNG_S)
            htcondor2.set_ready_state()
            told = time.monotonic()
        signal.sigtimedwait(signals, LOOK_S)


def keep(stored: Path, now: int) -> None:
    """Update the credential that scripts and jobs use."""
    used = stored.with_suffix(".cc")
    if not used.exists() or used.stat().st_mtime_ns < stored.stat().st_mtime_ns:
        write_bytes(used, stored.read_bytes(), mode=0o600)
    try:
        held = kerberos.read(str(used))
    except ValueError:
        return
    if held and held.principal.endswith(f"@{ticket.REALM}") and 2 * now >= held.start + held.end:
        following = ticket.renewed(held, now)
        if following:
            ticket.write(str(used), following)


if __name__ == "__main__":
    main()
