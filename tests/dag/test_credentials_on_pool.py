"""Test Kerberos credentials on a real pool with a condor_credd."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import forking
import htcondor2
import pytest
from calypso import Lxplus
from desk import EXAMPLES, MISPLACED, NOTIFY, Desk, cluster_of, simulation
from kerberos import Site, environment_of, site
from nowhere import no_dagman, no_job_begins, until
from poolcampaigns import PoolCampaign

from faser_align.campaign import layout
from faser_align.dag import credentials
from faser_align.dag.submit import submit_dag
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool import personal, processes
from faser_align.system import credential, kerberos

NAME = "with-credentials"
SUBMIT = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "--name", NAME)
CONFIG = f"{simulation(100)}[convergence]\nstarved_per_parameter = 0.0\n"
CALYPSO = f"""{MISPLACED}[convergence]
starved_per_parameter = 0.0
min_iterations = 9
stalled_iterations = 9
{{reconstruction}}{NOTIFY}[htcondor]
retries = 0
"""
# A slow file system that needs a valid ticket, as AFS and EOS do.
COPY = """\
#!/bin/sh
sleep 8
{python} -I -c '
import os, sys, time
from faser_align.system import kerberos
ticket = kerberos.read(os.environ["KRB5CCNAME"].removeprefix("FILE:"))
sys.exit(time.time() >= ticket.end)' || {{ echo "cp: cannot create regular file: Key has expired" >&2; exit 1; }}
exec /bin/cp "$@"
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
    """Provide a pool with credentials, besides that of the test run."""
    folder = session_folder / "credentials"
    personal.start(folder, cpus=2, credentials=True)
    with open(folder / "condor_config", "a") as config:
        config.write("\nDAGMAN_MAX_SUBMIT_ATTEMPTS = 2\n")
    yield folder
    personal.stop(folder)


@pytest.fixture
def kinit(credential_pool: Path, workdir: Path) -> Iterator[Site]:
    """Use the pool with credentials as a user with a ticket; its queue is empty before ``workdir`` is removed."""
    assert workdir.is_dir()
    with site(credential_pool) as made:
        yield made
        until(no_dagman)


@pytest.fixture
def desk(kinit: Site, workdir: Path) -> Iterator[Desk]:
    """Provide a desk with a mail server on that pool."""
    with Mailbox(workdir / "mail") as mailbox:
        made = Desk(workdir, NAME, mailbox)
        made.configure(CONFIG)
        yield made


def refused(desk: Desk, status: int) -> str:
    """Run ``submit``; return its refusal, and check that nothing is left."""
    done = forking.run(list(SUBMIT), folder=desk.folder)
    assert done.returncode == status, done.stdout + done.stderr
    assert not desk.campaign.exists()
    assert list(htcondor2.Schedd().query()) == []
    return done.stderr


def marks(cluster: int) -> tuple[object, set[object]]:
    """Return SendCredential of a DAGMan job and of its node jobs, from the schedd's history."""
    schedd, wanted = htcondor2.Schedd(), ["SendCredential"]
    (dagman,) = until(lambda: list(schedd.history(f"ClusterId == {cluster}", wanted, 1)))
    return dagman.get(*wanted), {job.get(*wanted) for job in schedd.history(f"DAGManJobId == {cluster}", wanted)}


def test_scripts_and_jobs_find_the_credential(kinit: Site, workdir: Path) -> None:
    """The producer runs once, with the caller's ticket; DAGMan, its scripts and its jobs have the credential."""
    (workdir / "alignment.dag").write_text(ENVIRONMENT_DAG.format(folder=workdir))
    cluster = submit_dag(htcondor2.Schedd(), str(workdir))
    until(lambda: (workdir / "post.env").exists() and no_dagman())
    assert kinit.calls() == [f"FILE:{kinit.ticket}"]
    stored = credentials.path()
    assert Path(stored) in kinit.stored()
    assert marks(cluster) == (True, {True})
    for script in ("pre.env", "post.env"):
        found = environment_of(workdir / script)
        assert found["_condor_SEC_CREDENTIAL_PRODUCER"] == "CREDENTIAL_ALREADY_STORED"
        assert found[credential.VARIABLE] == stored
    assert environment_of(workdir / "job.env")["KRB5CCNAME"] == f"FILE:{stored}"  # from the stand-in of the starter


