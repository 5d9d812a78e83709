"""What ``init`` and ``submit`` do: from the words of the command line to a campaign in the queue."""

import contextlib
import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faser_align.cli import dagman
from faser_align.cli.alone import alone
from faser_align.config import atomic
from faser_align.config.files import check_year, format_files, parse_files, parse_run
from faser_align.config.load import absolute, parse_config, read_text
from faser_align.config.profiles import PROFILES, profile_text
from faser_align.config.record import read_record
from faser_align.config.schema import Config
from faser_align.dag.create import create_campaign
from faser_align.dag.plan import Plan, campaign_name, plan
from faser_align.dag.texts import steering_texts
from faser_align.fsm.errors import CampaignError, UserError

ITERATIONS_MAX = 99


@dataclass(frozen=True)
class Request:
    """The options of ``submit``."""

    year: int
    run: str
    files: str
    iterations: int | None
    threest: bool
    fourst: bool
    constants: str
    config: str
    name: str
    force: bool


def write_profile(profile: str, output: str, *, force: bool) -> None:
    """Write the configuration of a profile to ``output``; an existing file is only moved aside with ``force``."""
    if profile not in PROFILES:
        raise UserError(f"--profile {profile} is unknown; choose {' or '.join(PROFILES)}")
    write_new(output, profile_text(profile), force=force)


def write_new(output: str, text: str, *, force: bool) -> None:
    """Write a configuration to ``output``; an existing file is only moved aside, with ``force``."""
    try:
        if force and os.path.lexists(output):
            os.rename(output, f"{output}.old-{_now().replace('-', '').replace(':', '')}")
        atomic.write_new(output, text)
    except FileExistsError:
        raise UserError(f"{output} exists already; name another with --output, or move it aside with --force") from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}; name another with --output") from None


def prepare(request: Request) -> Plan:
    """Check everything that was asked for and plan the campaign; nothing is written."""
    run = parse_run(request.run)
    files = parse_files(request.files)
    year = check_year(request.year)
    text = read_text(request.config)
    config = _with_options(parse_config(text, request.config), request)
    planned = plan(
        config,
        text,
        year=year,
        run=run,
        files=files,
        name=campaign_name(config, year, run, files, request.name),
        utc=_now(),
        force=request.force,
    )
    check_targets(config)
    return planned


def check_targets(config: Config) -> None:
    """Raise UserError if the targets file cannot be used, or lacks a target that the configuration names."""
    if not config.notify.targets:
        return
    from faser_align.notifiers.targets import check_readers, load_targets

    known = load_targets(config.notify.file)
    check_readers(config.notify.file)
    unknown = [name for name in config.notify.targets if name not in known]
    if unknown:
        raise UserError(
            f"notify.targets names {unknown[0]!r}, which is not in {config.notify.file}; "
            f"there are {', '.join(known) or 'none'}"
        )


def find_schedd(planned: Plan) -> Any:
    """The schedd of the configured pool, which just answered; raises UserError if this user cannot submit there.

    An existing campaign of this name that is still in the queue is not moved aside, even with ``force``.
    """
    from faser_align.pool import machine
    from faser_align.pool.schedd import schedd

    machine.refuse_root()
    found = schedd(planned.record["config"]["htcondor"]["pool"])
    _refuse_running(planned)
    return found


def _refuse_running(planned: Plan) -> None:
    """Refuse to move a campaign aside whose DAGMan is in the queue, or may be."""
    if not planned.force:
        return
    try:
        in_the_way = read_record(planned.folder)
    except CampaignError:
        in_the_way = planned.record  # no campaign any more, but its DAGMan may be there
    dagman.refuse_second(in_the_way, "--force")


def refusal(planned: Plan) -> str:
    """Why this user cannot submit the plan as things are now; empty if nothing is in the way."""
    try:
        find_schedd(planned)
    except CampaignError as problem:
        return str(problem)
    return ""


