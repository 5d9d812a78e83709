"""Run ``reco``: one iteration's reconstruction as a campaign without Millepede node, and its solution by hand."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.load import ZEROS, absolute, parse_config, read_text
from faser_align.config.schema import Config
from faser_align.dag.plan import Plan, campaign_name, plan
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.fsm.metrics import Metrics
from faser_align.operations import dagman, lifecycle, snapshot, submission, without_dagman
from faser_align.operations.command_lock import alone
from faser_align.predecessor.configuration import import_config
from faser_align.state import control_requests, database, registry
from faser_align.system.program import hint


def prepare(request: submission.Request, env_script: str = "", calypso_path: str = "") -> Plan:
    """Check the options and plan the iteration, without writing anything.

    ``request.iterations`` is its number. Raises UserError if something is missing or wrong.
    """
    number = request.iterations or 1
    year, run, files = submission.data_of(request)
    text, config = _configuration(request.config, env_script, calypso_path)
    # The next iteration finds this one by its name, so that given constants must not be in it.
    config = submission.with_options(config, replace(request, constants=""))
    base = campaign_name(config, year, run, files)
    given = absolute(request.constants, os.getcwd())
    campaign = config.campaign.model_copy(update={"constants": given or _constants(config, base, number)})
    config = config.model_copy(
        update={
            "campaign": campaign,
            "stages": [stage.model_copy(update={"iterations": number}) for stage in config.stages[:1]],
            "validation": config.validation.model_copy(update={"enabled": False}),
        }
    )
    return plan(
        config,
        text,
        year=year,
        run=run,
        files=files,
        name=campaign_name(config, year, run, files, request.name or f"{base}_reco{number:02d}"),
        utc=database.utc()[:19] + "Z",
        force=request.force,
        only=number,
    )


def _configuration(path: str, env_script: str, calypso_path: str) -> tuple[str, Config]:
    """Return the configuration with --env_script and --calypso_path; from these alone if there is no file."""
    calypso, script = (absolute(given, os.getcwd()) for given in (calypso_path, env_script))
    if script and not os.path.isfile(script) and not calypso:
        raise UserError(f"--env_script {env_script}: no such file; use --calypso_path instead, which needs no script")
    made = None
    if calypso:
        old = {"paths": {"calypso_install": calypso} | ({"env_script": script} if script else {})}
        zeros = absolute(ZEROS, "")
        made = import_config(old, source="--calypso_path", base=os.getcwd(), target=path, zeros=zeros)
    if not os.path.lexists(path) and made is not None:
        return made.text, parse_config(made.text, path)
    text = read_text(path)
    config = parse_config(text, path)
    changes: dict[str, Any] = {
        "environment": script if script and os.path.isfile(script) else config.reconstruction.environment
    }
    if made is not None:
        told, kept = parse_config(made.text, path).reconstruction, config.reconstruction
        # Another installation; what is configured of the rest stays.
        names = ("asetup", "write_constants", "reconstruct")
        calypso_keys = {name: getattr(kept.calypso, name) or getattr(told.calypso, name) for name in names}
        changes |= {
            "backend": "calypso",
            "raw": kept.raw or told.raw,
            "calypso": kept.calypso.model_copy(update={"setup": told.calypso.setup, **calypso_keys}),
        }
    return text, config.model_copy(update={"reconstruction": config.reconstruction.model_copy(update=changes)})


def _constants(config: Config, base: str, number: int) -> str:
    """Return the constants to reconstruct with: the previous iteration's result, or the configured ones."""
    if number == 1:
        return config.campaign.constants
    before = number - 1
    folder = os.path.join(config.campaign.folder, f"{base}_reco{before:02d}")
    found = layout.result_file(folder, 1, before)
    if not os.path.isfile(found):
        raise UserError(
            f"iteration {before} has no constants ({found} is missing); solve it with "
            f"`faser-align solve {base}_reco{before:02d}`, or add --constants FILE"
        )
    return found


def find(target: str) -> tuple[str, int]:
    """Return folder and iteration of the `reco` campaign with the name or folder ``target``.

    Raises UserError if there is none, or if the campaign solves its iterations itself.
    """
    place = Path(os.path.abspath(target))
    above = next((str(folder) for folder in (place, *place.parents) if (folder / layout.RECORD).is_file()), "")
    try:
        folder = above if os.path.isdir(target) and above else registry.find(target)
    except UserError:
        what = "not a steering file" if os.path.exists(target) else "no such file"
        raise UserError(f"{target}: {what}; name a steering file, or a campaign of `reco`") from None
    record = read_record(folder)
    if "only" not in record:
        raise UserError(
            f"{record['name']} solves its iterations itself; see `faser-align metrics {record['name']}`, or name a "
            "steering file or a campaign of `reco`"
        )
    return folder, int(record["only"])


def solve_reco(folder: str, iteration: int) -> Metrics:
    """Solve the iteration of a `reco` campaign and record that; return the metrics.

    Raises:
        UserError: it is not reconstructed, or another command works on it.
        CampaignError: there is no solution, or it cannot be recorded.
    """
    record = read_record(folder)
    _refuse_unfinished(record, snapshot.state_now(folder))
    with alone(folder):
        found = solve(folder, iteration)
        control_requests.put(folder, "solved", control_requests.solution(folder, iteration) or {})
        lifecycle.await_departure(record, snapshot.state_now(folder))
        if not dagman.ask(record).jobs:  # otherwise FINAL may be about to run, and applies it
            without_dagman.take_in(folder)
    return found


def _refuse_unfinished(record: Manifest, state: str) -> None:
    if state == "reconstructed":
        return
    if state in table.ENDS:
        raise UserError(
            f"{record['name']} is {state}: some files are not reconstructed; finish it with {hint('resume', record['name'])}"
        )
    raise UserError(
        f"{record['name']} is {state}; it can be solved once it is reconstructed; wait with {hint('wait', record['name'])}"
    )


def solve(folder: str, iteration: int, stage: int = 1) -> Metrics:
    """Run the Millepede job here; return the iteration's metrics. Raise CampaignError with the job's last line."""
    run_job("solve", folder, stage, iteration, failed="no solution")
    with open(layout.metrics_file(folder, stage, iteration), encoding="utf-8") as file:
        found: Metrics = json.load(file)
    return found


def run_job(job: str, folder: str, stage: int, iteration: int, *words: str, failed: str) -> None:
    """Run a job of an iteration here; raise CampaignError with ``failed`` and the job's last line."""
    python = read_record(folder)["job_python"]
    run_program([python, "-I", "-m", f"faser_align.jobs.{job}", folder, str(stage), str(iteration), *words], failed)


def run_program(command: list[str], failed: str, environment: dict[str, str] | None = None) -> None:
    """Run a program without input; raise CampaignError with ``failed``, its exit status and its last line if it fails."""
    quiet: Any = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace"}
    done = subprocess.run(command, env=environment, **quiet, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise CampaignError(f"{failed} (exit status {done.returncode}): {said}")
