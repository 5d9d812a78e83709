"""Test repairs from DAGMan's logs alone of scripts that were killed, overtaken or never ended, within one second."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, metrics, write_metrics, write_output
from stored import rows

from faser_align.campaign import changes, layout
from faser_align.state.create import create_store
from faser_align.state.repair import rebuild as repair
from faser_align.state.repair.order import script_runs
from faser_align.state.repair.report import report, sentences

Record = dict[str, Any]
AT_S = 1795604944
RECO, MILLE = layout.reco_node(1, 1, 400), layout.mille_node(1, 1)
BEGIN = "INTERNAL *** DAGMAN_STARTED 12.0 ***"


class Story:
    """A campaign of one iteration without a database, whose logs a test writes line by line."""

    def __init__(self, folder: Path, *, files: int = 1, min_files: float = 1.0) -> None:
        config = {"campaign": {"iterations": 1}, "htcondor": {"retries": 2}, "reconstruction": {"min_files": min_files}}
        self.record = make_campaign(folder, files=files, config=config)
        self.folder = folder
        for name in (layout.STATE, layout.PUBLISHED, layout.REDO):
            (folder / name).unlink(missing_ok=True)

    def jobstate(self, *lines: str) -> None:
        with (self.folder / layout.JOBSTATE_LOG).open("a") as log:
            log.writelines(f"{AT_S} {line}\n" for line in lines)

    def scripts(self, *ended: tuple[str, str, int, str]) -> None:
        """Write scripts in the order of their ends: node, PRE or POST, status of waitpid(), macros."""
        with (self.folder / layout.SCRIPTS_LOG).open("a") as log:
            for node, kind, status, macros in ended:
                phase = "final" if node == layout.FINAL_NODE else kind.lower()
                command = f"python run.py {phase} {self.folder} {node} {macros}"
                log.write(f"*** Node={node} Type={kind} Status={status} Completion={AT_S} Cmd='{command}'\n")

    def dagman(self, dag_id: str, *lines: str, dag: str = layout.DAG) -> None:
        with (self.folder / (dag + layout.ENDING_DAGMAN_OUT)).open("a") as log:
            begin = f"** condor_scheduniv_exec.{dag_id} (CONDOR_DAGMAN) STARTING UP"
            log.writelines(f"11/25/26 11:09:04 {line}\n" for line in (begin, *lines))

    def metrics(self, iteration: int) -> None:
        write_metrics(self.record, metrics(2, files=1) | {"iteration": iteration})

    def rebuilt(self) -> repair.Rebuilt:
        return repair.rebuild(str(self.folder), self.record, tempfile.mkdtemp(dir=self.folder.parent))

    def rows(self, sql: str) -> list[Any]:
        """Return rows of the database that a repair makes."""
        return rows(self.rebuilt().path, sql)


def reconstructed(node: str = RECO, job: str = "13.0") -> tuple[str, ...]:
    return (
        f"{node} PRE_SCRIPT_SUCCESS - - - 1",
        f"{node} JOB_SUCCESS 0 - - 1",
        f"{node} POST_SCRIPT_SUCCESS {job} - - 1",
    )


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "c")


@pytest.mark.parametrize("waited", [True, False])
def test_a_removal_during_the_last_millepede_post(story: Story, waited: bool) -> None:
    """A POST that ends before FINAL decides, whenever FINAL began, even if DAGMan did not read the end of that POST."""
    story.metrics(1)
    end = ("mille_s1_i01 POST_SCRIPT_SUCCESS 14.0 - - 2",) if waited else ()
    story.jobstate(
        *(BEGIN, *reconstructed(), f"{MILLE} PRE_SCRIPT_SUCCESS - - - 2", f"{MILLE} JOB_SUCCESS 0 - - 2"),
        *(f"{MILLE} POST_SCRIPT_STARTED 14.0 - - 2", "final PRE_SCRIPT_STARTED - - - 3"),
        *("final PRE_SCRIPT_FAILURE - - - 3", *end),
    )
    story.scripts((MILLE, "POST", 0, "0 2 0 14.0 0"), (layout.FINAL_NODE, "PRE", 1024, "4 0"))
    made = story.rebuilt()
    assert rows(made.path, "SELECT state FROM campaign") == [("exhausted",)]
    assert rows(made.path, "SELECT verdict FROM iterations") == [("limit",)]
    assert made.closed == ""


def test_a_stop_as_a_millepede_node_begins(story: Story) -> None:
    """A PRE that ends between FINAL's start and end resumes nothing, and the extension after it is applied."""
    story.jobstate(
        *(BEGIN, *reconstructed(), f"{MILLE} PRE_SCRIPT_STARTED - - - 2", "final PRE_SCRIPT_STARTED - - - 3"),
        *(f"{MILLE} PRE_SCRIPT_SUCCESS - - - 2", "final PRE_SCRIPT_FAILURE - - - 3"),
    )
    story.scripts((MILLE, "PRE", 0, "0 2"), (layout.FINAL_NODE, "PRE", 1024, "4 0"))
    _extend(story)
    made = story.rebuilt()
    assert rows(made.path, "SELECT event FROM history WHERE subject = 'campaign' ORDER BY id LIMIT 6") == [
        *(("created",), ("submitted",), ("reconstruction_started",), ("solving_started",), ("final_removed",)),
        ("extended",),
    ]
    assert rows(made.path, "SELECT state, iteration FROM campaign") == [("exhausted", 2)]
    assert made.refused == ()


