"""Kerberos credentials that DAGMan and the jobs need on pools such as CERN's.

`condor_submit` and `condor_submit_dag` store the caller's credential in the credd before they submit; the Python bindings do so only when asked.
"""

import os
import pwd

import htcondor2

from faser_align.fsm.errors import CampaignError, UserError

PRODUCER, FOLDER = "SEC_CREDENTIAL_PRODUCER", "SEC_CREDENTIAL_DIRECTORY_KRB"
ENDING = ".cc"  # of the credential that the credmon keeps fresh for a user


def issue(description: htcondor2.Submit) -> None:
    """Store the caller's credential in the credd and mark the job, where the pool's configuration asks for it.

    HTCondor adds ``SendCredential`` to the job. DAGMan hands it on to its node jobs only if its own job has it.

    Raises:
        UserError: the caller has no ticket, or must log in on a web page first.
        CampaignError: the credential cannot be produced or stored for another reason.
    """
    if not wanted():
        return
    producer = str(htcondor2.param[PRODUCER])
    try:
        url = description.issue_credentials()
    except htcondor2.HTCondorException as error:
        raise _refusal(producer, (str(error).strip().splitlines() or ["no reason given"])[0]) from error
    if url:
        raise UserError(
            f"HTCondor needs a credential that you grant in a browser: visit {url}, then repeat the command"
        )


def wanted() -> bool:
    """Whether the pool's configuration asks for credentials."""
    return bool(htcondor2.param.get(PRODUCER))


def _refusal(producer: str, reason: str) -> CampaignError:
    """The error to raise for HTCondor's ``reason`` not to issue a credential."""
    if reason.startswith("Failed to read any data"):
        return UserError(
            f"{producer} produced no Kerberos credential: get a ticket with `kinit`, then repeat the command"
        )
    if reason.startswith("Failed to launch"):
        return CampaignError(
            f"the pool's credential producer cannot be run ({reason}): correct {PRODUCER} in HTCondor's configuration, or ask its "
            "administrators"
        )
    return CampaignError(
        f"HTCondor could not store your credential ({reason}): repeat the command in a few minutes; if that fails, too, ask the "
        "administrators of the pool"
    )


def path() -> str:
    """Path of the caller's credential on the access point, empty where the pool stores none."""
    folder = htcondor2.param.get(FOLDER) if wanted() else None
    return os.path.join(folder, pwd.getpwuid(os.getuid()).pw_name + ENDING) if folder else ""