def carry_out(planned: Plan, schedd: Any) -> int:
    """Make the campaign, submit it and remember it; returns the cluster of its DAGMan job.

    If HTCondor refuses, the campaign is unmade, so that the same command can be typed again.
    """
    from faser_align.dag.submit import submit_dag
    from faser_align.state import registry
    from faser_align.state.create import create_store, record_submitted

    with contextlib.ExitStack() as held:
        if os.path.isdir(planned.folder):
            held.enter_context(alone(planned.folder))
            _refuse_running(planned)

        def make_store(folder: str, record: Mapping[str, Any]) -> None:
            create_store(folder, record)
            held.enter_context(alone(folder))  # whoever finds the campaign in its place must not submit it, too

        created = create_campaign(planned, make_store)
        try:
            cluster = submit_dag(schedd, planned.folder)
        except BaseException:
            created.undo()
            raise
        record_submitted(planned.folder, cluster)
    registry.add(planned.record["name"], planned.folder)
    return cluster


def show_steering(planned: Plan) -> None:
    """Write the steering texts of every step as they will be used."""
    from faser_align.cli import console

    for described in steering_texts(planned.record):
        console.say(f"\n* stage {described.stage!r}, step {described.step!r}: {described.free}")
        for name, text in described.texts.items():
            console.say(f"* {name}\n{text}")


def doubt(planned: Plan) -> str:
    """What is no error but should be known before the campaign runs; empty if there is nothing."""
    from faser_align.alignment.pivot import pivot_doubt

    record = planned.record
    return pivot_doubt(record["config"]["mille"]["pivot"], record["stages"], record["stations"])


def summary(planned: Plan) -> dict[str, str]:
    """What will be done, as headings and values for a person."""
    record = planned.record
    config, files = record["config"], record["files"]
    shown = {
        "campaign": record["name"],
        "data": f"{record['year']}, run {record['run']}, {len(files)} {_plural('file', len(files))} ({format_files(files)})",
        "stages": "; ".join(_stage(stage) for stage in record["stages"]),
        "steps": "; ".join(f"{found.step}: {found.free}" for found in steering_texts(record)),
        "stations": f"{record['stations']} ({'with' if record['stations'] == 4 else 'without'} the IFT)",
        "tracks from": config["reconstruction"]["backend"],
        "solver": config["solver"]["backend"],
        "constants": f"{record['constants']['source']} (sha256 {record['constants']['sha256'][:12]})",
        "folder": record["folder"],
    }
    if record["data"] != record["folder"]:
        shown["large files"] = record["data"]
    shown["HTCondor"] = f"{config['htcondor']['pool']} pool, {_nodes(record)} nodes"
    shown["told"] = _told(config["notify"])
    return shown


def _with_options(config: Config, request: Request) -> Config:
    """The configuration with the command line's options in it."""
    changes: dict[str, object] = {}
    if request.threest and request.fourst:
        raise UserError("--threest and --fourst exclude each other; give one of them")
    if request.threest or request.fourst:
        changes["stations"] = 3 if request.threest else 4
    if request.iterations is not None:
        if not 1 <= request.iterations <= ITERATIONS_MAX:
            raise UserError(f"-i {request.iterations} is not allowed; give a whole number from 1 to {ITERATIONS_MAX}")
        changes["iterations"] = request.iterations
    if request.constants:
        changes["constants"] = absolute(request.constants, os.getcwd())
    return config.model_copy(update={"campaign": config.campaign.model_copy(update=changes)})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def _stage(stage: dict[str, Any]) -> str:
    steps = ", ".join(step["name"] for step in stage["steps"])
    return f"{stage['name']} ({steps}), at most {stage['iterations']} {_plural('iteration', stage['iterations'])}"


def _nodes(record: dict[str, Any]) -> int:
    return sum(int(stage["iterations"]) for stage in record["stages"]) * (len(record["files"]) + 1)


def _told(notify: dict[str, Any]) -> str:
    if not notify["targets"]:
        return "nobody"
    return f"{', '.join(notify['targets'])} when: {', '.join(notify['events'])}"
