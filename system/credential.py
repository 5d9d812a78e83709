"""Where the credential that HTCondor keeps for a campaign is, for what its scripts start. Startup-critical: only os."""

import os

VARIABLE = "FASER_ALIGN_CREDENTIAL"  # in DAGMan's environment: path of the credential on the access point
CACHE = "KRB5CCNAME"  # where Kerberos' programs look for it


def adopt() -> None:
    """Set KRB5CCNAME to the credential that HTCondor keeps, for what this script starts; one that is set already stays."""
    path = os.environ.get(VARIABLE, "")
    if path and CACHE not in os.environ and os.access(path, os.R_OK):
        os.environ[CACHE] = f"FILE:{path}"
