"""The names of a campaign's files, folders and nodes; the one place that knows them.

Standard library only, and little of it: every hook loads this module.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Record = Mapping[str, Any]

RECORD = "campaign.json"  # what was submitted: made once, read by jobs and hooks
CONFIG = "campaign.toml"  # the user's configuration, copied at submission
DAG = "alignment.dag"  # the first one; an extension brings the next, see ``dag_files``
ENDING_NODES_LOG, ENDING_DAGMAN_OUT, ENDING_HALT = ".nodes.log", ".dagman.out", ".halt"  # what DAGMan puts beside a DAG
ENDING_LOCK = ".lock"  # left by a DAGMan that did not end by itself
ENDING_DAGMAN_LOG = ".dagman.log"  # HTCondor's event log of the DAGMan job itself
NODES_LOG = DAG + ENDING_NODES_LOG
DAGMAN_OUT = DAG + ENDING_DAGMAN_OUT
SUBMITTED = "submitted.json"  # which schedd has the DAGMan
CHANGES = "changes.json"  # what `set`, `extend` and `move` changed in the record
STOP = "stop.json"  # the wish to stop after an iteration
CONTROL_LOCK = "control.lock"  # held while a command submits a DAGMan
WRAPPER = "reconstruct.sh"  # what a reconstruction job runs, unless it simulates
JOB_LOG = "jobs.log"  # HTCondor's event log of all jobs; goes on over a rescue
STATE = "state.db"
REDO = "redo.log"  # every transaction of the state database
STATE_LOCK = "state.lock"  # the queue of who writes
STATE_DOOR = "state.door"  # taken by who writes in his turn, and by who reads
OUTBOX_LOCK = "outbox.lock"
PUBLISHED = "published.db"
SPOOL = "spool"
HOOKS_LOG = "hooks.log"
SCRIPTS_LOG = "scripts.log"
PASSING = "passing"  # which process of DAGMan was the first to pass a node over (hooks.passing)
JOBSTATE_LOG = "jobstate.log"  # DAGMan's own account of its nodes; goes on over a rescue

CONSTANTS = "inputforalign.txt"
METRICS = "metrics.json"
PLOT = "convergence.png"  # beside the metrics: how the campaign converged up to there
RECO, KFALIGNMENT, MILLEPEDE = "1reco", "2kfalignment", "3millepede"
LOGS = "logs"  # below 1reco and 3millepede: what the jobs printed
PASSED = "passed"  # ending of the mark for a job that is to end at once
FINAL_NODE = "final"

VALIDATION = 0  # stands for a stage: the validation's two reconstructions are its iterations
BEFORE, AFTER = 1, 2  # with the first constants, with the last ones
VALIDATE_NODE = "validate"
_HALVES = ("", "before", "after")

RUN = 100_000  # a raw file of a campaign of several runs is numbered run * RUN + its number in the run


def raw(run: str, file: int) -> tuple[str, int]:
    """Run (six digits) and number in it of a raw file; ``run`` is that of a campaign with one run only."""
    return (f"{file // RUN:06d}", file % RUN) if file >= RUN else (run, file)


def raw_name(file: int) -> str:
    """A raw file in words: ``400``, or ``1 of run 011706`` in a campaign of several runs."""
    return f"{file % RUN} of run {file // RUN:06d}" if file >= RUN else str(file)


def _raw(file: int) -> str:
    """A raw file in names of nodes: ``00400`` or ``011706_00001``."""
    return f"{file // RUN:06d}_{file % RUN:05d}" if file >= RUN else f"{file:05d}"


def dag_name(number: int) -> str:
    """Name of the DAG file of the campaign (1) or of one of its extensions (2, 3, ...)."""
    stem, _, ending = DAG.rpartition(".")
    return DAG if number == 1 else f"{stem}-{number:02d}.{ending}"


def dag_files(folder: str) -> "list[str]":
    """Names of the campaign's DAG files, the oldest first: that of its submission, then those of its extensions."""
    found: list[str] = []
    while not found or os.path.exists(f"{folder}/{dag_name(len(found) + 1)}"):
        found.append(dag_name(len(found) + 1))
    return found


def newest_dag(folder: str) -> str:
    """Path of the DAG file that runs or ran last: what `resume` submits, and beside which DAGMan writes its logs."""
    return f"{folder}/{dag_files(folder)[-1]}"


def reco_node(stage: int, iteration: int, file: int) -> str:
    """Name of the node that reconstructs raw file ``file`` in an iteration."""
    if stage == VALIDATION:
        return f"{_HALVES[iteration]}_{_raw(file)}"
    return f"reco_s{stage}_i{iteration:02d}_{_raw(file)}"


def mille_node(stage: int, iteration: int) -> str:
    """Name of the node that solves an iteration, or that compares what the validation has reconstructed."""
    if stage == VALIDATION:
        return VALIDATE_NODE
    return f"mille_s{stage}_i{iteration:02d}"


