"""Define the names of a campaign's files, folders and nodes.

Standard library only, and little of it, because every script imports this module.
"""

import os

from faser_align.fsm import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Record = Mapping[str, Any]

RECORD = "campaign.json"  # the manifest: written once, read by jobs and scripts
CONFIG = "campaign.toml"  # the user's configuration, copied at submission
DAG = "alignment.dag"  # the first DAG file; each extension adds one, see ``dag_files``
ENDING_NODES_LOG, ENDING_DAGMAN_OUT, ENDING_HALT = ".nodes.log", ".dagman.out", ".halt"  # beside a DAG
ENDING_LOCK = ".lock"  # left by a DAGMan that was killed
ENDING_DAGMAN_LOG = ".dagman.log"  # HTCondor's event log of the DAGMan job itself
NODES_LOG = DAG + ENDING_NODES_LOG
DAGMAN_OUT = DAG + ENDING_DAGMAN_OUT
SUBMITTED = "submitted.json"  # which schedd has the DAGMan
CHANGES = "changes.json"  # what `set`, `extend` and `move` changed in the manifest
STOP = "stop.json"  # request to stop after an iteration
CONTROL_LOCK = "control.lock"  # held while a command submits a DAGMan
WRAPPER = "reconstruct.sh"  # script of a reconstruction job, unless it simulates
JOB_LOG = "jobs.log"  # HTCondor's event log of all jobs; a rescue DAG appends to it
STATE = "state.db"
REDO = "redo.log"  # every transaction of the state database
STATE_LOCK = "state.lock"  # FIFO lock of the writers
COMMIT_LOCK = "state.door"  # commit lock: held by the writer whose turn it is, and by readers
OUTBOX_LOCK = "outbox.lock"
PUBLISHED = "published.db"
SPOOL = "spool"
HOOKS_LOG = "hooks.log"
SCRIPTS_LOG = "scripts.log"
PASSING = "passing"  # which DAGMan process first skipped a node (hooks.skip_guard)
JOBSTATE_LOG = "jobstate.log"  # DAGMan's own log of its nodes; a rescue DAG appends to it

CONSTANTS = "inputforalign.txt"
METRICS = "metrics.json"
NORMAL = "normal.npz"  # normal equations of a stage's last iteration, beside the metrics
FIGURES = "figures.json.gz"  # data of the figures, beside the metrics
PLOT = "convergence.png"  # plot of the convergence, beside the metrics
RECO, KFALIGNMENT, MILLEPEDE = "1reco", "2kfalignment", "3millepede"
LOGS = "logs"  # below 1reco and 3millepede: output of the jobs
PASSED = "passed"  # suffix of the mark that makes a job end at once
FINAL_NODE = "final"

VALIDATION = table.VALIDATION
BEFORE, AFTER = 1, 2  # with the first constants, with the last constants
VALIDATE_NODE = "validate"
_HALVES = ("", "before", "after")

RUN = 100_000  # in campaigns of several runs a raw file has the number run * RUN + its number in the run


def raw(run: str, file: int) -> tuple[str, int]:
    """Return run (six digits) and number of a raw file; ``run`` is used for campaigns with one run only."""
    return (f"{file // RUN:06d}", file % RUN) if file >= RUN else (run, file)


def raw_name(file: int) -> str:
    """Return a raw file's name for people: ``400``, or ``1 of run 011706`` in a campaign of several runs."""
    return f"{file % RUN} of run {file // RUN:06d}" if file >= RUN else str(file)


def _raw(file: int) -> str:
    """Return a raw file as in node names: ``00400`` or ``011706_00001``."""
    return f"{file // RUN:06d}_{file % RUN:05d}" if file >= RUN else f"{file:05d}"


def dag_name(number: int) -> str:
    """Return the name of the campaign's DAG file (1) or of one of its extensions (2, 3, ...)."""
    stem, _, ending = DAG.rpartition(".")
    return DAG if number == 1 else f"{stem}-{number:02d}.{ending}"


def dag_files(folder: str) -> "list[str]":
    """Return the names of the campaign's DAG files, oldest first."""
    names: list[str] = []
    while not names or os.path.exists(f"{folder}/{dag_name(len(names) + 1)}"):
        names.append(dag_name(len(names) + 1))
    return names


def newest_dag(folder: str) -> str:
    """Return the path of the newest DAG file, which `resume` submits and beside which DAGMan writes its logs."""
    return f"{folder}/{dag_files(folder)[-1]}"


def reco_node(stage: int, iteration: int, file: int) -> str:
    """Return the name of the node that reconstructs raw file ``file`` in an iteration."""
    if stage == VALIDATION:
        return f"{_HALVES[iteration]}_{_raw(file)}"
    return f"reco_s{stage}_i{iteration:02d}_{_raw(file)}"


def mille_node(stage: int, iteration: int) -> str:
    """Return the name of the node that solves an iteration or evaluates the validation."""
    if stage == VALIDATION:
        return VALIDATE_NODE
    return f"mille_s{stage}_i{iteration:02d}"


