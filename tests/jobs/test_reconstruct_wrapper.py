"""Test the job wrapper as a process, with working and failing stand-ins for lxplus."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uproot
from calypso import Lxplus
from stored import rows
from worlds import small_disk

from faser_align.alignment.mille.counts import read_counts
from faser_align.alignment.parameters.constants import parse_constants, read_constants
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.dag.wrapper import conditions, reconstruct_options, render_wrapper
from faser_align.fsm import exit_codes
from faser_align.jobs.output import adler32
from faser_align.state.logends import log_end

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
KFALIGNMENT = Path(__file__).parents[1] / "data" / "mille" / "kfalignment_4st.root"
# A reconstruction without Calypso, for what comes after it.
READY = {"backend": "command", "command": f'cp "{KFALIGNMENT}" {{output}}'}
COMMAND = "cp {constants} seen.txt && program {raw} {run} {file} {stations} {iteration} {output}"


def outputs_of(file: str) -> set[str]:
    """Return the names of the files that a job leaves."""
    endings = ("bin", "bin.json", "histograms.npz", "momenta.npy", "sums")
    return {f"kfalignment_{file}.root", *(f"mp2input_{file}.{ending}" for ending in endings)}


class Job:
    """Raw file 400 in iteration 1 of a campaign that reconstructs by the wrapper."""

    def __init__(self, folder: Path, lxplus: Lxplus) -> None:
        self.folder, self.lxplus = folder, lxplus
        self.record = read_record(str(folder))
        self.scratch = lxplus.folder / "scratch"
        self.scratch.mkdir()
        self.wrapper = folder / layout.WRAPPER
        self.render()
        for iteration in (1, 2, 3):
            os.makedirs(layout.iteration_folder(str(folder), 1, iteration) + "/1reco/logs")
        lxplus.raw(400)

    def render(self) -> None:
        """Write the wrapper that the manifest describes."""
        self.wrapper.write_text(render_wrapper(self.record))

    def edit(self, part: str, other: str) -> None:
        """Replace a part of the wrapper."""
        text = self.wrapper.read_text()
        assert part in text
        self.wrapper.write_text(text.replace(part, other))

    def end_with_the_copy(self) -> None:
        """Leave out the conversion, half of a job's work."""
        self.edit('ours convert "$campaign" "$@"', "true")

    def only_copy(self) -> None:
        """Leave out the check of the tracks of ``READY`` as well, so that little but the copy is left."""
        self.edit('ours output "${tracks[0]}"', f"echo {adler32(str(KFALIGNMENT))}")
        self.end_with_the_copy()

    def run(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", layout.WRAPPER, *map(str, words or (1, 1, 400))],
            cwd=self.folder,
            env=self.lxplus.environment(self.scratch) | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, output: int) -> "subprocess.Popen[str]":
        """Start the job without waiting for it, with both streams as ``output`` says."""
        return subprocess.Popen(
            ["/bin/bash", layout.WRAPPER, "1", "1", "400"],
            cwd=self.folder,
            env=self.lxplus.environment(self.scratch),
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )

    def place(self, iteration: int = 1) -> Path:
        return Path(layout.kfalignment_file(self.record["data"], 1, iteration, "011705", 400))

    def outputs(self) -> set[str]:
        return set(os.listdir(self.place().parent))

    def log(self) -> str:
        return Path(layout.job_log(str(self.folder), layout.reco_node(1, 1, 400), "log")).read_text()

    def fails(self, status: int, *words: str, iteration: int = 1) -> str:
        """Run; check the status, the ``words`` in the last line, and that no file is left; return that line."""
        done = self.run(1, iteration, 400)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, [word for word in words if word not in last]) == (status, []), done.stderr
        assert not self.place(iteration).exists()
        assert not list(self.place(iteration).parent.glob("*")) + list(self.place(iteration).parent.glob(".*"))
        assert os.listdir(self.scratch) == []
        return last


MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(make_campaign: Make, tmp_path: Path, session_folder: Path) -> MakeJob:
    """Make a job: keywords are tables, ``reconstruction`` one is added to the stand-ins' own."""

    def make(reconstruction: dict[str, Any] | None = None, **tables: Any) -> Job:
        lxplus = Lxplus(tmp_path / "lxplus of me", kept=session_folder / "tracks")
        told = lxplus.reconstruction(**(reconstruction or {}))
        folder = make_campaign(reconstruction=told, **tables)
        os.link(tmp_path / "truth.txt", lxplus.folder / "truth.txt")
        os.makedirs(folder / "iter01" / "2kfalignment")
        return Job(folder, lxplus)

    return make


def test_the_six_steps(make_job: MakeJob) -> None:
    """A job writes tracks, Mille binary, counts, momenta and one log line per step, and clears its scratch folder."""
    job = make_job()
    done = job.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == [
        *("inputs", "environment", "conditions database", "constants into the database"),
        *("FASER-04_ALLP200.db data/sqlite200/ALLP200.db, tag TRACKER-ALIGN-05", "reconstruction"),
        f"{job.lxplus.checkout}/faser_reco_alignment.py {job.lxplus.raw(400)} --alignment --noBackward --output_level INFO",
        *("output", "copy", "conversion"),
    ]
    counts = read_counts(layout.mille_file(job.record["data"], 1, 1, "011705", 400) + ".json")
    with uproot.open(job.place()) as file:
        assert file["tree"].num_entries == counts.tracks_read > 250
    assert counts.modules[:3].sum() > 0
    assert job.outputs() == outputs_of("011705_00400")
    assert os.listdir(job.scratch) == []
    assert not list(job.folder.glob("iter01/1reco/logs/*.log"))


# Faults, the status that names each, and words of the sentence. A fault with a colon is that of a stand-in, the others are
# in the raw file and occur in the reconstruction.
ENDED = "the environment's scripts ended the shell with status 3"
WRONG = [
    ("asetup:fail", exit_codes.ENVIRONMENT, [ENDED, "its last lines: asetup: ERROR: release Athena,24.0.41"]),
    ("asetup:empty", exit_codes.ENVIRONMENT, ["an environment that has no python"]),
    ("cp:database", exit_codes.DATABASE, ["ALLP200.db is not whole"]),
    ("write:fail", exit_codes.DATABASE, ["WriteAlignmentConfig", "status 1", "cannot write the payload"]),
    ("write:nothing", exit_codes.DATABASE, ["ended well but left no FASER-04_ALLP200.db"]),
    (
        "write:05",
        exit_codes.DATABASE,
        ["left no FASER-04_ALLP200.db", "reconstruction.calypso.written", "folder has: FASER-05_ALLP200.db"],
    ),
    ("AtlCoolCopy:fail", exit_codes.DATABASE, ["AtlCoolCopy ended with status 1: AtlCoolCopy: Cannot open"]),
    ("AtlCoolCopy:nothing", exit_codes.DATABASE, ["AtlCoolCopy ended well but changed nothing"]),
    ("crash", exit_codes.CRASHED, ["ended with status 1: FATAL: Segment decoding failed", "log: "]),
    ("killed", exit_codes.CRASHED, ["was ended by signal SEGV"]),
    ("full", exit_codes.NO_SPACE, ["No space left on device"]),
    ("silent", exit_codes.NO_OUTPUT, ["ended well but left no Faser-Physics-*kfalignment.root"]),
    ("truncated", exit_codes.NO_OUTPUT, ["bytes and should have"]),
    ("empty", exit_codes.NO_OUTPUT, ["no entries"]),
    ("twice", exit_codes.NO_OUTPUT, ["left 2 files of tracks"]),
]
# The same for the copy, whose tracks need no reconstruction.
COPIES = [
    ("cp:refused", exit_codes.COPY, ["kfalignment_011705_00400.root cannot be written", "Permission denied"]),
    ("cp:refused klist:expired", exit_codes.TOKEN, ["Permission denied"]),
    ("cp:quota", exit_codes.NO_SPACE, ["Disk quota exceeded"]),
    ("cp:io", exit_codes.COPY, ["Input/output error"]),
    ("cp:truncated", exit_codes.COPY, ["is not what was sent", "5000 arrived"]),
]