def _extend(story: Story) -> None:
    """Add an iteration in its own DAG, and a DAGMan that completes it."""
    second = layout.dag_name(2)
    (story.folder / second).write_text("")
    about = {"id": "1", "utc": "2026-11-25T11:09:04.900Z", "who": "me", "host": "ap"}
    changes.write(str(story.folder), [{**about, "key": changes.iterations_key(1), "before": 1, "after": 2}])
    layout_of = Path(layout.iteration_folder(str(story.folder), 1, 2), layout.MILLEPEDE)
    layout_of.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        story.metrics(number)
    story.dagman("12.0")
    story.dagman("20.0", dag=second)
    two, mille = layout.reco_node(1, 2, 400), layout.mille_node(1, 2)
    story.jobstate(
        "INTERNAL *** DAGMAN_STARTED 20.0 ***",
        *reconstructed(MILLE, "21.0"),
        *reconstructed(two, "22.0"),
        *reconstructed(mille, "23.0"),
        "final PRE_SCRIPT_SUCCESS - - - 9",
    )


def test_an_extension_proves_an_end(story: Story) -> None:
    """A DAGMan without FINAL has an end if the campaign was extended, and the new nodes exist."""
    story.jobstate(BEGIN, *reconstructed(), f"{MILLE} PRE_SCRIPT_SUCCESS - - - 2")
    _extend(story)
    made = story.rebuilt()
    assert rows(made.path, "SELECT state, iteration FROM campaign") == [("exhausted", 2)]
    assert rows(made.path, "SELECT count(*) FROM history WHERE event = 'final_failed' AND ignored = ''") == [(1,)]


def test_a_later_dagman_proves_an_end(story: Story) -> None:
    """A DAGMan that another one followed is closed once, as its own log says."""
    story.metrics(1)
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", "INTERNAL *** DAGMAN_STARTED 20.0 ***")
    story.jobstate(*reconstructed(), *reconstructed(MILLE, "14.0"), "final PRE_SCRIPT_SUCCESS - - - 9")
    made = story.rebuilt()
    ends = "SELECT event FROM history WHERE event IN ('final_failed', 'resumed') ORDER BY id"
    assert rows(made.path, ends) == [("final_failed",), ("resumed",)]
    assert rows(made.path, "SELECT state FROM campaign") == [("exhausted",)]