def parse_node(name: str) -> tuple[str, int, int, int]:
    """Split a node name into (kind, stage, iteration, file).

    kind is ``reco``, ``mille``, ``validate`` or ``final``; file is -1 except for ``reco``; stage and iteration are 0
    for ``final``. Raises ValueError for any other name.
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
    """Return the raw file given by the number, or run and number, in a node name."""
    return int(digits[0]) if len(digits) == 1 else int(digits[0]) * RUN + int(digits[1])


def iterations(record: "Record") -> "list[tuple[int, int]]":
    """Return (stage, iteration) of all iterations in order of execution, the validation's two last."""
    if "only" in record:  # only the reconstruction of one iteration, solved by hand
        return [(1, record["only"])]
    pairs = [
        (stage, number)
        for stage, described in enumerate(record["stages"], start=1)
        for number in range(1, described["iterations"] + 1)
    ]
    return [*pairs, (VALIDATION, BEFORE), (VALIDATION, AFTER)] if "validation" in record else pairs


def files_of(record: "Record", stage: int) -> "list[int]":
    """Return the raw files that a stage reconstructs; the validation is stage 0."""
    files: list[int] = record["validation"]["files"] if stage == VALIDATION else record["files"]
    return files


def requested_files(record: "Record") -> "list[int]":
    """Return all submitted raw files, those held back for the validation included."""
    return sorted([*record["files"], *record.get("validation", {}).get("held_back", ())])


def stations_of(record: "Record", stage: int) -> int:
    """Return the number of stations of a stage's tracks; the validation uses that of the last stage."""
    described = record["stages"][stage - 1]  # -1 for the validation: the last
    return int(described.get("stations", record["stations"]))


def iteration_folder(root: str, stage: int, iteration: int) -> str:
    """Return the folder of an iteration below ``root`` (the campaign's folder or its data folder)."""
    if stage == VALIDATION:
        return f"{root}/validation/{_HALVES[iteration]}"
    return f"{root}/iter{iteration:02d}" if stage == 1 else f"{root}/stage{stage:02d}/iter{iteration:02d}"


def kfalignment_file(root: str, stage: int, iteration: int, run: str, file: int) -> str:
    """Return the ROOT file with the tracks of a raw file."""
    run, file = raw(run, file)
    return f"{iteration_folder(root, stage, iteration)}/{KFALIGNMENT}/kfalignment_{run}_{file:05d}.root"


def mille_file(root: str, stage: int, iteration: int, run: str, file: int) -> str:
    """Return the Mille binary made from that ROOT file; its counts are in ``<name>.json`` beside it."""
    run, file = raw(run, file)
    return f"{iteration_folder(root, stage, iteration)}/{KFALIGNMENT}/mp2input_{run}_{file:05d}.bin"


def histograms_file(binary: str) -> str:
    """Return the file of the histograms of a Mille binary's tracks, beside it."""
    return f"{os.path.splitext(binary)[0]}.histograms.npz"


def constants_file(root: str, stage: int, iteration: int) -> str:
    """Return the file of constants with which an iteration reconstructs."""
    return f"{iteration_folder(root, stage, iteration)}/{RECO}/{CONSTANTS}"


def result_file(root: str, stage: int, iteration: int) -> str:
    """Return the file of an iteration's resulting constants: those it started from plus its correction."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{CONSTANTS}"


def metrics_file(root: str, stage: int, iteration: int) -> str:
    """Return the file of metrics that an iteration's Millepede job writes."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{METRICS}"


def normal_file(root: str, stage: int, iteration: int) -> str:
    """Return the file of the normal equations that an iteration's Millepede job writes."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{NORMAL}"


def figures_file(root: str, stage: int, iteration: int) -> str:
    """Return the file with the data of an iteration's figures; of a validation one for each set of constants."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{FIGURES}"


def plot_file(root: str, stage: int, iteration: int) -> str:
    """Return the file of the convergence plot that an iteration's Millepede job draws, if it can."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/{PLOT}"


def lost_file(root: str, stage: int, iteration: int) -> str:
    """Return the JSON list of an iteration's dropped raw files, written before its Millepede job."""
    return f"{iteration_folder(root, stage, iteration)}/{MILLEPEDE}/lost.json"


def job_log(folder: str, node: str, ending: str) -> str:
    """Return a log of a node's job: ``out``, ``err``, or ``log`` with the output of its programs if it failed."""
    kind, stage, iteration, _ = parse_node(node)
    part = RECO if kind == "reco" else MILLEPEDE
    return f"{iteration_folder(folder, stage, iteration)}/{part}/logs/{node}.{ending}"


def solver_logs(folder: str, node: str) -> "list[str]":
    """Return where the solver of a Millepede node prints: pede to ``millepede.out``, both solvers to ``millepede.log``."""
    _, stage, iteration, _ = parse_node(node)
    place = f"{iteration_folder(folder, stage, iteration)}/{MILLEPEDE}"
    return [f"{place}/millepede.out", f"{place}/millepede.log"]


def passed_file(folder: str, node: str) -> str:
    """Return the mark that makes the job of a skipped node end at once."""
    return job_log(folder, node, PASSED)
