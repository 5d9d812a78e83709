"""Check what a campaign needs before its submission; each problem comes with the fix."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence

import faser_align
from faser_align.alignment.parameters.constants import read_constants
from faser_align.campaign.data import parse_data
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import check_year
from faser_align.config.load import absolute, load_config
from faser_align.config.schema import Config
from faser_align.config.stages import stages_of
from faser_align.dag import queue
from faser_align.dag.plan import campaign_name, check_place, check_programs, check_requirements, check_steps
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.fsm.plural import count
from faser_align.operations import checks_places as places
from faser_align.operations import dagman
from faser_align.operations.checking import Check, CheckContext, Doubt, Failed
from faser_align.operations.submission import check_targets
from faser_align.system.read import text_of
from faser_align.system.site_tools import AbsentError

START_WAIT_S = 60
# A Python for public HTCondor jobs on AlmaLinux 9 that needs no setup.sh; profile and page for lxplus name it, too.
ON_CVMFS = "/cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt/bin/python3"
SHARED = ("/afs/", "/cvmfs/", "/eos/")  # file systems; only the probe shows whether the access point has them

Looked = str | tuple[str, list[str]]


def look_at(
    path: str, *, year: int = 0, runs: Sequence[str] = (), files: Sequence[str] = (), constants: str = ""
) -> CheckContext:
    """Return the input of the checks from the configuration file ``path`` and the data.

    Args:
        path: the configuration.
        year, runs, files: the data, as for ``submit``, paired by position; without them, checks of the data are
            skipped.
        constants: a file to start from instead of the configured one.

    Raises:
        UserError: the configuration cannot be used at all.
    """
    config = load_config(path)
    if constants:
        started = config.campaign.model_copy(update={"constants": absolute(constants, os.getcwd())})
        config = config.model_copy(update={"campaign": started})
    run_text, found = parse_data(runs, files) if runs or files else ("", [])
    if year:
        check_year(year)
    look = CheckContext(config, sum(stage["iterations"] for stage in stages_of(config)))
    if not (year and found):
        return look
    name = campaign_name(config, year, run_text, found)
    return look._replace(year=year, run=run_text, files=tuple(found), name=name)


def run(path: str, look: CheckContext) -> list[Check]:
    """Check everything that a campaign with the configuration file ``path`` needs."""
    return [Check("configuration", "ok", path), *(_check(name, function, look) for name, function in LOOKS.items())]


def before_submission(record: Manifest) -> list[Check]:
    """Check what planning a campaign has not checked yet; ``record`` is the plan's manifest."""
    config = Config.model_validate(record["config"])
    iterations = sum(stage["iterations"] for stage in record["stages"])
    look = CheckContext(config, iterations, record["year"], record["run"], tuple(record["files"]), record["name"])
    return [_check(name, LOOKS[name], look) for name in LOOKS if name not in PLANNED]


def _check(name: str, function: Callable[[CheckContext], Looked], look: CheckContext) -> Check:
    try:
        found = function(look)
        text, details = (found, []) if isinstance(found, str) else found
        return Check(name, "ok", text, tuple(details))
    except AbsentError as reason:
        return Check(name, "skipped", str(reason) or "not on this machine")
    except Doubt as doubt:
        return Check(name, "warning", str(doubt))
    except Failed as problem:
        return Check(name, "failed", str(problem), tuple(problem.details))
    except CampaignError as problem:
        return Check(name, "failed", str(problem))


def _constants(look: CheckContext) -> str:
    path = look.config.campaign.constants
    if not path:
        raise Doubt("campaign.constants is empty; set it, or pass --constants FILE to submit")
    return _read(path, "campaign.constants")


def _read(path: str, key: str) -> str:
    try:
        return f"{path} ({count(len(read_constants(path)), 'entry', 'entries')})"
    except CampaignError as problem:
        raise UserError(f"{key}: {problem}") from None


