"""Test the cost of an iteration's reconstruction, from its job log."""

from pathlib import Path

import pytest

from faser_align.jobs.cost import reconstruction_cost

USED = "\t\tUsr {}, Sys {}  -  Run Remote Usage\n\t\tUsr 9 00:00:00, Sys 9 00:00:00  -  Total Remote Usage\n"


# Names of a job's node in logs of HTCondor 23.9 and 25.14.
NOTES = ("DAG Node: {}", '[ DAGNodeName = "{}"; JobBatchName = "alignment.dag+1" ]')


def _job(note: str, number: int, node: str, user: str, system: str) -> str:
    head = f"({number:03d}.000.000) 2026-11-25 10:56:59"
    return (
        f"000 {head} Job submitted from host: <127.0.0.1:1>\n    {note.format(node)}\n...\n"
        f"005 {head} Job terminated.\n\t(1) Normal termination (return value 0)\n{USED.format(user, system)}...\n"
    )


@pytest.mark.parametrize("note", NOTES)
def test_cpu_time_of_an_iteration_is_summed(note: str, tmp_path: Path) -> None:
    """User and system time of all reconstruction jobs of the iteration count, including repeated ones, and no others."""
    jobs = (
        ("reco_s1_i02_00400", "1 00:00:02", "0 00:01:00"),
        ("reco_s1_i02_00400", "0 01:00:00", "0 00:00:00"),
        ("reco_s1_i01_00400", "0 00:00:09", "0 00:00:00"),
        ("mille_s1_i02", "0 00:00:09", "0 00:00:00"),
        ("somebody's", "0 00:00:09", "0 00:00:00"),
    )
    log = "".join(_job(note, number, *job) for number, job in enumerate(jobs, 1))
    (tmp_path / "jobs.log").write_text(log + "005 (1\x00 cut off")
    assert reconstruction_cost(str(tmp_path), 1, 2) == {"cpu_s": 86_400 + 2 + 60 + 3600, "jobs": 2}


def test_no_log_no_cost(tmp_path: Path) -> None:
    """Without a log, or without a job of the iteration in it, there is no cost."""
    assert reconstruction_cost(str(tmp_path), 1, 1) == {}
    (tmp_path / "jobs.log").write_text("")
    assert reconstruction_cost(str(tmp_path), 1, 1) == {}