@pytest.mark.parametrize(
    ("does", "status", "words"), [*WRONG, *COPIES], ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_goes_wrong_has_its_name(make_job: MakeJob, does: str, status: int, words: list[str]) -> None:
    """Each failure has its own status and reason, keeps the log, and leaves no output, not even an old one."""
    copied = (does, status, words) in COPIES
    job = make_job(READY if copied else {})
    if copied:
        job.only_copy()
    job.lxplus.orders(*(fault for fault in does.split() if ":" in fault))
    job.lxplus.raw(400, **{fault: True for fault in does.split() if ":" not in fault})
    job.place().write_bytes(b"root, of an earlier run")
    Path(layout.mille_file(job.record["data"], 1, 1, "011705", 400)).write_bytes(b"old")
    last = job.fails(status, *words)
    assert "--- environment" in job.log()
    assert "(log: " in last


def test_a_node_that_is_passed_over(make_job: MakeJob) -> None:
    """The job of a skipped node ends at once with success and without output."""
    job = make_job()
    Path(layout.passed_file(str(job.folder), layout.reco_node(1, 1, 400))).touch()
    done = job.run()
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    assert not job.place().exists()


def test_a_raw_file_that_vanished_or_is_empty(make_job: MakeJob) -> None:
    """A raw file that is missing or empty is reported at once, before the environment is set up."""
    job = make_job()
    job.lxplus.raw(400).write_bytes(b"")
    job.fails(exit_codes.RAW_MISSING, "Faser-Physics-011705-00400.raw is empty")
    job.lxplus.raw(400).unlink()
    job.fails(exit_codes.RAW_MISSING, "Faser-Physics-011705-00400.raw cannot be read: No such file or directory")


def test_what_another_machine_may_read(make_job: MakeJob) -> None:
    """A server that does not answer or a missing mount is the machine's failure, and the node is retried elsewhere."""
    job = make_job()
    raw = job.lxplus.raw(400, silent=True)
    head, ill = job.lxplus.bin / "head", job.lxplus.folder / "ill"
    head.write_text(
        "#!/bin/bash\n"
        f'[[ ${{!#}} != *.raw ]] || {{ echo "head: ${{!#}}: $(cat "{ill}")" >&2; exit 1; }}\n'
        'exec /usr/bin/head "$@"\n'
    )
    head.chmod(0o755)
    for said, status in (
        ("Transport endpoint is not connected", exit_codes.ENVIRONMENT),
        ("Input/output error", exit_codes.ENVIRONMENT),
        ("Permission denied", exit_codes.RAW_MISSING),
    ):
        ill.write_text(said)
        job.fails(status, f"cannot be read: {said}")
    head.unlink()
    raw.parent.rename(raw.parents[1] / "elsewhere")
    job.fails(exit_codes.ENVIRONMENT, "cannot be read: No such file or directory")
    (raw.parents[1] / "elsewhere").rename(raw.parent)
    for place in (Path(layout.constants_file(str(job.folder), 1, 1)), job.folder / layout.RECORD):
        place.rename(f"{place}.kept")
        place.symlink_to(place.name)  # equivalent to a server that does not answer: it exists, and cannot be read
        job.fails(exit_codes.ENVIRONMENT, "Too many levels of symbolic links")
        Path(f"{place}.kept").replace(place)
    job.fails(exit_codes.NO_OUTPUT, "the reconstruction ended well")


def test_constants_of_a_later_iteration(make_job: MakeJob) -> None:
    """Constants that are missing, empty or not finite do not count as zero constants."""
    job = make_job()
    constants = Path(layout.constants_file(str(job.folder), 1, 3))
    job.fails(exit_codes.CONSTANTS, "1reco/inputforalign.txt: No such file", iteration=3)
    constants.write_text("")
    job.fails(exit_codes.CONSTANTS, "inputforalign.txt is empty", iteration=3)
    constants.write_text('"00": [0, nan, 0, 0, 0, 0]')
    job.fails(exit_codes.CONSTANTS, "finite number", iteration=3)


def test_what_the_configuration_names_must_be_there(make_job: MakeJob) -> None:
    """Scripts, database and interpreter that cannot be read are named."""
    job = make_job()
    for name in ("faser_reco_alignment.py", "WriteAlignmentConfig_Faser04.py", "setup.sh"):
        (job.lxplus.checkout / name).unlink()
        job.fails(exit_codes.ENVIRONMENT, f"{name} cannot be read")
    job.lxplus.database.unlink()
    job.edit(f"python={sys.executable}", "python=/nowhere/python")
    job.fails(exit_codes.ENVIRONMENT, "python.jobs = /nowhere/python cannot run faser-align", "No such file")


def test_a_database_that_is_not_there(make_job: MakeJob) -> None:
    """A missing conditions database, as without CVMFS, is reported before anything is patched."""
    job = make_job()
    job.lxplus.database.unlink()
    job.fails(exit_codes.DATABASE, "ALLP200.db cannot be copied", "No such file")


def test_an_environment_script_of_ones_own(make_job: MakeJob, tmp_path: Path) -> None:
    """The user's own environment script replaces the four default set-up lines, whatever its last command returns."""
    own = tmp_path / "reco_condor_env.sh"
    job = make_job({"environment": str(own)})
    base, checkout = job.lxplus.atlas_base, job.lxplus.checkout
    own.write_text(
        f"export ATLAS_LOCAL_ROOT_BASE='{base}'\nsource \"$ATLAS_LOCAL_ROOT_BASE/user/atlasLocalSetup.sh\"\n"
        f"asetup --input='{checkout}/asetup.faser' Athena,24.0.41\nsource '{checkout}/setup.sh'\n[ -n \"$NEVER_SET\" ]\n"
    )
    job.lxplus.raw(400, silent=True)
    job.fails(exit_codes.NO_OUTPUT, "the reconstruction ended well")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["cannot be read"]),
        ("echo first\necho second\nfalse\n", ["has no python", "its last lines: first | second"]),
        ("exit 0\n", ["ended the shell with status 0", "it printed nothing"]),
        ("echo at work\nset -e\ncat /nowhere\n", ["shell with status 1", "its last lines: at work | cat: /nowhere"]),
        ("source /nowhere/setup.sh\nreturn 3\n", ["has no python", "its last lines: ", "setup.sh: No such file"]),
        ("PATH=/nowhere\n", ["ended the shell with status 127", "env: command not found"]),
    ],
)
def test_an_environment_script_that_fails(
    make_job: MakeJob, tmp_path: Path, text: str | None, words: list[str]
) -> None:
    """An environment script that is missing, ends the shell or sets up no Athena is named, with its last lines."""
    own = tmp_path / "reco_condor_env.sh"
    if text is not None:
        own.write_text(text)
    make_job({"environment": str(own)}).fails(exit_codes.ENVIRONMENT, f"reconstruction.environment = {own}", *words)