@pytest.mark.parametrize("log", ["scripts", "dagman"])
def test_a_post_that_was_killed_is_no_success(story: Story, log: str) -> None:
    """A POST that died on a signal has decided nothing: the campaign has no decision, and fails."""
    story.metrics(1)
    lines = [f"{MILLE} PRE_SCRIPT_SUCCESS - - - 2", f"{MILLE} JOB_SUCCESS 0 - - 2"]
    if log == "scripts":
        story.jobstate(BEGIN, *reconstructed(), *lines, f"{MILLE} POST_SCRIPT_FAILURE 14.0 - - 2")
        story.jobstate("final PRE_SCRIPT_FAILURE - - - 3")
        story.scripts((MILLE, "POST", 9, "0 2 0 14.0 0"), (layout.FINAL_NODE, "PRE", 512, "2 1"))
    else:
        story.dagman(
            *("12.0", f"PRE Script of node {MILLE} completed successfully."),
            *(f"Event: ULOG_JOB_TERMINATED for HTCondor Node {MILLE} (14.0.0)",),
            *(
                f"Node {MILLE} job proc (14.0.0) completed successfully.",
                f"POST Script of node {MILLE} died on signal 9",
            ),
            *("Running PRE script of Node final...", "DAG status: 2 (DAG_STATUS_NODE_FAILED)"),
            *("PRE Script of Job final failed with status 2",),
        )
    made = story.rebuilt()
    assert rows(made.path, "SELECT verdict FROM iterations WHERE ended_utc != ''") == []
    assert rows(made.path, "SELECT outcome FROM attempts WHERE node LIKE 'mille%'") == [("",)]
    assert rows(made.path, "SELECT state FROM campaign") == [("failed",)]


def test_a_killed_post_whose_job_failed_has_its_end(story: Story) -> None:
    """A failed job's exit status decides, whatever happened to its POST."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_FAILURE 63 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_FAILURE 13.0 - - 1")
    story.scripts((RECO, "POST", 9, "0 2 63 13.0 0"))
    assert story.rows("SELECT outcome, return_value FROM attempts") == [("failed", 63)]


@pytest.mark.parametrize("resumed", [True, False])
def test_a_post_that_never_ended(story: Story, resumed: bool) -> None:
    """The attempt of a removed job whose POST DAGMan did not wait for has failed; it is not abandoned."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_FAILURE -1002 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_STARTED 13.0 - - 1", "final PRE_SCRIPT_FAILURE - - - 3")
    if resumed:
        story.jobstate("INTERNAL *** DAGMAN_STARTED 20.0 ***", f"{RECO} PRE_SCRIPT_SUCCESS - - - 1")
    found = story.rows("SELECT job_id, outcome, return_value FROM attempts WHERE attempt = 1")
    assert found == [("13.0", "failed", -1002)]


def test_a_pre_that_was_killed_has_begun_its_attempt(story: Story) -> None:
    """A PRE that died on a signal has opened its attempt, and the next PRE of the same DAGMan repeats it."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_FAILURE - - - 1")
    story.scripts((RECO, "PRE", 9, "0 2"))
    assert story.rows("SELECT node, attempt FROM attempts") == [(RECO, 1)]
    story.jobstate(*reconstructed())
    story.scripts((RECO, "PRE", 0, "1 2"), (RECO, "POST", 0, "1 2 0 13.0 0"))
    assert story.rows("SELECT attempt, job_id FROM attempts") == [(1, "13.0")]


def test_a_pre_that_never_ended_has_begun_its_attempt(story: Story) -> None:
    """A PRE that was killed with its DAGMan has opened an attempt, and the next DAGMan abandons it."""
    story.jobstate(
        BEGIN, f"{RECO} PRE_SCRIPT_STARTED - - - 1", "INTERNAL *** DAGMAN_STARTED 20.0 ***", *reconstructed()
    )
    found = story.rows("SELECT attempt, dag_id, outcome FROM attempts ORDER BY attempt")
    assert found == [(1, "12.0", "abandoned"), (2, "20.0", "succeeded")]


def test_a_job_that_was_removed_after_its_end(story: Story) -> None:
    """A POST has the exit status that DAGMan knew when it began, whatever condor_rm adds to the logs later."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_SUCCESS 0 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_STARTED 13.0 - - 1", f"{RECO} JOB_FAILURE -1002 - - 1")
    found = story.rows("SELECT job_id, outcome FROM attempts")
    assert found == [("", "")]  # it never ended, and its output decides


def test_events_that_do_not_fit_are_counted(story: Story) -> None:
    """Scripts of unknown nodes are named in the report, with their number."""
    story.jobstate(BEGIN, *reconstructed(), *reconstructed(layout.reco_node(1, 7, 400), "15.0"))
    made = story.rebuilt()
    assert len(made.refused) == 2
    found = report("c", made)
    assert json.loads(json.dumps(found))["refused"] == list(made.refused)
    named = "pre reco_s1_i07_00400: 'reco_s1_i07_00400' is not a node of this campaign (and 1 more)"
    assert f"2 events of DAGMan's logs not applied, because they do not fit: {named}" in sentences(found)