def _truth(look: CheckContext) -> str:
    if look.config.reconstruction.backend != "simulation":
        raise AbsentError(f'reconstruction.backend is "{look.config.reconstruction.backend}"')
    path = look.config.simulation.truth
    if not path:
        return "a detector without misalignment"
    return _read(path, "simulation.truth")


def _folder(look: CheckContext) -> str:
    campaign = look.config.campaign
    check_place(os.path.join(campaign.folder, "campaign"))
    data = look.config.storage.folder
    if data and not (os.path.isdir(data) and os.access(data, os.W_OK | os.X_OK)):
        raise UserError(f"storage.data = {data}: not a folder that you may write to; create it with `mkdir -p`")
    return campaign.folder + (f"; large files in {data}" if data else "")


def _solver(look: CheckContext) -> str:
    solver = look.config.solver
    check_steps(stages_of(look.config), solver)
    if solver.backend == "builtin":
        return "built in"
    from faser_align.alignment.pede.runner import probe, sourced

    environment = sourced(solver.environment)
    found = shutil.which(solver.pede, path=environment.get("PATH"))
    if found is None and os.path.isfile(solver.pede):
        raise UserError(f"solver.pede = {solver.pede}: not executable; run `chmod +x` on it, or name another program")
    if found is None:
        raise UserError(f"solver.pede = {solver.pede}: no such program; give its path")
    version = probe(found, environment)
    return f"{found} runs ({version or 'unknown version'})"


def _pivot(look: CheckContext) -> str:
    from faser_align.alignment.quality.pivot import pivot_doubt, tilt_doubt

    config = look.config
    doubts = [pivot_doubt(config.mille.pivot, stages_of(config), config.campaign.stations)]
    with contextlib.suppress(CampaignError):  # another check reports constants that cannot be read
        start = read_constants(config.campaign.constants) if config.campaign.constants else {}
        doubts.append(tilt_doubt(config.mille.pivot, config.mille.derivative_max, start))
    if any(doubts):
        raise Doubt("; and ".join(filter(None, doubts)))
    return config.mille.pivot


def _hook(look: CheckContext) -> str:
    """Start the script as DAGMan would: isolated, and with an empty environment."""
    python = look.config.python.hooks or sys.executable
    hook = os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "run.py")
    if not os.path.isfile(hook):
        raise UserError(f"{hook} is missing; reinstall faser-align")
    check_programs(python, hook)
    package = os.path.dirname(os.path.dirname(os.path.abspath(faser_align.__file__)))
    loads = (
        "import sys; sys.path.insert(0, sys.argv[1]); from faser_align.hooks import entry, post, pre; print('ready')"
    )
    _start([python, "-I", "-S", "-c", loads, package], "python.hooks", "DAGMan's scripts")
    return f"{python} starts {hook} with an empty environment"


def _job(look: CheckContext) -> str:
    """Start the jobs' interpreter in the same way, and check that it finds the program."""
    python = look.config.python.jobs or sys.executable
    _start([python, "-I", "-c", "import faser_align.jobs.program; print('ready')"], "python.jobs", "a job")
    return f"{python} finds faser-align with an empty environment"


def _interpreters(look: CheckContext) -> str:
    """Check that the machines for scripts and jobs have the interpreters, too."""
    if look.config.htcondor.pool == "personal":
        raise AbsentError("the pool is on this machine")
    hooks, jobs = (path or sys.executable for path in (look.config.python.hooks, look.config.python.jobs))
    keys = {hooks: "python.hooks", jobs: "python.jobs"} if hooks != jobs else {hooks: "python.hooks and python.jobs"}
    if doubts := [text for path, key in keys.items() if (text := _doubt_of(key, path))]:
        raise Doubt("; ".join(doubts))
    return ", ".join(f"{path} made from {base_of(path)}" for path in keys)