def test_tracks_that_cannot_be_converted(make_job: MakeJob) -> None:
    """If no track passes the cuts the tracks stay, and the failure is the conversion's."""
    job = make_job(mille={"chi2_max": 1e-9})
    done = job.run()
    assert done.returncode == exit_codes.CONVERSION
    assert "conversion: " in done.stderr.splitlines()[-1]
    assert job.place().exists()


def test_xrdcp(make_job: MakeJob, tmp_path: Path) -> None:
    """xrdcp can copy tracks to EOS with its checksum; a refusal and a wrong copy are reported, and leave no file."""
    job = make_job({**READY, "copy_with": "xrdcp"})
    job.only_copy()
    job.lxplus.orders("xrdcp:refused")
    job.fails(exit_codes.TOKEN, "Auth failed")
    job.lxplus.orders("xrdcp:corrupt")
    job.fails(exit_codes.COPY, "xrdcp to", "CheckSum error")
    job.lxplus.orders("xrdcp:truncated")
    job.fails(exit_codes.COPY, "what arrived at", "bytes that were sent")
    _compares_checksums(job, "")


def test_the_checksum_of_the_server(make_job: MakeJob) -> None:
    """On EOS the server's own checksum decides, after it had time to compute it; a server without one is trusted."""
    job = make_job(READY)
    job.only_copy()
    _compares_checksums(job, "xrdfs:none", "")


