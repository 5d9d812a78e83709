"""Kerberos credentials on a real pool with a condor_credd: who gets one, and what happens without."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import htcondor2
import pytest
from desk import COMMAND, Desk
from kerberos import SETTINGS, Site, environment_of, site
from nowhere import no_dagman, until

from faser_align.config import kerberos
from faser_align.dag import credentials
from faser_align.dag.submit import submit_dag
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool import personal

NAME = "with-credentials"
SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400-401", "--name", NAME)
CONFIG = """
[campaign]
constants = "{examples}/ift_misplaced.txt"
[simulation]
truth = "{examples}/align_2025.txt"
tracks = 400
[convergence]
patience = 1
starved_per_parameter = 0.0
[notify]
targets = ["me"]
file = "targets.toml"
"""
ENVIRONMENT_DAG = """\
SET_JOB_ATTR FaserFolder = "{folder}"
SUBMIT-DESCRIPTION env {{
    executable = /usr/bin/env
    transfer_executable = false
    output = job.env
    request_memory = 16MB
    request_disk = 1MB
}}
JOB node env
SCRIPT PRE node /bin/sh -c env>pre.env
SCRIPT POST node /bin/sh -c env>post.env
"""


@pytest.fixture(scope="module")
def credential_pool(
    pool: personal.Pool, tmp_path_factory: pytest.TempPathFactory, session_folder: Path
) -> Iterator[Path]:
    """A pool with credentials, besides that of the test run."""
    folder = session_folder / "credentials"
    personal.start(folder, cpus=2, credentials=True)
    with open(folder / "condor_config", "a") as config:
        config.write(SETTINGS)
    yield folder
    personal.stop(folder)


@pytest.fixture
def kinit(credential_pool: Path) -> Iterator[Site]:
    """The pool with credentials, used by somebody who has a ticket; its queue is empty at the end."""
    with site(credential_pool) as made:
        yield made
        until(no_dagman)


@pytest.fixture
def desk(kinit: Site, workdir: Path) -> Iterator[Desk]:
    """A desk with a mail server on that pool."""
    with Mailbox(workdir / "mail") as mailbox:
        made = Desk(workdir, NAME, mailbox)
        made.configure(CONFIG)
        yield made


def refused(desk: Desk, status: int) -> str:
    """Type ``submit``; what it says when it refuses, and that it has left nothing."""
    done = subprocess.run(
        [*COMMAND, *SUBMIT], cwd=desk.folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert not desk.campaign.exists()
    assert list(htcondor2.Schedd().query()) == []
    return done.stderr


def ads(name: str) -> dict[str, object]:
    """SendCredential of the last DAGMan job and of its node jobs, by node; from the schedd's history."""
    schedd = htcondor2.Schedd()
    found = [*schedd.history(f'FaserCampaign =?= "{name}"', ["FaserNode", "SendCredential"])]
    return {ad.get("FaserNode", "DAGMan"): ad.get("SendCredential") for ad in found}


def test_scripts_and_jobs_find_the_credential(kinit: Site, workdir: Path) -> None:
    """The producer runs once, with the caller's ticket; DAGMan, its scripts and its jobs have the credential."""
    (workdir / "alignment.dag").write_text(ENVIRONMENT_DAG.format(folder=workdir))
    cluster = submit_dag(htcondor2.Schedd(), str(workdir))
    until(lambda: (workdir / "post.env").exists() and no_dagman())
    assert kinit.calls() == [f"FILE:{kinit.ticket}"]
    stored = credentials.path()
    assert Path(stored) in kinit.stored()
    schedd = htcondor2.Schedd()
    (dagman,) = until(lambda: list(schedd.history(f"ClusterId == {cluster}", ["SendCredential"], 1)))
    (job,) = until(lambda: list(schedd.history(f"DAGManJobId == {cluster}", ["SendCredential"], 1)))
    assert (dagman["SendCredential"], job["SendCredential"]) == (True, True)
    for script in ("pre.env", "post.env"):
        found = environment_of(workdir / script)
        assert found["_condor_SEC_CREDENTIAL_PRODUCER"] == "CREDENTIAL_ALREADY_STORED"
        assert found[kerberos.VARIABLE] == stored
    assert environment_of(workdir / "job.env")["KRB5CCNAME"] == f"FILE:{stored}"  # from the stand-in of the starter


def test_submit_without_a_ticket(desk: Desk, kinit: Site) -> None:
    """Without a ticket nothing is submitted or left, and the message says to get one; with one the same command works."""
    kinit.ticket.unlink()
    said = refused(desk, status=2)
    assert f"{kinit.folder}/producer produced no Kerberos credential: get a ticket with `kinit`" in said
    kinit.kinit()
    desk.run(*SUBMIT)
    desk.run("stop", NAME, "--yes")


def test_submit_without_a_credd(desk: Desk, kinit: Site) -> None:
    """While no condor_credd answers nothing is submitted or left, and the message names it."""
    subprocess.run(["condor_off", "-daemon", "credd"], check=True, capture_output=True)
    address = kinit.folder / "log" / ".credd_address"
    try:
        until(lambda: not address.exists())
        said = refused(desk, status=1)
    finally:
        subprocess.run(["condor_on", "-daemon", "credd"], check=True, capture_output=True)
        until(address.exists)
    assert "HTCondor could not store your credential (Can't find address of credd" in said
    assert "repeat the command in a few minutes" in said


def test_a_producer_that_cannot_be_run(desk: Desk, kinit: Site) -> None:
    """A producer that is not a program is a fault of HTCondor's configuration, which the message names."""
    with kinit.configured(f"SEC_CREDENTIAL_PRODUCER = {kinit.folder}/nothing"):
        said = refused(desk, status=1)
    assert f"Failed to launch {kinit.folder}/nothing" in said
    assert "correct SEC_CREDENTIAL_PRODUCER" in said


def test_a_page_to_visit_first(kinit: Site) -> None:
    """Where the condor_credd wants a login in a browser first, the message has the address."""
    oauth = kinit.folder / "oauth"
    oauth.mkdir(mode=0o2770, exist_ok=True)
    secret = kinit.folder / "client.secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    text = f"""
SEC_CREDENTIAL_DIRECTORY_OAUTH = {oauth}
CREDMON_WEB_PREFIX = https://access.example.org
box_CLIENT_ID = faser
box_CLIENT_SECRET_FILE = {secret}
box_RETURN_URL_SUFFIX = /return/box
box_AUTHORIZATION_URL = https://box.example.org/authorize
box_TOKEN_URL = https://box.example.org/token
"""
    description = htcondor2.Submit({"executable": "/bin/true", "use_oauth_services": "box"})

    def answer() -> str:
        try:
            credentials.issue(description)
        except UserError as refusal:
            return str(refusal)
        except CampaignError:  # the condor_credd has not read its configuration yet
            return ""
        return "issued"

    with kinit.configured(text, daemons=True):
        assert re.search(r"visit https://access\.example\.org/key/\w+, then repeat the command", until(answer))
    assert kinit.calls() == []


def test_elsewhere_nothing_is_asked(pool: personal.Pool) -> None:
    """On a pool without SEC_CREDENTIAL_PRODUCER no credential is issued, and DAGMan's environment has no path of one."""
    assert pool.master_pid
    description = htcondor2.Submit({"executable": "/bin/true"})
    credentials.issue(description)
    assert "SendCredential" not in str(description)
    assert credentials.path() == ""
