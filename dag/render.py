"""Render a campaign's DAG from its manifest.

All iterations of all stages are in one flat DAG, so that DAGMan alone runs the campaign. Common settings are written
once, and the number of files does not grow with raw files x iterations.
"""

import json
import os
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Template

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.stored_types import Resources
from faser_align.dag.paths import check_path, encode_argument
from faser_align.dag.wrapper import has_wrapper
from faser_align.fsm import exit_codes
from faser_align.system import jinja

TEMPLATE, PROBE_TEMPLATE = "alignment.dag.j2", "probe.dag.j2"
PROBED = ("reco", "mille")  # kinds of jobs that `check --probe` submits


class Job(NamedTuple):
    """Input of a job kind's submit description; ``program`` runs in the campaign's folder."""

    kind: str
    executable: str
    program: str
    arguments: str
    logs: str
    resources: Resources

    @property
    def memory_max_mb(self) -> int:
        """Memory (MB) that a job gets after it was held for exceeding its memory; 0 if this does not change."""
        most = int(self.resources.get("memory_max_mb", 0))
        return most if most > self.resources["memory_mb"] else 0

    @property
    def accounting_group(self) -> str:
        """Accounting group of this kind of job; empty for the common group."""
        return str(self.resources.get("accounting_group", ""))


class Iteration(NamedTuple):
    """The nodes of one iteration, after ``before``; ``mille`` is empty if it is solved by hand."""

    stage: int
    number: int
    folder: str
    reco: list[tuple[int, str]]
    mille: str
    before: str
    ends_the_dag: bool


class Validation(NamedTuple):
    """The nodes of a validation: ``reco`` has (node, iteration, file, folder), ``node`` compares, after ``before``."""

    stage: int
    reco: list[tuple[str, int, int, str]]
    node: str
    iteration: int
    folder: str
    before: str


def render(record: Manifest, begin: tuple[int, int] = (1, 1), without: Collection[str] = frozenset()) -> str:
    """Return the DAG of the campaign with this manifest, or of an extension.

    It begins with (stage, iteration) ``begin``; nodes ``without`` of that iteration are omitted, because they are done.

    Raises UserError if the campaign's folder, the interpreter or the script has a path that a DAG does not support.
    """
    check_path(record["hook"], "faser-align's own folder", spaces=False)
    htcondor = record["config"]["htcondor"]
    return _template(TEMPLATE).render(
        **_described(record, list(_jobs(record))),
        hook=f"{record['python']} -I -S {record['hook']}",
        validation=_validation(record),
        iterations=_iterations(record, begin, without),
        final=layout.FINAL_NODE,
        statuses=exit_codes,
        retries=htcondor["retries"],
        retry_wait_s=htcondor.get("retry_wait_s", 0),
        max_running=htcondor["max_running"],
    )


def render_probe(record: Manifest, script: str) -> str:
    """Return the DAG of `check --probe`: a NOOP node with a PRE script, and one job of each kind.

    The jobs have the submit descriptions of the campaign's jobs; only the program differs. ``record`` is the
    manifest of a campaign in the probe's folder, ``script`` the path of the PRE script. Raises UserError as ``render`` does.
    """
    check_path(script, "faser-align's own folder", spaces=False)
    python, program = record["job_python"], "-I -m faser_align.jobs.probe ."
    jobs = [
        job._replace(executable=python, program=program, arguments="$(JOB)", logs=".")
        for job in _jobs(record)
        if job.kind in PROBED
    ]
    return _template(PROBE_TEMPLATE).render(**_described(record, jobs), script=f"{record['python']} -I -S {script}")


@cache
def _template(name: str) -> Template:
    templates = jinja.environment()
    # ClassAd's escapes of quotes and backslashes are those of JSON; in a submit description a dollar begins a macro.
    templates.filters["classad"] = lambda text: json.dumps(text, ensure_ascii=False)
    templates.filters["submit"] = lambda text: text.replace("$", "$(DOLLAR)")
    return templates.get_template(name)


def _described(record: Manifest, jobs: list[Job]) -> dict[str, Any]:
    """Return the input of the submit descriptions; raise UserError for a path that a DAG does not support."""
    folder, htcondor = record["folder"], record["config"]["htcondor"]
    check_path(folder, "the campaign's folder (campaign.folder)")
    check_path(record["python"], "the Python interpreter (python.hooks)", spaces=False)
    check_path(record["job_python"], "python.jobs")
    return {
        "campaign": record,
        "jobs": jobs,
        "files": {
            "jobstate": layout.JOBSTATE_LOG,
            "scripts": layout.SCRIPTS_LOG,
            "log": os.path.join(folder, layout.JOB_LOG),
        },
        "encoded_folder": encode_argument(folder),
        "releases": htcondor.get("releases", 0),
        "release_wait_s": htcondor.get("release_wait_s", 0),
        "scan_interval_s": htcondor["scan_interval_s"],
        "accounting_group": htcondor["accounting_group"],
    }


def _jobs(record: Manifest) -> Iterator[Job]:
    htcondor, logs = record["config"]["htcondor"], layout.LOGS
    python, module = record["job_python"], "-I -m faser_align.jobs.{} ."
    reco: tuple[str, str] = (
        ("/bin/bash", layout.WRAPPER) if has_wrapper(record) else (python, module.format("reconstruct"))
    )
    yield Job("reco", *reco, "$(stage) $(iteration) $(file)", f"{layout.RECO}/{logs}", htcondor["reco"])
    kinds = {"mille": "solve"} | ({"validate": "validate"} if "validation" in record else {})
    for kind, program in kinds.items():
        logs_folder = f"{layout.MILLEPEDE}/{logs}"
        yield Job(kind, python, module.format(program), "$(stage) $(iteration)", logs_folder, htcondor["mille"])


def _iterations(record: Manifest, begin: tuple[int, int], without: Collection[str]) -> Iterator[Iteration]:
    before = ""
    stages = record["stages"]
    for stage, description in enumerate(stages, start=1):
        for number in range(record.get("only", 1), description["iterations"] + 1):
            if (stage, number) < begin:
                continue
            mille = "" if "only" in record else layout.mille_node(stage, number)
            reco = [(file, layout.reco_node(stage, number, file)) for file in record["files"]]
            yield Iteration(
                stage=stage,
                number=number,
                folder=layout.iteration_folder("", stage, number).lstrip("/"),
                reco=[(file, node) for file, node in reco if node not in without],
                mille=mille,
                before=before,
                # A stage that converges before the last one is followed by the next: DAGMan must continue.
                ends_the_dag=stage == len(stages) and "validation" not in record,
            )
            before = mille


def _validation(record: Manifest) -> Validation | None:
    """Return the nodes of the validation; None for a campaign without one."""
    if "validation" not in record:
        return None
    stage, stages = layout.VALIDATION, record["stages"]
    folders = {half: layout.iteration_folder("", stage, half).lstrip("/") for half in (layout.BEFORE, layout.AFTER)}
    return Validation(
        stage=stage,
        reco=[
            (layout.reco_node(stage, half, file), half, file, folder)
            for half, folder in folders.items()
            for file in layout.files_of(record, stage)
        ],
        node=layout.VALIDATE_NODE,
        iteration=layout.AFTER,
        folder=folders[layout.AFTER],
        before=layout.mille_node(len(stages), stages[-1]["iterations"]),
    )