def _compares_checksums(job: Job, *trusted: str) -> None:
    """Check, as if the data were on EOS, that a wrong checksum fails, and that a job succeeds with ``trusted`` orders."""
    job.edit("/eos/*", "/*")
    job.edit("0 5 15 30", "0 0")
    job.lxplus.orders("xrdfs:corrupt")
    job.fails(exit_codes.COPY, "has checksum 00000bad on the server; what was sent has ")
    for order in trusted:
        job.lxplus.orders(order)
        assert job.run().returncode == 0
        assert job.place().exists()


def test_a_scratch_area_that_is_left_to_htcondor(make_job: MakeJob) -> None:
    """With cleanup_reco_temp_files = false the scratch area stays after success and failure, and its path is printed."""
    job = make_job(storage={"cleanup_reco_temp_files": False})
    job.end_with_the_copy()
    for constants, status in ((True, 0), (False, exit_codes.CONSTANTS)):
        if not constants:
            Path(layout.constants_file(str(job.folder), 1, 1)).unlink()
        done = job.run()
        assert done.returncode == status
        (left,) = job.scratch.iterdir()
        said = done.stderr.splitlines()
        assert said[0] == f"the scratch area is left as it is: {os.uname().nodename}:{left}"
        assert len(said) == (1 if constants else 2)
        assert (left / "log").exists()
        assert bool(list(left.glob("work/Faser-Physics-*"))) == constants
        shutil.rmtree(left)


def test_a_job_that_is_told_to_stop(make_job: MakeJob) -> None:
    """A terminated wrapper removes its scratch folder."""
    job = make_job()
    job.lxplus.raw(400, sleep=True)
    process = job.start(subprocess.PIPE)
    assert process.stdout is not None
    assert any("reconstruction" in line for line in process.stdout)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "reconstruction: " in said
    assert os.listdir(job.scratch) == []
    assert not job.place().exists()


@pytest.mark.parametrize("size", ["8k", "16k", "32k"])
def test_a_scratch_area_that_is_full(make_job: MakeJob, size: str) -> None:
    """A full disk is reported as such at any step, even if the reason cannot be written."""
    job = make_job()
    with small_disk(job.scratch, size=size) as disk:
        if disk is None:
            pytest.skip("a user may mount nothing here")
        done = job.run(_CONDOR_SCRATCH_DIR=str(disk.path))
        assert (done.returncode, os.listdir(disk.path)) == (exit_codes.NO_SPACE, []), done.stderr
    assert f"no space is left in {disk.path}" in done.stderr.splitlines()[-1]


def test_a_copy_that_is_interrupted(make_job: MakeJob) -> None:
    """A terminated job removes its partial copy; after SIGKILL the next attempt does."""
    job = make_job(READY)
    job.only_copy()
    job.lxplus.orders("cp:stuck")
    place = job.place().parent
    for sent in (signal.SIGTERM, signal.SIGKILL):
        process = job.start(subprocess.DEVNULL)
        begun = time.monotonic()
        while not list(place.glob(".kfalignment*.tmp")):
            assert process.poll() is None
            assert time.monotonic() - begun < 240
            time.sleep(0.02)
        os.killpg(process.pid, sent)
        process.wait(timeout=300)
        assert len(os.listdir(place)) == (sent == signal.SIGKILL)
    (place / ".mp2input_011705_00400.bin.77.0badcafe.tmp").write_bytes(b"of an attempt on another machine")
    (place / ".kfalignment_011705_00401.root.77.tmp").write_bytes(b"of another file")
    job.lxplus.orders("")
    assert job.run().returncode == 0
    assert [name for name in os.listdir(place) if name.startswith(".")] == [".kfalignment_011705_00401.root.77.tmp"]


def test_the_database_alone(make_job: MakeJob, tmp_path: Path) -> None:
    """`reconstruct.sh` also makes the conditions database of any constants, for export."""
    job = make_job()
    constants = Path(layout.constants_file(str(job.folder), 1, 1))
    done = job.run("--database", constants, tmp_path / "made")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "made" / "data" / "poolcond").iterdir()) == [
        "FASER-04_Align.pool.root",
        "PoolCat_oflcond.xml",
        "PoolFileCatalog.xml",
    ]
    made = tmp_path / "made" / "data" / "sqlite200" / "ALLP200.db"
    ((tag, payload),) = rows(made, "SELECT tag, payload FROM folders")
    assert tag == "TRACKER-ALIGN-05"
    assert parse_constants(payload, "x") == read_constants(constants)
    constants.write_text("no constants")
    assert job.run("--database", constants, tmp_path / "again").returncode == exit_codes.CONSTANTS


