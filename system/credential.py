"""Locate the credential that HTCondor keeps for a campaign's scripts. Startup-critical: only os."""

import os

VARIABLE = "FASER_ALIGN_CREDENTIAL"  # in DAGMan's environment: path of the credential on the access point
CACHE = "KRB5CCNAME"  # where Kerberos programs look for it


def adopt() -> None:
    """Set KRB5CCNAME to the credential that HTCondor keeps, for this script's child processes, unless it is set."""
    path = os.environ.get(VARIABLE, "")
    if path and CACHE not in os.environ and os.access(path, os.R_OK):
        os.environ[CACHE] = f"FILE:{path}"