def parse_node(name: str) -> tuple[str, int, int, int]:
    """Split a node's name into (kind, stage, iteration, file).

    kind is ``reco``, ``mille``, ``validate`` or ``final``; file is -1 except for ``reco``; stage and iteration
    are 0 for ``final``. Raises ValueError for a name that is none of ours.
    """
    if name == FINAL_NODE:
        return ("final", 0, 0, -1)
    if name == VALIDATE_NODE:
        return ("validate", VALIDATION, AFTER, -1)
    parts = name.split("_")
    if parts[0] in ("before", "after") and len(parts) in (2, 3):
        return ("reco", VALIDATION, _HALVES.index(parts[0]), _file(parts[1:]))
    if len(parts) >= 3 and parts[1][:1] == "s" and parts[2][:1] == "i":
        stage, iteration = int(parts[1][1:]), int(parts[2][1:])
        if parts[0] == "reco" and len(parts) in (4, 5):
            return ("reco", stage, iteration, _file(parts[3:]))
        if parts[0] == "mille" and len(parts) == 3:
            return ("mille", stage, iteration, -1)
    raise ValueError(f"{name!r} is not a node of a campaign")


def _file(digits: "list[str]") -> int:
    """The raw file whose number, or run and number, stand in a node's name."""
    return int(digits[0]) if len(digits) == 1 else int(digits[0]) * RUN + int(digits[1])


def iterations(record: "Record") -> "list[tuple[int, int]]":
    """(stage, iteration) of all iterations of a campaign in the order of their work, the validation's two at the end."""
    if "only" in record:  # one iteration's reconstruction, solved by hand
        return [(1, record["only"])]
    found = [
        (stage, number)
        for stage, described in enumerate(record["stages"], start=1)
        for number in range(1, described["iterations"] + 1)
    ]
    return [*found, (VALIDATION, BEFORE), (VALIDATION, AFTER)] if "validation" in record else found


def files_of(record: "Record", stage: int) -> "list[int]":
    """Raw files that are reconstructed in a stage; in the validation also those that were not used before."""
    found: list[int] = record["validation"]["files"] if stage == VALIDATION else record["files"]
    return found


def stations_of(record: "Record", stage: int) -> int:
    """Stations of the tracks of a stage; the validation's are those of the last one."""
    described = record["stages"][stage - 1]  # -1 for the validation: the last
    return int(described.get("stations", record["stations"]))


def iteration_folder(root: str, stage: int, iteration: int) -> str:
    """Folder of an iteration below ``root`` (the campaign's or its data's folder)."""
    if stage == VALIDATION:
        return f"{root}/validation/{_HALVES[iteration]}"
    return f"{root}/iter{iteration:02d}" if stage == 1 else f"{root}/stage{stage:02d}/iter{iteration:02d}"


def kfalignment_file(root: str, stage: int, iteration: int, run: str, file: int) -> str:
    """ROOT file that a reconstruction writes."""
    run, file = raw(run, file)
    return f"{iteration_folder(root, stage, iteration)}/{KFALIGNMENT}/kfalignment_{run}_{file:05d}.root"


def mille_file(root: str, stage: int, iteration: int, run: str, file: int) -> str:
    """Mille binary made from that ROOT file; its counts lie beside it as ``<name>.json``."""
    run, file = raw(run, file)
    return f"{iteration_folder(root, stage, iteration)}/{KFALIGNMENT}/mp2input_{run}_{file:05d}.bin"


def constants_file(root: str, stage: int, iteration: int) -> str:
    """Constants with which an iteration reconstructs."""
    return f"{iteration_folder(root, stage, iteration)}/{RECO}/{CONSTANTS}"


def result_file(root: str, stage: int, iteration: int) -> str:
    """Constants that an iteration found: those it started from plus its correction."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{CONSTANTS}"


def metrics_file(root: str, stage: int, iteration: int) -> str:
    """Metrics that the Millepede job of an iteration wrote."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{METRICS}"


def plot_file(root: str, stage: int, iteration: int) -> str:
    """Picture of the convergence that the Millepede job of an iteration drew, if it could."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{PLOT}"


def lost_file(root: str, stage: int, iteration: int) -> str:
    """JSON list of the raw files that an iteration goes without, written before its Millepede job."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/lost.json"


def job_log(folder: str, node: str, ending: str) -> str:
    """What a node's job wrote: ``ending`` is ``out`` or ``err``; ``log`` is what its programs printed, if it failed."""
    kind, stage, iteration, _ = parse_node(node)
    part = RECO if kind == "reco" else MILLEPEDE
    return f"{iteration_folder(folder, stage, iteration)}/{part}/logs/{node}.{ending}"


def solver_logs(folder: str, node: str) -> "list[str]":
    """Return where the solver of a Millepede node prints: pede to ``millepede.out``, both solvers to ``millepede.log``."""
    _, stage, iteration, _ = parse_node(node)
    place = f"{iteration_folder(folder, stage, iteration)}/{MILLEPEDE}"
    return [f"{place}/millepede.out", f"{place}/millepede.log"]


def passed_file(folder: str, node: str) -> str:
    """Mark for the job of a node that is passed over: it is to end at once."""
    return job_log(folder, node, PASSED)