def test_a_command_of_ones_own(make_job: MakeJob, tmp_path: Path) -> None:
    """Any program can reconstruct: each field of the command is one word, and the output is checked like Calypso's."""
    job = make_job({"backend": "command", "command": COMMAND, "environment": str(tmp_path / "env.sh")})
    (tmp_path / "env.sh").write_text(f"export PATH='{tmp_path}':$PATH\n")
    program = tmp_path / "program"
    program.write_text(f'#!/bin/bash\ncat seen.txt >"{tmp_path}/seen"; printf "%s|" "$@" >"{tmp_path}/words"\n')
    program.chmod(0o755)
    job.fails(exit_codes.NO_OUTPUT, "ended well but left no kfalignment.root")
    raw, run, file, stations, iteration, output, _ = (tmp_path / "words").read_text().split("|")
    assert Path(raw) == job.lxplus.raw(400)
    assert (run, file, stations, iteration) == ("011705", "00400", "4", "1")
    assert output.endswith("/kfalignment.root")
    assert parse_constants((tmp_path / "seen").read_text(), "x") == read_constants(
        layout.constants_file(str(job.folder), 1, 1)
    )
    program.write_text("#!/bin/bash\nexit 3\n")
    job.fails(exit_codes.CRASHED, "reconstruction.command ended with status 3: it printed nothing")
    program.write_text('#!/bin/bash\necho "Finder ERROR no hits" >&2\necho "done"\n')
    last = job.fails(exit_codes.NO_OUTPUT, "ended well but left no kfalignment.root: done (log: ")
    assert "--- " not in last
    node = layout.reco_node(1, 1, 400)
    Path(layout.job_log(str(job.folder), node, "err")).write_text(f"{last}\n")  # as HTCondor does
    end = log_end(str(job.folder), node, "no output")
    assert (end.error, end.lines[-2:]) == ("Finder ERROR no hits", ("done", "--- output"))
    program.write_text('#!/bin/bash\necho "cannot go on" >&2\nexit 7\n')
    job.fails(exit_codes.CRASHED, "reconstruction.command ended with status 7: cannot go on")
    program.write_text(f'#!/bin/bash\ncp -- "{KFALIGNMENT}" "${{@: -1}}"\n')
    job.end_with_the_copy()
    assert job.run().returncode == 0
    assert job.place().read_bytes() == KFALIGNMENT.read_bytes()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_command_gets_the_direction(make_job: MakeJob, direction: str) -> None:
    """The field {direction} of a command, and FASER_DIRECTION in its environment, have the configured direction."""
    command = "echo {direction} $FASER_DIRECTION # {output}"
    job = make_job({"backend": "command", "direction": direction, "command": command})
    job.fails(exit_codes.NO_OUTPUT, f"ended well but left no kfalignment.root: {direction} {direction} (log: ")


def test_geometry_and_tag_are_those_of_the_year(make_job: MakeJob) -> None:
    """2022 has its own geometry and conditions tag, 2023 and later share theirs; the configuration can override both."""
    job = make_job({"calypso": {}, "backend": "command", "command": "run {output} {geometry}"})
    settings = job.record["config"]["reconstruction"]
    assert conditions(settings, 2022) == ("FASERNU-03", "OFLCOND-FASER-04")
    assert conditions(settings, 2023) == conditions(settings, 2025) == ("FASERNU-04", "OFLCOND-FASER-05")
    settings["calypso"] |= {"geometry": "FASERNU-05", "reconstruct_options": ["--geom={geometry}", "a b"]}
    assert conditions(settings, 2025) == ("FASERNU-05", "OFLCOND-FASER-05")
    settings["backend"] = "calypso"
    assert "--output_level INFO --geom=FASERNU-05 'a b')\n" in render_wrapper(job.record)