def test_submit_without_a_ticket(desk: Desk, kinit: Site) -> None:
    """Without a ticket nothing is submitted or left, and the message says to get one."""
    kinit.ticket.unlink()
    said = refused(desk, status=2)
    assert f"{kinit.folder}/producer produced no Kerberos credential; get a ticket with `kinit`" in said


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


def test_a_condor_credd_that_hangs(kinit: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submission does not wait forever for a condor_credd that does not answer."""
    monkeypatch.setattr(credentials, "ISSUE_S_MAX", 3.0)
    description = htcondor2.Submit({"executable": "/bin/true"})
    (credd,) = (
        daemon.pid for daemon in processes.daemons(kinit.folder / "condor_config") if daemon.name == "condor_credd"
    )
    os.kill(credd, signal.SIGSTOP)
    try:
        with pytest.raises(
            CampaignError, match=r"no answer from the credential producer or the condor_credd within 3 s"
        ):
            credentials.issue(description)
    finally:
        os.kill(credd, signal.SIGCONT)
    assert "SendCredential" not in str(description)


def test_a_producer_that_cannot_be_run(desk: Desk, kinit: Site) -> None:
    """If the producer is not a program, the message names the parameter of HTCondor's configuration."""
    with kinit.configured(f"SEC_CREDENTIAL_PRODUCER = {kinit.folder}/nothing"):
        said = refused(desk, status=1)
    assert f"Failed to launch {kinit.folder}/nothing" in said
    assert "correct SEC_CREDENTIAL_PRODUCER" in said


def test_a_page_to_visit_first(kinit: Site) -> None:
    """If the condor_credd requires a login in a browser first, the message has the address."""
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


def test_a_pool_that_runs_without_credentials(pool: personal.Pool, credential_pool: Path) -> None:
    """`pool start --credentials` says how to get a ticket; it refuses a pool that runs without credentials."""
    with pytest.raises(UserError, match="runs without credentials; stop it first"):
        personal.start(pool.folder, credentials=True)
    said = forking.run(["pool", "start", "--credentials", "--folder", str(credential_pool)]).stdout
    assert f"is already running in {credential_pool}" in said
    assert f"export KRB5CCNAME=FILE:{credential_pool}/ticket; {credential_pool}/kinit" in said


def test_elsewhere_nothing_is_asked(pool: personal.Pool) -> None:
    """On a pool without SEC_CREDENTIAL_PRODUCER no credential is issued, and DAGMan's environment has no path of one."""
    description = htcondor2.Submit({"executable": "/bin/true"})
    credentials.issue(description)
    assert "SendCredential" not in str(description)
    assert credentials.path() == ""


def test_a_campaign_is_extended_and_resumed(kinit: Site, workdir: Path) -> None:
    """A campaign runs to its end; `extend` and `resume` store a new ticket, and change nothing without one."""
    campaign = PoolCampaign(workdir / NAME, files=1, iterations=1)

    def command(*words: str, status: int = 0) -> str:
        return campaign.command(*words, status=status).stdout

    first = campaign.submit()
    assert campaign.wait_end() == "exhausted"
    kinit.ticket.unlink()
    command("extend", "-i", "2", status=2)
    assert layout.dag_files(str(campaign.folder)) == [layout.DAG]
    assert json.loads(command("status", "--json"))["limit"] == 1
    kinit.kinit()
    slow = campaign.orders / f"{layout.mille_node(1, 2)}.wait_s"
    slow.write_text("600")
    second = cluster_of(command("extend", "-i", "2"))
    command("stop", "--after", "iteration")
    slow.write_text("0.1")
    assert campaign.wait_end() == "removed"
    kinit.ticket.unlink()
    command("resume", status=2)
    assert campaign.state() == "removed"
    kinit.kinit(7200)
    third = cluster_of(command("resume"))
    assert campaign.wait_end() == "exhausted"
    assert {node["state"] for node in campaign.nodes().values()} == {"done"}
    assert [marks(cluster) for cluster in (first, second, third)] == [(True, {True})] * 3
    assert kinit.calls() == [f"FILE:{kinit.ticket}"] * 5
    assert Path(credentials.path()).with_suffix(".cred").read_bytes() == kinit.ticket.read_bytes()
    assert campaign.unsound() == []
    assert not (campaign.folder / layout.HOOKS_LOG).exists()


def test_the_probe_looks_for_the_credential(desk: Desk, kinit: Site) -> None:
    """`check --probe` reports the credential of scripts and jobs with its lifetime, and each job without SendCredential."""
    found = {one["name"]: (one["result"], one["text"]) for one in desk.read("check", "--probe")}
    valid = "valid for 1.0 h, renewable for 24.0 h"
    for name in ("there: credential", "execute node: reco credential", "execute node: mille credential"):
        assert found.get(name) == ("ok", valid), found
    assert found["there: SendCredential"][1] == "set for all 3 jobs, DAGMan's included"
    assert len(kinit.calls()) == 1


def test_without_issued_credentials_every_node_fails(
    kinit: Site, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without issued credentials, DAGMan runs the producer itself, without a ticket, and can submit no node."""
    monkeypatch.setattr(credentials, "issue", lambda description: None)
    campaign = PoolCampaign(workdir / NAME, files=2, config={"htcondor": {"retries": 0}})
    cluster = campaign.submit()
    assert campaign.wait_end() == "failed"
    dagman_out = (campaign.folder / layout.DAGMAN_OUT).read_text()
    assert re.search("failed to produce job credentials.*: failed to read any data", dagman_out, re.IGNORECASE)
    assert set(kinit.calls()) == {""}
    assert marks(cluster) == (None, set())
    nodes = campaign.nodes()
    assert {nodes[f"reco_s1_i01_{file}"]["reason"] for file in ("00400", "00401")} == {exit_codes.failure(-1001)[0]}


def test_the_condor_credd_may_keep_the_credential_that_it_has(kinit: Site) -> None:
    """With HTCondor's default for SEC_CREDENTIAL_REFRESH_INTERVAL a new ticket is not stored while there is a credential."""

    def keeps() -> bool:
        stored = Path(credentials.path()).with_suffix(".cred")
        before = stored.read_bytes()
        kinit.kinit(3600 + len(kinit.calls()))
        credentials.issue(htcondor2.Submit({"executable": "/bin/true"}))
        assert before != kinit.ticket.read_bytes()
        return stored.read_bytes() == before

    credentials.issue(htcondor2.Submit({"executable": "/bin/true"}))
    assert not keeps()
    with kinit.configured("SEC_CREDENTIAL_REFRESH_INTERVAL = -1", daemons=True):
        until(keeps)
        subprocess.run(["condor_store_cred", "delete-krb"], check=True, capture_output=True)
        assert kinit.stored() == []
        credentials.issue(htcondor2.Submit({"executable": "/bin/true"}))
        assert Path(credentials.path()).read_bytes() == kinit.ticket.read_bytes()


def test_a_campaign_that_outlives_its_ticket(desk: Desk, kinit: Site) -> None:
    """The credmon renews a ticket while that is possible; then jobs fail, and status and message say when it expired."""
    lxplus = Lxplus(desk.folder / "lxplus", 150)
    shutil.copy(EXAMPLES / "align_2025.txt", lxplus.folder / "truth.txt")
    lxplus.raw(400)
    (lxplus.bin / "cp").write_text(COPY.format(python=sys.executable))
    desk.configure(CALYPSO, reconstruction=lxplus.toml())
    lifetime_s, renewable_s = 20, 40
    submit = ("submit", "-y", "2023", "-r", "11705", "-f", "400", "-i", "20", "--name", NAME, "--no-check")
    with no_job_begins():
        began = int(time.time())
        kinit.kinit(lifetime_s, renewable_s)
        desk.run(*submit)
        lxplus.come_first(desk.campaign / layout.WRAPPER)
    desk.wait(NAME, status=15)
    ticket = kerberos.read(credentials.path())
    assert ticket is not None
    assert ticket.end - began >= renewable_s
    name, _, fix = exit_codes.JOB_FAILURES[exit_codes.TOKEN]
    expired = f"{datetime.fromtimestamp(ticket.end, UTC):%Y-%m-%d %H:%M} UTC"
    for said in (desk.run("status", NAME), desk.letters("failed")):
        words = " ".join(said.split())
        assert f"{name}: the credential that HTCondor stores for the campaign expired at {expired}; " in words
        assert "Key has expired" in words
        assert fix in words
    until(no_dagman)
    kinit.kinit()
    desk.run("resume", NAME)
    desk.run("stop", NAME, "--after", "iteration")
    desk.wait(NAME, status=16)
    assert desk.read("status", NAME)["reason"].endswith("asked to stop after the iteration")
