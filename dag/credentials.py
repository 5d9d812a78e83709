"""Store Kerberos credentials for DAGMan and the jobs on pools such as CERN's.

`condor_submit` and `condor_submit_dag` store the caller's credential in the credd before they submit; the Python
bindings do so only on request.
"""

import json
import os
import pwd
import subprocess
import sys

import htcondor2

from faser_align.fsm.errors import CampaignError, UserError

PRODUCER, FOLDER = "SEC_CREDENTIAL_PRODUCER", "SEC_CREDENTIAL_DIRECTORY_KRB"
MARK = "MY.SendCredential"  # in a submit description
ISSUE_S_MAX = 60.0  # the condor_credd itself waits 20 s for its credmon
ENDING = ".cc"  # suffix of the credential that the credmon renews for a user


def issue(description: htcondor2.Submit) -> None:
    """Store the caller's credential in the credd and mark the job, if the pool's configuration requires it.

    HTCondor adds ``SendCredential`` to the job. DAGMan passes it to its node jobs only if its own job has it.

    Raises:
        UserError: the caller has no ticket, or must log in on a web page first.
        CampaignError: the credential cannot be produced or stored for another reason.
    """
    if not wanted():
        return
    answer = _ask(str(description))
    if answer["error"]:
        raise _refusal(str(htcondor2.param[PRODUCER]), answer["error"])
    if answer["url"]:
        raise UserError(
            f"HTCondor needs a credential that you approve in a browser: visit {answer['url']}, then repeat the command"
        )
    description[MARK] = "true"


def _ask(description: str) -> dict[str, str]:
    """Issue the credential in a child process: HTCondor's library waits forever for a condor_credd that hangs."""
    command = [sys.executable, "-I", "-m", "faser_align.dag.credentials"]
    try:
        done = subprocess.run(
            command, input=description, stdout=subprocess.PIPE, text=True, timeout=ISSUE_S_MAX, check=True
        )
    except subprocess.TimeoutExpired:
        return {
            "url": "",
            "error": f"no answer from the credential producer or the condor_credd within {ISSUE_S_MAX:.0f} s",
        }
    except subprocess.CalledProcessError as failed:
        return {"url": "", "error": f"HTCondor's library exited with status {failed.returncode}"}
    answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Issue the credential for the submit description on standard input, and print HTCondor's answer as JSON."""
    description, url, error = htcondor2.Submit(sys.stdin.read()), None, ""
    try:
        url = description.issue_credentials()
        if not url and MARK not in description:
            error = f"HTCondor's library did not set {MARK}"
    except htcondor2.HTCondorException as problem:
        error = (str(problem).strip().splitlines() or ["no reason given"])[0]
    print(json.dumps({"url": url or "", "error": error}))


def wanted() -> bool:
    """Return whether the pool's configuration requires credentials."""
    return bool(htcondor2.param.get(PRODUCER))


def _refusal(producer: str, reason: str) -> CampaignError:
    """Return the error for HTCondor's ``reason`` for not issuing a credential."""
    if reason.startswith("Failed to read any data"):
        return UserError(
            f"{producer} produced no Kerberos credential; get a ticket with `kinit`, then repeat the command"
        )
    if reason.startswith("Failed to launch"):
        return CampaignError(
            f"the pool's credential producer cannot run ({reason}); correct {PRODUCER} in HTCondor's configuration, or ask its "
            "administrators"
        )
    return CampaignError(
        f"HTCondor could not store your credential ({reason}); repeat the command in a few minutes, then ask the "
        "administrators of the pool"
    )


def path() -> str:
    """Return the path of the caller's credential on the access point, empty if the pool stores none."""
    folder = htcondor2.param.get(FOLDER) if wanted() else None
    return os.path.join(folder, pwd.getpwuid(os.getuid()).pw_name + ENDING) if folder else ""


if __name__ == "__main__":
    main()
