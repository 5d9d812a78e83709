"""What ``check`` looks at before a campaign is submitted: each thing with its result and, if it is bad, the cure."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import faser_align
from faser_align.alignment.constants import read_constants
from faser_align.cli.submission import check_targets
from faser_align.config.load import load_config
from faser_align.config.schema import Config
from faser_align.dag.plan import check_place, check_programs
from faser_align.fsm.errors import CampaignError, UserError

HOOK_WAIT_S = 30


class Check(NamedTuple):
    """One thing that was looked at; ``result`` is ``ok``, ``warning`` or ``failed``."""

    name: str
    result: str
    text: str


class Doubt(Exception):
    """What is no error but should be known."""


def run(path: str) -> list[Check]:
    """Look at everything that a campaign with the configuration file ``path`` needs.

    Raises:
        UserError: the configuration itself cannot be used, so that there is nothing to look for.
    """
    config = load_config(path)
    looks: list[tuple[str, Callable[[Config], str]]] = [
        ("constants", _constants),
        ("simulation", _truth),
        ("raw files", _raw),
        ("folder", _folder),
        ("solver", _solver),
        ("pivot", _pivot),
        ("hook", _hook),
        ("user", _user),
        ("HTCondor", _htcondor),
        ("notification", _notification),
    ]
    return [Check("configuration", "ok", path), *(_look(name, look, config) for name, look in looks)]


def _look(name: str, look: Callable[[Config], str], config: Config) -> Check:
    try:
        return Check(name, "ok", look(config))
    except Doubt as doubt:
        return Check(name, "warning", str(doubt))
    except CampaignError as error:
        return Check(name, "failed", str(error))


def _constants(config: Config) -> str:
    path = config.campaign.constants
    if not path:
        raise Doubt("campaign.constants is empty: give --constants FILE to submit")
    return f"{path} ({len(read_constants(path))} entries)"


def _truth(config: Config) -> str:
    path = config.simulation.truth
    if not path:
        return "a detector without misalignment"
    return f"{path} ({len(read_constants(path))} entries)"


def _raw(config: Config) -> str:
    pattern = config.reconstruction.raw
    if not pattern:
        return "simulated, none is needed"
    top = pattern.partition("{")[0].rpartition("/")[0] or "/"
    if not os.path.isdir(top):
        raise UserError(f"reconstruction.raw: there is no folder {top}; correct the pattern, or mount it")
    return f"{pattern} (each is looked for at submission)"


def _folder(config: Config) -> str:
    check_place(os.path.join(config.campaign.folder, "campaign"))
    data = config.campaign.data
    if data and not (os.path.isdir(data) and os.access(data, os.W_OK | os.X_OK)):
        raise UserError(f"campaign.data = {data} is not a folder that you can write; make it with `mkdir -p`")
    return config.campaign.folder + (f"; large files in {data}" if data else "")


def _solver(config: Config) -> str:
    if config.solver.backend == "builtin":
        return "built in"
    import shutil

    from faser_align.alignment.pede import probe

    found = shutil.which(config.solver.pede)
    if found is None:
        raise UserError(f"solver.pede = {config.solver.pede} is not a program here; give its path")
    version = probe(found)
    return f"{found} runs" + (f" ({version})" if version else "")


def _pivot(config: Config) -> str:
    from faser_align.alignment.pivot import pivot_doubt, tilt_doubt
    from faser_align.config.stages import stages_of

    doubts = [pivot_doubt(config.mille.pivot, stages_of(config), config.campaign.stations)]
    with contextlib.suppress(CampaignError):  # constants that cannot be read have a line of their own
        start = read_constants(config.campaign.constants) if config.campaign.constants else {}
        doubts.append(tilt_doubt(config.mille.pivot, config.mille.derivative_max, start))
    if any(doubts):
        raise Doubt("; and ".join(filter(None, doubts)))
    return config.mille.pivot


def _hook(config: Config) -> str:
    """Start the hook as DAGMan would: isolated, and with nothing in its environment."""
    hook = os.path.join(os.path.dirname(os.path.abspath(faser_align.__file__)), "hooks", "run.py")
    loads = "import sys; sys.path.insert(0, sys.argv[1]); from faser_align.hooks import node; print('ready')"
    package = os.path.dirname(os.path.dirname(os.path.abspath(faser_align.__file__)))
    if not os.path.isfile(hook):
        raise UserError(f"{hook} is missing; install faser-align anew")
    check_programs(sys.executable, hook)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", loads, package],
            env={},
            capture_output=True,
            text=True,
            timeout=HOOK_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{sys.executable} could not run the hook: {error}; install faser-align anew") from None
    if done.stdout.strip() != "ready":
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{sys.executable} could not run the hook ({why}); install faser-align anew")
    return hook


def _user(config: Config) -> str:
    from faser_align.pool import machine

    machine.refuse_root()
    return f"uid {os.geteuid()}"


def _htcondor(config: Config) -> str:
    from faser_align.pool.schedd import schedd

    schedd(config.htcondor.pool)
    return f"the schedd of the {config.htcondor.pool} pool answers"


def _notification(config: Config) -> str:
    if not config.notify.targets:
        raise Doubt("nobody will be told how a campaign ends; name targets in notify.targets")
    check_targets(config)
    from faser_align.notifiers.targets import access_note

    note = access_note(config.notify.file)
    if note:
        raise Doubt(note)
    return ", ".join(config.notify.targets)
