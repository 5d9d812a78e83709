"""Kerberos credentials on a personal pool, as on pools such as CERN's: a real condor_credd, and stand-ins for the rest.

| part | on this pool |
|---|---|
| ticket | ``FOLDER/kinit`` writes one that no Kerberos server knows, into $KRB5CCNAME |
| producer | ``FOLDER/producer`` prints the file that $KRB5CCNAME names; it fails if there is none |
| condor_credd | HTCondor's own |
| credmon | ``faser_align.pool.credmon`` copies and renews; it makes no AFS token |
| the starter's copy in a job's sandbox | ``FOLDER/shadow`` gives jobs the path of the stored credential instead |

The last is needed because a starter without root's rights aborts when a job has SendCredential (seen in HTCondor 23.9:
``JICShadow::initUserCredentials`` asks for a login name that it was never given; 25.14 falls back to that of a terminal). The shadow is HTCondor's own: the script
changes only the copy of the job's ad that the starter gets, so that the queue still has what was submitted.
"""

import os
import pwd
import shlex
import sys
from pathlib import Path

from faser_align.system.atomic import write_text

FOLDER, PRODUCER, KINIT, CREDMON, SHADOW = "credentials", "producer", "kinit", "credmon", "shadow"
CALLS = "producer.log"
_PRODUCER = """\
#!/bin/sh
# Prints the caller's credential cache: a stand-in for a site's SEC_CREDENTIAL_PRODUCER.
echo "$(date -u +%FT%TZ) KRB5CCNAME=$KRB5CCNAME" >>{calls}
[ -n "$KRB5CCNAME" ] || {{ echo "producer: KRB5CCNAME is not set" >&2; exit 1; }}
exec cat -- "${{KRB5CCNAME#FILE:}}"
"""
_KINIT = """\
#!/bin/sh
# Writes a ticket that no Kerberos server knows into $KRB5CCNAME: kinit [-l SECONDS] [-r SECONDS]
exec {python} -I -m faser_align.pool.ticket "$@"
"""
_CREDMON = """\
#!/bin/sh
exec {python} -I -m faser_align.pool.credmon
"""
_SHADOW = """\
#!/bin/sh
# Starts HTCondor's shadow with a job's ad in which the credential has already arrived: see faser_align.pool.credentials.
ad=$(sed -e '/^\\*\\*\\*$/q')
if printf '%s\\n' "$ad" | grep -qi '^SendCredential *= *true'; then
    printf '%s\\n' "$ad" | grep -q '^Environment *= *"' || ad=$(printf 'Environment = ""\\n%s' "$ad")
    ad=$(printf '%s\\n' "$ad" | sed -e 's/^SendCredential *=.*/SendCredential = false/I' -e {environment})
fi
exec {shadow} "$@" <<EOF
$ad
EOF
"""


def settings(folder: Path) -> dict[str, str]:
    """Return HTCondor's settings to add to those of every personal pool."""
    return {
        "DAEMON_LIST": "MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD CREDD CREDMON_KRB",
        "CREDMON_KRB": str(folder / CREDMON),
        "CREDD_ARGS": "-f",  # only one pool per machine could use the default port, 9620
        "SEC_CREDENTIAL_DIRECTORY_KRB": str(folder / FOLDER),
        "SEC_CREDENTIAL_PRODUCER": str(folder / PRODUCER),
        # With HTCondor's default, -1, the credd keeps its existing credential whatever is submitted.
        "SEC_CREDENTIAL_REFRESH_INTERVAL": "0",
        "SHADOW": str(folder / SHADOW),
    }


def prepare(folder: Path, shadow: str) -> None:
    """Make the folder of the credentials and the scripts; ``shadow`` is the path of HTCondor's own shadow."""
    store = folder / FOLDER
    store.mkdir(mode=0o700, exist_ok=True)
    stored = store / f"{pwd.getpwuid(os.getuid()).pw_name}.cc"
    variable = f"KRB5CCNAME='FILE:{stored}'"  # in the quoting of HTCondor's Environment
    change = f's|^\\(Environment *= *".*\\)"$|\\1 {variable}"|'
    texts = {
        PRODUCER: _PRODUCER.format(calls=shlex.quote(str(folder / CALLS))),
        KINIT: _KINIT.format(python=shlex.quote(sys.executable)),
        CREDMON: _CREDMON.format(python=shlex.quote(sys.executable)),
        SHADOW: _SHADOW.format(environment=shlex.quote(change), shadow=shlex.quote(shadow)),
    }
    for name, text in texts.items():
        write_text(folder / name, text, mode=0o755)
