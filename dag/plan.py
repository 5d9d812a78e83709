"""Plan a campaign: check everything that it needs and write nothing."""

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faser_align.alignment.parameters.constants import parse_constants, read_constants
from faser_align.alignment.pede.keywords import check_lines
from faser_align.alignment.pede.steering_text import step_fixed
from faser_align.campaign import layout
from faser_align.campaign.data import by_run, hold_back
from faser_align.campaign.manifest import make_record
from faser_align.campaign.manifest_types import ForkedFrom, Manifest
from faser_align.config.files import format_files
from faser_align.config.schema import Config
from faser_align.config.solving import Solver
from faser_align.config.stages import UsedStage
from faser_align.dag.paths import check_path, check_steering
from faser_align.dag.render import render
from faser_align.fsm.errors import UserError
from faser_align.system.permissions import check_tree, check_trusted

NAME = re.compile(r"\w(?:[\w.,+=@ -]{0,98}[\w.,+=@-])?")
NAMED_AT_MOST = 3  # missing raw files named in an error message


@dataclass(frozen=True)
class Plan:
    """A campaign that can be made: its manifest, and the contents of its initial files."""

    record: Manifest
    constants: bytes
    configuration: str
    dag: str
    force: bool = False  # move aside what has its name already

    @property
    def folder(self) -> str:
        """Absolute path of the campaign's folder."""
        return str(self.record["folder"])

    @property
    def data(self) -> str:
        """Absolute path of the folder of large files; by default the campaign's."""
        return str(self.record["data"])


def campaign_name(config: Config, year: int, run: str, files: list[int], name: str = "") -> str:
    """Return the campaign's name: ``name`` if given, else from the configured template.

    Raises UserError if it cannot be the name of a folder.
    """
    campaign = config.campaign
    made = name or campaign.name.format(
        year=year,
        run=run,
        # Commas are awkward to type and to quote, so names join ranges differently; runs are joined by +.
        files="+".join(format_files(of_run).replace(",", "_") for of_run in by_run(run, files).values()),
        stations=campaign.stations,
        iterations=campaign.iterations,
        constants=os.path.splitext(os.path.basename(campaign.constants))[0],
    )
    if not NAME.fullmatch(made):
        shown = made if len(made) <= 60 else made[:57] + "..."
        wrong = dict.fromkeys(re.findall(r"[^\w.,+=@ -]", made))
        none_of = f", but not {' '.join(map(repr, wrong))}" if wrong else ""
        first = "" if re.match(r"\w", made) else "; it must begin with a letter or a digit"
        raise UserError(
            f"{shown!r} is not a valid campaign name; choose with --name at most 100 letters, digits, inner spaces and . , + = @ - _{none_of}{first}"
        )
    return made


def plan(
    config: Config,
    configuration: str,
    *,
    year: int,
    run: str,
    files: list[int],
    name: str,
    utc: str,
    force: bool = False,
    only: int = 0,
    parent: ForkedFrom | None = None,
) -> Plan:
    """Check everything that a campaign needs and prepare its files, without writing anything.

    Args:
        config, configuration: the configuration including command line options, with absolute paths, and the user's file.
        year, run, files: the data; the run with six digits.
        name: the campaign's name, see :func:`campaign_name`.
        utc: now, as 2026-11-24T07:30:00Z.
        force: whether an existing campaign of that name may be moved aside.
        only: the single iteration that is reconstructed, and solved by hand; 0: a whole campaign.
        parent: campaign and iteration that it was forked from.

    Raises:
        UserError: something is missing or wrong; the sentence says what.
    """
    if not files:
        raise UserError("there are no raw files; name them with -f")
    folder = os.path.join(os.path.abspath(config.campaign.folder), name)
    check_place(folder)
    constants, source = _start_constants(config)
    validated = config.validation
    if validated.enabled and validated.files and "+" in run:
        raise UserError(
            "validation.files names files of one run, and the campaign has several; remove it, so that files of all runs are held "
            "back (validation.hold_back)"
        )
    kept = hold_back(files, validated.hold_back) if validated.enabled and not validated.files and not only else []
    record = make_record(
        config,
        name=name,
        year=year,
        run=run,
        files=[file for file in files if file not in kept],
        held_back=kept,
        folder=folder,
        constants=source,
        sha256=hashlib.sha256(constants).hexdigest(),
        created_utc=utc,
    )
    if only:
        record["only"] = only
    if parent:
        record["parent"] = parent
    check_programs(record["python"], record["hook"])
    jobs = record["job_python"]
    if os.path.lexists(jobs):  # it may exist on execute nodes only
        check_trusted(jobs, "python.jobs")
    check_steering(record["data"], "the data folder (storage.data)")
    check_requirements(config)
    check_steps(record["stages"], config.solver)
    planned = Plan(record, constants, configuration, render(record), force)
    refuse_existing(planned)
    if record["data"] != folder:
        check_path(record["data"], "the data folder (storage.data)")
        _check_writable(os.path.dirname(record["data"]), "storage.data")
    _check_raw_files(config, year, run, sorted({*files, *record.get("validation", {}).get("unused", ())}))
    if config.simulation.truth:
        read_constants(config.simulation.truth)
    return planned