def base_of(path: str) -> str:
    """Return the Python from which the virtual environment of the Python at ``path`` was made; itself outside one."""
    # In a virtual environment the interpreter is a link to the base; otherwise pyvenv.cfg names its folder.
    real = os.path.realpath(path)
    for folder in (os.path.dirname(real), os.path.dirname(os.path.dirname(real))):
        for key, _, home in (line.partition("=") for line in text_of(f"{folder}/pyvenv.cfg").splitlines()):
            if key.strip() == "home":
                return os.path.realpath(os.path.join(home.strip(), os.path.basename(real)))
    return real


def _doubt_of(key: str, path: str) -> str:
    """Return a sentence if other machines may lack the Python at ``path``, the value of ``key``, else an empty string."""
    if not path.startswith(SHARED):
        return (
            f"{key} = {path} is on this machine's local disk, which the access point and execute nodes cannot read; "
            "install faser-align in a virtual environment on AFS"
        )
    if not (base := base_of(path)).startswith(SHARED):
        return (
            f"the virtual environment of {key} = {path} uses {base}, which is on this machine's local disk; "
            f"test it with `faser-align check --probe`, or create it with a Python on CVMFS such as {ON_CVMFS}"
        )
    return ""


def _start(command: list[str], key: str, what: str) -> None:
    python = command[0]
    cure = f"correct {key}, or reinstall faser-align"
    try:
        done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=START_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{python} cannot run {what}: {error}; {cure}") from None
    if done.stdout.strip() != "ready":
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{python} cannot run {what} ({why}); {cure}")


def _user(look: CheckContext) -> str:
    from faser_align.pool import machine

    machine.refuse_root()
    return f"uid {os.geteuid()}"


def _htcondor(look: CheckContext) -> str:
    from faser_align.pool.schedd import schedd

    check_requirements(look.config)
    schedd(look.config.htcondor.pool)
    return f"the schedd of the {look.config.htcondor.pool} pool answers"


def _queue(look: CheckContext) -> str:
    """Check that no campaign of the same name is in the queue, whatever its folder."""
    if not look.name:
        raise AbsentError("the campaign's name is unknown without -y, -r and -f")
    answer = dagman.ask_pool(look.config.htcondor.pool, queue.of_all())
    if answer.problem:
        raise Doubt(f"cannot tell whether a campaign {look.name} is in the queue: {answer.problem}")
    found = [job for job in answer.jobs if os.path.basename(job.folder) == look.name]
    if found:
        raise UserError(
            f"a campaign {look.name} is already in the queue ({found[0].folder}, job {found[0].cluster}); "
            "stop it, or choose another name with --name"
        )
    return f"no other {look.name}; {count(len(answer.jobs), 'campaign')} in the queue"


def _notification(look: CheckContext) -> str:
    notify = look.config.notify
    if notify.templates:
        from faser_align.operations import samples

        for event in samples.events_of("all"):  # raises UserError for a template that cannot be used
            samples.sample(event, "", notify.templates)
    if not notify.targets:
        raise Doubt("notify.targets is empty: nobody is notified when a campaign ends; add targets to it")
    check_targets(look.config)
    from faser_align.notifiers.targets import access_note, check_target, load_targets

    known = load_targets(notify.file)
    for name in notify.targets:
        check_target(known[name])
    note = access_note(notify.file)
    if note:
        raise Doubt(note)
    return ", ".join(notify.targets)


LOOKS: dict[str, Callable[[CheckContext], Looked]] = {
    "constants": _constants,
    "simulation": _truth,
    "raw files": places.raw_files,
    "folder": _folder,
    "file system": places.locks,
    "disk space": places.room,
    "AFS quota": places.afs,
    "EOS quota": places.eos,
    "Kerberos": places.kerberos,
    "AFS token": places.token,
    "CVMFS": places.cvmfs,
    "Calypso": places.calypso,
    "solver": _solver,
    "pivot": _pivot,
    "hook": _hook,
    "jobs": _job,
    "interpreters": _interpreters,
    "user": _user,
    "HTCondor": _htcondor,
    "queue": _queue,
    "published page": places.pages,
    "notification": _notification,
}
PLANNED: Collection[str] = ("constants", "simulation", "folder", "pivot", "user", "HTCondor", "notification")