def test_scripts_end_in_the_order_of_their_log(story: Story) -> None:
    """If DAGMan reads the end of a POST late, the scripts' log still orders it before a PRE that ended after it."""
    other = layout.reco_node(1, 2, 400)
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_SUCCESS 0 - - 1")
    story.jobstate(f"{other} PRE_SCRIPT_SUCCESS - - - 2", f"{RECO} POST_SCRIPT_SUCCESS 13.0 - - 1")
    story.scripts((RECO, "PRE", 0, "0 2"), (RECO, "POST", 0, "0 2 0 13.0 0"), (other, "PRE", 0, "0 2"))
    found = [(one.phase, one.node) for one in script_runs(repair.read_logs(str(story.folder)))]
    assert found == [("dagman", ""), ("pre", RECO), ("post", RECO), ("pre", other)]


def test_a_post_that_began_while_final_ran_follows_it(story: Story) -> None:
    """A POST that begins while FINAL delivers messages ends before it and counts after it."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", "final PRE_SCRIPT_STARTED - - - 3")
    story.jobstate(f"{RECO} JOB_FAILURE -1002 - - 1", f"{RECO} POST_SCRIPT_STARTED 13.0 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_FAILURE 13.0 - - 1", "final PRE_SCRIPT_FAILURE - - - 3")
    story.scripts((RECO, "POST", 256, "0 2 -1002 13.0 0"), (layout.FINAL_NODE, "PRE", 1024, "4 0"))
    events = story.rows("SELECT event FROM history WHERE event IN ('failed', 'final_removed') ORDER BY id")
    assert events == [("final_removed",), ("failed",)]


def test_a_dagman_that_recovers_repeats_the_end_of_a_killed_post(story: Story) -> None:
    """A killed POST that a recovered DAGMan reports again is one run; one that begins again is another."""
    ends = f"POST Script of node {RECO} died on signal 9"
    job = f"Event: ULOG_JOB_TERMINATED for HTCondor Node {RECO} (13.0.0)"
    failed = f"Node {RECO} job proc (13.0.0) failed with status 63."
    story.dagman("12.0", f"PRE Script of node {RECO} completed successfully.", job, failed, ends)
    story.dagman("12.0", f"{job} {{11/25/26 11:09:04}} [recovery mode]", failed, ends)
    found = [one.phase for one in script_runs(repair.read_logs(str(story.folder)))]
    assert found == ["dagman", "pre", "post"]
    story.dagman("12.0", job, failed, f"Running POST script of Node {RECO}...", ends)
    assert [one.phase for one in script_runs(repair.read_logs(str(story.folder)))] == [*found, "post"]
    assert story.rows("SELECT job_id FROM attempts") == [("13.0",)]


@pytest.mark.parametrize("logged", [False, True])
def test_a_hold_script_that_dagman_repeats(story: Story, logged: bool) -> None:
    """A job has as many holds as the event log, however often DAGMan ran its HOLD script."""
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", *[f"{RECO} JOB_HELD 13.0 - - 1"] * 2)
    if logged:
        held = "012 (013.000.000) 2026-11-25 11:09:04 Job was held.\n\tquota\n...\n"
        (story.folder / layout.JOB_LOG).write_text(held)
    assert story.rows("SELECT json_extract(facts, '$.reason') FROM history WHERE event = 'held'") == (
        [("quota",)] if logged else [("",)]
    )


@pytest.mark.parametrize("removed", [False, True])
def test_a_final_that_never_ended(story: Story, removed: bool) -> None:
    """FINAL of a DAG whose node failed has closed the campaign as soon as it began, unless DAGMan was removed before."""
    failed = (
        f"Node {RECO} job proc (13.0.0) failed with status 61.",
        f"POST Script of node {RECO} failed with status 43",
    )
    (story.folder / (layout.DAG + layout.ENDING_DAGMAN_LOG)).write_text(
        "009 (012.000.000) 2026-11-25 11:09:05 Job was aborted.\n...\n"
    )
    signal = ["Received SIGUSR1"]
    lines = ["DAG status: 2 (DAG_STATUS_NODE_FAILED)", *signal * removed, "Running PRE script of Node final..."]
    story.dagman("12.0", *failed, *lines, *signal * (not removed))
    assert story.rows("SELECT state FROM campaign") == [("removed" if removed else "failed",)]


@pytest.mark.parametrize(
    ("told", "min_files", "outcome"),
    [
        *((0, m, "lost") for m in (0.5, 1.0)),
        *((43, m, "failed") for m in (0.5, 1.0)),
        (-9, 0.5, "lost"),
        (-9, 1.0, "failed"),
    ],
)
def test_a_file_was_dropped_if_its_post_succeeded(told: int, min_files: float, outcome: str, tmp_path: Path) -> None:
    """A POST that succeeded after a failed job dropped its file, one that failed did not, and a killed one did if it could."""
    story = Story(tmp_path / "c", files=2, min_files=min_files)
    story.jobstate(BEGIN, f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_FAILURE 61 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_{'FAILURE' if told else 'SUCCESS'} 13.0 - - 1")
    story.scripts((RECO, "PRE", 0, "0 2"), (RECO, "POST", told << 8 if told >= 0 else -told, "0 2 61 13.0 0"))
    assert story.rows("SELECT outcome FROM attempts") == [(outcome,)]


def test_a_dagman_that_recovers_names_jobs_it_reads_again(story: Story) -> None:
    """Lines that a recovered DAGMan reads again name the job of its POST, so no attempt without a job is added."""
    story.jobstate(BEGIN, *reconstructed())
    story.dagman(
        *("12.0", f"Event: ULOG_SUBMIT for HTCondor Node {RECO} (13.0.0) {{11/25/26 11:09:04}} [recovery mode]"),
        f"POST Script of node {RECO} completed successfully.",
    )
    assert story.rows("SELECT attempt, job_id FROM attempts") == [(1, "13.0")]


@pytest.mark.parametrize("value", [0, 63])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_copy_knows_what_killed_scripts_recorded(story: Story, value: int, recorded: bool) -> None:
    """A valid copy says whether a killed POST closed its attempt, and killed scripts add nothing to it."""
    create_store(str(story.folder), story.record)
    write_output(story.record, 1, 1, 400)
    lines = (f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_{'FAILURE' if value else 'SUCCESS'} {value} - - 1")
    story.jobstate(BEGIN, *lines, f"{RECO} POST_SCRIPT_FAILURE 13.0 - - 1", f"{RECO} PRE_SCRIPT_FAILURE - - - 1")
    story.jobstate(f"{RECO} PRE_SCRIPT_SUCCESS - - - 1", f"{RECO} JOB_FAILURE 63 - - 1")
    story.jobstate(f"{RECO} POST_SCRIPT_FAILURE 14.0 - - 1", *reconstructed(job="15.0"))
    story.scripts((RECO, "PRE", 0, "0 3"), (RECO, "POST", 9, f"0 3 {value} 13.0 0"), (RECO, "PRE", 9, "1 3"))
    story.scripts((RECO, "PRE", 0, "2 3"), (RECO, "POST", 63 << 8, "2 3 63 14.0 0"))
    story.scripts((RECO, "PRE", 0, "3 3"), (RECO, "POST", 0, "3 3 0 15.0 0"))
    hook("pre", story.folder, RECO, 0, 3)
    if recorded:
        hook("post", story.folder, RECO, 0, 3, value, "13.0", 0)
    hook("pre", story.folder, RECO, 2, 3)
    hook("post", story.folder, RECO, 2, 3, 63, "14.0", 0)
    older = (story.folder / layout.REDO).read_bytes()
    hook("pre", story.folder, RECO, 3, 3)
    expected = _attempts(story.folder / layout.STATE)
    hook("post", story.folder, RECO, 3, 3, 0, "15.0", 0)
    for name in (layout.STATE, layout.PUBLISHED):
        (story.folder / name).unlink()
    made = story.rebuilt()
    assert (made.made_from, made.taken, made.left_out) == ("the redo log", 0, 0)
    assert _attempts(made.path)[:-1] == expected[:-1]
    (story.folder / layout.REDO).write_bytes(older)
    made = story.rebuilt()
    assert (made.made_from, made.taken, made.left_out) == ("the redo log", 2, 0)
    assert _attempts(made.path)[:-1] == expected[:-1]


def _attempts(path: Path | str) -> list[Any]:
    return rows(path, "SELECT attempt, job_id, outcome FROM attempts ORDER BY attempt")