def check_steps(stages: Sequence[UsedStage], solver: Solver) -> None:
    """Raise UserError for a step without free parameters or with impossible options, which would fail the campaign."""
    check_lines([f"method {solver.method}"], "solver.method", solver.backend)
    check_lines(solver.options, "solver.options", solver.backend)
    for stage in stages:
        for step in stage["steps"]:
            try:
                step_fixed(step, stage["stations"])
                check_lines(step.get("extra_lines", []), "extra_lines", solver.backend)
            except UserError as problem:
                raise UserError(f"stage {stage['name']!r}, step {step['name']!r}: {problem}") from None


def check_requirements(config: Config) -> None:
    """Raise UserError for requirements that HTCondor cannot parse: no job of the campaign would be submitted."""
    import classad2

    for kind in ("reco", "mille"):
        text = getattr(config.htcondor, kind).requirements
        try:
            if text and "$" not in text:  # it may contain a macro of the submit description
                classad2.ExprTree(text)
        except classad2.ClassAdException:
            raise UserError(
                f"htcondor.{kind}.requirements = {text} is not a ClassAd expression; check its brackets, quotes and operators"
            ) from None


def check_programs(python: str, hook: str) -> None:
    """Raise UserError if others can write the scripts' interpreter, its libraries, or faser-align itself."""
    if not os.path.exists(python):
        raise UserError(f"python.hooks = {python}: no such file; correct the path")
    check_trusted(python, "the Python interpreter")
    if python == sys.executable:
        check_trusted(sysconfig.get_path("purelib"), "the folder of Python's libraries")
    check_tree(os.path.dirname(os.path.dirname(hook)), "faser-align's own folder")


def check_place(folder: str) -> None:
    """Raise UserError if a campaign cannot live in ``folder``, whose parent must exist and be writable."""
    check_path(folder, "the campaign's folder (campaign.folder)")
    for place in (os.path.abspath(folder), os.path.realpath(folder)):
        if place == "/tmp" or place.startswith("/tmp/"):
            raise UserError(f"{folder} is under /tmp, which DAGMan refuses; set campaign.folder to another folder")
        if place.startswith("/eos/"):
            raise UserError(
                f"{folder} is on EOS, from where HTCondor accepts no jobs; "
                "set campaign.folder to a folder on AFS, and storage.data to one on EOS"
            )
    _check_writable(os.path.dirname(folder), "campaign.folder")
    check_trusted(os.path.dirname(folder), "campaign.folder")


def refuse_existing(planned: Plan) -> None:
    """Raise UserError if the campaign's folders exist already and may not be moved aside."""
    for folder in (planned.folder, planned.data):
        if os.path.lexists(folder) and not planned.force:
            what = "campaign" if os.path.exists(os.path.join(folder, layout.RECORD)) else "folder"
            raise UserError(
                f"the {what} {folder} already exists; choose another name with --name, or rename it with --force"
            )


def _check_writable(parent: str, key: str) -> None:
    if not os.path.isdir(parent):
        raise UserError(f"{key} = {parent}: not a folder; create it with `mkdir -p`, or set {key} to another one")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{key} = {parent}: cannot write; set {key} to a folder that you may write to")


def _start_constants(config: Config) -> tuple[bytes, str]:
    """Return contents and path of the initial constants, after parsing them as a check."""
    path = config.campaign.constants
    if not path:
        raise UserError("there are no initial constants; set campaign.constants, or add --constants FILE")
    try:
        content = Path(path).read_bytes()
        parse_constants(content.decode(), path)
    except OSError as error:
        raise UserError(
            f"the constants {path}: cannot read: {error.strerror}; correct campaign.constants or --constants"
        ) from None
    except UnicodeDecodeError:
        raise UserError(
            f"the constants {path} are not a text file; correct campaign.constants or --constants"
        ) from None
    return content, path


def _check_raw_files(config: Config, year: int, run: str, files: list[int]) -> None:
    pattern = config.reconstruction.raw
    if not pattern:
        return
    numbered = (layout.raw(run, file) for file in files)
    paths = [pattern.format(year=year, run=of_run, file=f"{number:05d}") for of_run, number in numbered]
    bad = [path for path in paths if not os.path.isfile(path)]
    if not bad:
        return
    folders = [path for path in bad if os.path.isdir(path)]
    named = folders or bad
    shown = ", ".join(named[:NAMED_AT_MOST]) + (", ..." if len(named) > NAMED_AT_MOST else "")
    if folders:
        what = f"{shown} {'is a directory, not a raw file' if len(folders) == 1 else 'are directories, not raw files'}"
    elif len(paths) == 1:
        what = f"the raw file {shown} does not exist"
    else:
        what = f"{len(bad)} of {len(paths)} raw files {'does' if len(bad) == 1 else 'do'} not exist: {shown}"
    raise UserError(f"{what}; correct -y, -r, -f or reconstruction.raw")
