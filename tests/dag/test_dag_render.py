"""Test the rendered DAG by parsing it."""

import re
from collections import Counter
from typing import Any

import pytest
from campaigns import manifest

from faser_align.config.load import parse_config
from faser_align.dag.paths import encode_argument
from faser_align.dag.render import render
from faser_align.fsm.errors import UserError

TWO_STAGES = '[[stages]]\nname = "a"\niterations = 2\n[[stages]]\nname = "b"\niterations = 3\n'


def make(text: str = "[campaign]\niterations = 3", *, files: int = 4, **changes: Any) -> dict[str, Any]:
    record = manifest(parse_config(text, "/x.toml"), "/var/camp", files=list(range(400, 400 + files)))
    return {**record, "python": "/v/python", "hook": "/v/hook.py", **changes}


def lines(dag: str, keyword: str) -> list[list[str]]:
    return [line.split() for line in dag.splitlines() if line.split()[:1] == [keyword]]


def edges(dag: str) -> set[tuple[str, str]]:
    found = set()
    for words in lines(dag, "PARENT"):
        middle = words.index("CHILD")
        found |= {(parent, child) for parent in words[1:middle] for child in words[middle + 1 :]}
    return found


def test_one_node_per_file_and_iteration_and_one_to_solve() -> None:
    """3 iterations of 4 files are 12 reconstruction and 3 Millepede nodes, each with its own variables."""
    dag = render(make())
    jobs = lines(dag, "JOB")
    assert Counter(words[2] for words in jobs) == {"reco": 12, "mille": 3}
    assert len({words[1] for words in jobs}) == 15
    assert [words[1] for words in lines(dag, "VARS")] == [words[1] for words in jobs]
    assert 'VARS reco_s1_i02_00403 stage="1" iteration="2" file="403" folder="iter02"' in dag.splitlines()
    assert 'VARS mille_s1_i03 stage="1" iteration="3" folder="iter03"' in dag.splitlines()


def test_iterations_follow_one_another() -> None:
    """Every reconstruction depends on the previous solution, every solution on all its reconstructions; no more edges."""
    expected = set()
    for iteration in (1, 2, 3):
        for file in range(400, 404):
            node = f"reco_s1_i{iteration:02d}_{file:05d}"
            expected.add((node, f"mille_s1_i{iteration:02d}"))
            if iteration > 1:
                expected.add((f"mille_s1_i{iteration - 1:02d}", node))
    assert edges(render(make())) == expected


def test_only_the_last_stage_can_end_the_dag() -> None:
    """Each Millepede node of the last stage has ABORT-DAG-ON once, and the stages are chained."""
    dag = render(make(TWO_STAGES))
    assert lines(dag, "ABORT-DAG-ON") == [
        ["ABORT-DAG-ON", f"mille_s2_i{iteration:02d}", "42", "RETURN", "0"] for iteration in (1, 2, 3)
    ]
    assert ("mille_s1_i02", "reco_s2_i01_00400") in edges(dag)
    assert 'VARS mille_s2_i03 stage="2" iteration="3" folder="stage02/iter03"' in dag.splitlines()


def test_all_nodes_have_their_scripts() -> None:
    """PRE, POST and HOLD are declared once for all nodes; FINAL has only a PRE, and no job."""
    dag = render(make())
    scripts = {tuple(words[4:6]): " ".join(words[6:]) for words in lines(dag, "SCRIPT")}
    start = "/v/python -I -S /v/hook.py"
    assert scripts == {
        ("PRE", "ALL_NODES"): f"{start} pre /var/camp $JOB $RETRY $MAX_RETRIES",
        ("POST", "ALL_NODES"): f"{start} post /var/camp $JOB $RETRY $MAX_RETRIES $RETURN $JOBID $PRE_SCRIPT_RETURN",
        ("HOLD", "ALL_NODES"): f"{start} hold /var/camp $JOB $JOBID $RETRY",
        ("PRE", "final"): f"{start} final /var/camp $JOB $DAG_STATUS $FAILED_COUNT",
    }
    assert lines(dag, "FINAL") == [["FINAL", "final", "mille", "NOOP"]]
    assert lines(dag, "PRE_SKIP") == [["PRE_SKIP", "ALL_NODES", "77"]]


def test_retries_are_the_dags_alone() -> None:
    """Only the DAG retries, except after fatal failures; no submit description does."""
    assert lines(render(make()), "RETRY") == [["RETRY", "ALL_NODES", "2", "UNLESS-EXIT", "43"]]
    dag = render(make("[htcondor]\nretries = 0"))
    assert lines(dag, "RETRY") == []
    assert "max_retries" not in dag


