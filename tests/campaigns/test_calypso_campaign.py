"""Campaigns with backend ``calypso`` on a real pool, in stand-ins for lxplus: one that loses two files, and one that starves."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import uproot
from calypso import Lxplus
from desk import Desk, cluster_of

from faser_align.config import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool.personal import Pool

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
[campaign]
name = "camp"
constants = "{constants}"
[reconstruction]
backend = "calypso"
raw = "{place}/raw/{{year}}/{{run}}/Faser-Physics-{{run}}-{{file}}.raw"
min_files = {min_files}
[reconstruction.calypso]
atlas_base = "{place}/cvmfs/atlas"
asetup = "{place}/calypso/asetup.faser"
setup = "{place}/calypso/setup.sh"
write_constants = "{place}/calypso/WriteAlignmentConfig_Faser04.py"
reconstruct = "{place}/calypso/faser_reco_alignment.py"
database = "{place}/cvmfs/faser/ALLP200.db"
[convergence]
patience = 1
[notify]
targets = ["me"]
file = "targets.toml"
[htcondor]
retries = 1
retry_wait_s = 1
[htcondor.reco]
memory_mb = 300
memory_max_mb = 600
disk_mb = 50
"""


@pytest.fixture
def desk(pool: Pool, workdir: Path) -> Iterator[Desk]:
    """A desk whose mail server is there all the time."""
    with Mailbox(workdir / "mail") as mailbox:
        yield Desk(workdir, "camp", mailbox)


def set_up(desk: Desk, *, tracks: int, min_files: float) -> Lxplus:
    lxplus = Lxplus(desk.folder / "lxplus", tracks)
    shutil.copy(EXAMPLES / "align_2025.txt", lxplus.folder / "truth.txt")
    text = CONFIG.format(place=lxplus.folder, constants=EXAMPLES / "ift_misplaced.txt", min_files=min_files)
    (desk.folder / "faser-align.toml").write_text(text)
    return lxplus


def test_two_of_twelve_files_are_bad(desk: Desk) -> None:
    """A campaign converges without two files: one that vanished after submission, one that crashes from the second iteration on."""
    lxplus = set_up(desk, tracks=350, min_files=0.8)
    for file in range(400, 412):
        lxplus.raw(file, **({"good": 1} if file == 405 else {}))
    said = desk.run("submit", "-y", "2023", "-r", "11705", "-f", "400-411", "-i", "6")
    lxplus.raw(409).unlink()
    desk.run("wait", "camp", "--timeout", "280")
    assert desk.dagman(cluster_of(said))["ExitCode"] == 0

    status = desk.read("status", "camp")
    last = status["iteration"]
    assert status["state"] == "converged"
    nodes = {row["subject"]: row for row in desk.history() if row["event"] == "lost"}
    assert list(nodes) == [layout.reco_node(1, 1, 409), layout.reco_node(1, 2, 405)]
    vanished, crashed = (str(row["facts"]["reason"]) for row in nodes.values())
    assert vanished.startswith("raw file missing or unreadable: inputs: raw file ")
    assert crashed.startswith("reconstruction crashed: reconstruction: ")
    assert "FATAL: Segment decoding failed" in crashed
    # A cure that cannot help is not tried; one that may is, once.
    started = [row["subject"] for row in desk.history() if row["event"] == "started"]
    assert (started.count(layout.reco_node(1, 1, 409)), started.count(layout.reco_node(1, 2, 405))) == (1, 2)
    # What is lost stays out, and the change of the set puts convergence off.
    for iteration in range(1, last + 1):
        expected = set(range(400, 412)) - {1: set(), 2: {409}}.get(iteration, {405, 409})
        submitted = {layout.parse_node(node)[3] for node in desk.jobs() if f"reco_s1_i{iteration:02d}" in node}
        assert submitted == expected
    rows = desk.read("metrics", "camp")
    rows = rows["iterations"] if isinstance(rows, dict) else rows
    assert [row["metrics"]["files"]["lost"] for row in rows] == [[409], *[[405, 409]] * (last - 1)]
    assert last >= 3  # the files of the second were others

    folder = desk.campaign / f"iter{last:02d}"
    tracks = sorted(path.name for path in (folder / layout.KFALIGNMENT).glob("*.root"))
    assert tracks == [f"kfalignment_011705_{f:05d}.root" for f in range(400, 412) if f not in (405, 409)]
    with uproot.open(folder / layout.KFALIGNMENT / tracks[0]) as file:
        assert file["tree"].num_entries > 250
    assert (folder / layout.MILLEPEDE / layout.CONSTANTS).exists()
    log = Path(layout.job_log(str(desk.campaign), layout.reco_node(1, 2, 405), "log")).read_text()
    assert "ApplicationMgr INFO reconstructing" in log
    assert "FASERNU-04, OFLCOND-FASER-05" in log

    text = "".join(part.get_body(("plain",)).get_content() for part in desk.mailbox.messages())  # type: ignore[union-attr]
    for words in ("409", "405", "raw file missing or unreadable", "reconstruction crashed"):
        assert words in text
    assert "converged" in desk.letter("converged")
    assert not (desk.campaign / layout.HOOKS_LOG).exists()


def test_fewer_files_than_the_quorum(desk: Desk) -> None:
    """A campaign with more bad files than the quorum allows fails, names them with reason and cure, and loses nothing."""
    lxplus = set_up(desk, tracks=150, min_files=0.6)
    lxplus.raw(400)
    lxplus.raw(401, silent=True)
    lxplus.raw(402, truncated=True)
    said = desk.run("submit", "-y", "2023", "-r", "11705", "-f", "400-402", "-i", "2")
    desk.run("wait", "camp", "--timeout", "120", status=15)
    assert desk.dagman(cluster_of(said))["ExitCode"] != 0
    text = desk.letter("failed")
    assert "no output" in text
    assert "read the job's log" in text
    status = desk.run("status", "camp")
    assert "no output" in status
    states = {
        row["event"]
        for row in desk.history()
        if row["subject"] in (layout.reco_node(1, 1, file) for file in (401, 402))
    }
    assert {"failed", "lost"} <= states
    assert not list(desk.campaign.glob("iter01/2kfalignment/*40[12]*"))
    assert len(list(desk.campaign.glob("iter01/2kfalignment/*400*"))) == 4