@pytest.mark.parametrize(
    ("stations", "table", "calypso", "options"),
    [
        (4, {}, {}, "--alignment --noBackward --output_level INFO"),
        (3, {"direction": "backward"}, {}, "--alignment --noForward --noIFT --output_level INFO"),
        (
            *(4, {"direction": "backward", "verbosity": "DEBUG"}, {"reconstruct_options": ["--cond", "{tag}"]}),
            "--alignment --noForward --output_level DEBUG --cond OFLCOND-FASER-05",
        ),
        (
            *(4, {}, {"reconstruct_without": ["--output_level"], "reconstruct_options": ["-v"]}),
            "--alignment --noBackward -v",
        ),
    ],
)
def test_options_of_the_reconstruction(
    make_job: MakeJob, tmp_path: Path, stations: int, table: dict[str, Any], calypso: dict[str, Any], options: str
) -> None:
    """Direction, verbosity, added and removed options reach Calypso's script as `submit` prints them."""
    standard = Lxplus(tmp_path / "for its paths").reconstruction()["calypso"]
    assert isinstance(standard, dict)
    moved = {key: value.replace("for its paths", "lxplus of me") for key, value in standard.items()}
    job = make_job({**table, "calypso": moved | calypso}, campaign={"stations": stations})
    job.lxplus.raw(400, silent=True)
    done = job.run()
    assert done.returncode == exit_codes.NO_OUTPUT, done.stderr
    raw = job.lxplus.raw(400)
    assert Path(f"{raw}.options").read_text() == options
    assert reconstruct_options(job.record["config"]["reconstruction"], 2023, stations) == options.split()
    assert f"{raw} {options}\n" in done.stdout


def test_names_of_the_database_are_configuration(make_job: MakeJob, tmp_path: Path) -> None:
    """A checkout that writes FASER-05 works with matching `written` and `pool`; a wrong name of the POOL file is named."""
    job = make_job()
    job.lxplus.orders("write:05")
    calypso = job.record["config"]["reconstruction"]["calypso"]
    calypso |= {"written": "FASER-05_ALLP200.db", "pool": "FASER-05_Align.pool.root"}
    job.render()
    constants = layout.constants_file(str(job.folder), 1, 1)
    done = job.run("--database", constants, tmp_path / "made")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "made" / "data" / "poolcond" / "FASER-05_Align.pool.root").exists()
    assert "AtlCoolCopy FASER-05_ALLP200.db data/sqlite200/ALLP200.db, tag TRACKER-ALIGN-05" in done.stdout
    calypso["pool"] = "FASER-06_Align.pool.root"
    job.render()
    job.fails(exit_codes.DATABASE, "left no FASER-06_Align.pool.root")


def test_a_campaign_without_the_new_keys(make_job: MakeJob) -> None:
    """A campaign from before these keys is reconstructed as before."""
    job = make_job()
    settings = job.record["config"]["reconstruction"]
    del settings["direction"], settings["calypso"]["reconstruct_without"], settings["calypso"]["pool"]
    job.render()
    job.lxplus.raw(400, silent=True)
    job.fails(exit_codes.NO_OUTPUT, "the reconstruction ended well")
    assert Path(f"{job.lxplus.raw(400)}.options").read_text() == "--alignment --noBackward --output_level INFO"


def test_another_run_and_three_stations(make_job: MakeJob) -> None:
    """In a campaign of several runs a job reconstructs its own run's file, and its tracks have that run's name.

    With three stations the reconstruction leaves out the IFT.
    """
    file = 11706 * layout.RUN + 1
    job = make_job(numbers=(11705 * layout.RUN + 400, file), campaign={"stations": 3})
    raw = job.lxplus.raw(400)
    other = raw.parents[1] / "011706" / "Faser-Physics-011706-00001.raw"
    other.parent.mkdir()
    raw.replace(other)
    done = job.run(1, 1, file)
    assert done.returncode == 0, done.stderr
    assert job.outputs() == outputs_of("011706_00001")
    counts = read_counts(layout.mille_file(job.record["data"], 1, 1, "011706", 1) + ".json")
    assert counts.modules[:3].sum() == 0 < counts.modules[3:].sum()