def test_optional_lines_stand_only_when_configured() -> None:
    """Throttle, scan interval, flavour, requirements and accounting group are written only if they are set."""
    words = ("MAXJOBS", "CATEGORY", "SCAN_INTERVAL", "JobFlavour", "requirements", "AccountingGroup")
    assert not [word for word in words if word in render(make("[htcondor]\nscan_interval_s = 0"))]
    text = '[htcondor]\nmax_running = 7\nscan_interval_s = 5\naccounting_group = "group_u_FASER.users"\n'
    text += '[htcondor.reco]\nflavour = "workday"\nrequirements = \'(OpSysAndVer =?= "AlmaLinux9")\'\n'
    dag = render(make(text))
    assert lines(dag, "MAXJOBS") == [["MAXJOBS", "jobs", "7"]]
    assert "ENV SET _CONDOR_DAGMAN_USER_LOG_SCAN_INTERVAL=5" in dag.splitlines()
    assert dag.count('+JobFlavour = "workday"') == 1
    assert dag.count('requirements = (OpSysAndVer =?= "AlmaLinux9")') == 1
    assert dag.count('+AccountingGroup = "group_u_FASER.users"') == 2
    dag = render(make(text + '[htcondor.mille]\naccounting_group = "group_u_FASER.few"\n'))
    groups = [words[-1] for words in lines(dag, "+AccountingGroup")]
    assert groups == ['"group_u_FASER.users"', '"group_u_FASER.few"']


def test_memory_waits_and_releases_are_configured() -> None:
    """A wait before a retry is DAGMan's deferral; more memory and releases are in the submit descriptions."""
    dag = render(make("[htcondor]\nreleases = 0"))
    assert not [word for word in ("DEFER", "periodic_release", "RequestMemory", "LastHoldReason") if word in dag]
    text = "[htcondor]\nretry_wait_s = 300\nreleases = 2\n[htcondor.reco]\nmemory_mb = 4000\nmemory_max_mb = 8000\n"
    dag = render(make(text))
    (pre,) = [words for words in lines(dag, "SCRIPT") if "PRE" in words and "ALL_NODES" in words]
    assert pre[:4] == ["SCRIPT", "DEFER", "75", "300"]
    assert pre[-1] == "300"
    assert dag.count("periodic_release = NumHolds <= 2 && ") == 2
    assert dag.count("=?= true, 8000, 4000)") == 1
    assert "request_memory = 1000MB" in dag


def test_jobs_have_their_own_interpreter() -> None:
    """Scripts and jobs can have different interpreters, and with Calypso bash runs the reconstruction."""
    dag = render(make(job_python="/j/python"))
    assert dag.count("executable = /j/python\n") == 2
    assert "/v/python -I -S /v/hook.py pre" in dag
    dag = render(make('[reconstruction]\nbackend = "command"\ncommand = "run {output}"', job_python="/j/python"))
    assert "executable = /bin/bash\n" in dag
    assert 'arguments = "reconstruct.sh $(stage) $(iteration) $(file)"' in dag
    assert 'arguments = "-I -m faser_align.jobs.solve . $(stage) $(iteration)"' in dag


def test_a_space_in_the_folder_is_encoded_where_dagman_splits() -> None:
    """Script lines encode the folder as one word; other lines have it unchanged."""
    dag = render(make(folder="/var/my camp 100%"))
    assert {words[11] for words in lines(dag, "SCRIPT")} == {"/var/my%20camp%20100%25"}
    assert "    initialdir = /var/my camp 100%" in dag.splitlines()
    assert encode_argument("%20 ") == "%2520%20"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folder": "/var/a$b"}, "the campaign's folder (campaign.folder) is /var/a$b"),
        ({"folder": '/var/a"b'}, "the campaign's folder"),
        ({"folder": "/var/a\nb"}, "the campaign's folder"),
        (
            {"python": "/my python/bin"},
            "the Python interpreter (python.hooks) is /my python/bin, but DAGMan cannot use a path with a",
        ),
        ({"hook": "/a b/run.py"}, "faser-align's own folder"),
    ],
)
def test_paths_that_a_dag_cannot_hold_are_refused(changes: dict[str, str], said: str) -> None:
    """A path that DAGMan would misread is refused in a sentence that names it."""
    with pytest.raises(UserError, match=re.escape(said)):
        render(make(**changes))


def test_the_dag_grows_by_lines_not_by_descriptions() -> None:
    """Two submit descriptions and four scripts serve any number of nodes; a node needs less than 160 bytes."""
    small, large = render(make(files=1)), render(make("[campaign]\niterations = 10", files=100))
    for keyword in ("SUBMIT-DESCRIPTION", "SCRIPT", "RETRY"):
        assert len(lines(small, keyword)) == len(lines(large, keyword))
    assert len(large) / 1010 < 160
