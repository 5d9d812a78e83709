"""Run ``init`` and ``submit``: from the options of the command line to a campaign in the queue."""

import contextlib
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faser_align.campaign import layout
from faser_align.campaign.data import parse_data
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.files import check_year
from faser_align.config.load import DEFAULT_FILE, absolute, parse_config, read_text
from faser_align.config.profiles import PROFILES, profile_text
from faser_align.config.schema import Config
from faser_align.dag.create import create_campaign
from faser_align.dag.plan import Plan, campaign_name, plan
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.operations import dagman, outputs, recipes
from faser_align.operations.command_lock import alone
from faser_align.operations.forking import Parent
from faser_align.state import database, registry
from faser_align.system import atomic, interrupts

ITERATIONS_MAX = 99


@dataclass(frozen=True)
class Request:
    """The options of ``submit`` that define the campaign; with ``parent``, missing ones are the parent's."""

    year: int = 0
    runs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    iterations: int | None = None
    threest: bool = False
    fourst: bool = False
    constants: str = ""
    config: str = ""
    name: str = ""
    force: bool = False
    parent: Parent | None = None

    def each(self) -> list["Request"]:
        """Return one request for each run and its files, otherwise equal."""
        if len(self.runs) != len(self.files) or not self.runs:
            raise UserError(
                f"--each needs one -f for each -r, in the same order; found {len(self.runs)} -r and {len(self.files)} -f"
            )
        if self.name and len(self.runs) > 1:
            raise UserError(
                "--each and --name exclude each other; set campaign.name in the configuration to a name with {run}"
            )
        pairs = zip(self.runs, self.files, strict=True)
        return [replace(self, runs=(run,), files=(files,)) for run, files in pairs]


def write_profile(profile: str, output: str, *, recipe: str = "", force: bool) -> None:
    """Write the configuration of a profile to ``output``, with the stages of a recipe if one is named.

    An existing file is moved aside only with ``force``.
    """
    if profile not in PROFILES:
        raise UserError(f"--profile {profile}: must be {' or '.join(PROFILES)}")
    text = recipes.configuration(profile, recipes.find(recipe)) if recipe else profile_text(profile)
    write_new(output, text, force=force)


def write_new(output: str, text: str, *, force: bool) -> None:
    """Write a configuration to ``output``; an existing file is moved aside only with ``force``."""
    outputs.refuse_standard_output(output)
    try:
        if force and os.path.lexists(output):
            os.rename(output, f"{output}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        atomic.write_new(output, text)
    except FileExistsError:
        raise UserError(
            f"{output} already exists; choose another name with --output, or rename the file with --force"
        ) from None
    except OSError as error:
        raise UserError(f"{output}: cannot write: {error.strerror}; choose another name with --output") from None


def prepare(request: Request) -> Plan:
    """Check the request and plan the campaign, without writing anything."""
    year, run, files = data_of(request)
    text, config = _configuration(request)
    config = with_options(config, request)
    planned = plan(
        config,
        text,
        year=year,
        run=run,
        files=files,
        name=_name(config, request, campaign_name(config, year, run, files, request.name)),
        utc=database.utc()[:19] + "Z",
        force=request.force,
        parent=request.parent.facts() if request.parent else None,
    )
    check_targets(config)
    return planned


def prepare_all(requests: Sequence[Request]) -> list[Plan]:
    """Plan several campaigns; raise UserError if one of them is impossible, or if two have the same name."""
    planned = [prepare(request) for request in requests]
    names = [one.record["name"] for one in planned]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UserError(
            f"two campaigns would have the name {twice}; change -r and -f, or put {{run}} and {{files}} into campaign.name"
        )
    return planned


def data_of(request: Request) -> tuple[int, str, list[int]]:
    """Return year, run and files: as given, or the parent's."""
    parent = request.parent.record if request.parent else None
    year = request.year or (parent["year"] if parent else 0) or 0
    if parent and not request.runs and not request.files:
        if not parent["run"] or not parent["files"]:
            raise UserError(f"the raw files of {parent['name']} are unknown; name them with -r and -f")
        _refuse_missing({"-y": year})
        return check_year(year), parent["run"], layout.requested_files(parent)
    _refuse_missing({"-y": year} | ({} if parent else {"-r": request.runs, "-f": request.files}))
    return check_year(year), *parse_data(request.runs, request.files)


def _refuse_missing(values: Mapping[str, object]) -> None:
    """Raise UserError for options without a value."""
    missing = [option for option, value in values.items() if not value]
    if missing:
        named = " and ".join(", ".join(missing).rsplit(", ", 1))
        raise UserError(f"missing option{'s' * (len(missing) > 1)} {named}; see `faser-align submit --help`")


def _configuration(request: Request) -> tuple[str, Config]:
    """Return text and values of the configuration: of the file, or else of the parent."""
    if request.parent and not request.config:
        return request.parent.config()
    path = request.config or DEFAULT_FILE
    text = read_text(path)
    return text, parse_config(text, path)


def _name(config: Config, request: Request, name: str) -> str:
    """Return the campaign's name; an unnamed fork gets the first free number."""
    if not request.parent or request.name or request.force:
        return name
    numbers = itertools.count(2)
    free = name
    while os.path.lexists(os.path.join(os.path.abspath(config.campaign.folder), free)):
        free = f"{name}-{next(numbers)}"
    return free


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
            f"notify.targets: {unknown[0]!r} is not in {config.notify.file}; "
            f"its targets are {', '.join(known) or 'none'}"
        )


def find_schedd(planned: Plan) -> Any:
    """Return the schedd of the configured pool, which just answered; raise UserError if this user cannot submit there.

    An existing campaign of this name that is still in the queue is not moved aside, even with ``force``.
    """
    from faser_align.pool import machine
    from faser_align.pool.schedd import schedd

    machine.refuse_root()
    found = schedd(planned.record["config"]["htcondor"]["pool"])
    _refuse_running(planned)
    return found


def _refuse_running(planned: Plan) -> None:
    """Raise UserError if the DAGMan of a campaign to be moved aside is in the queue, or may be."""
    if not planned.force:
        return
    try:
        in_the_way = read_record(planned.folder)
    except CampaignError:
        in_the_way = planned.record  # the campaign is gone, but its DAGMan may be there
    dagman.refuse_second(in_the_way, "submit --force")


def refusal(planned: Plan) -> str:
    """Return why this user cannot submit the plan as things are; empty if they can."""
    try:
        find_schedd(planned)
    except CampaignError as problem:
        return str(problem)
    return ""


def carry_out(planned: Plan, schedd: Any) -> int:
    """Make the campaign, add it to the registry and submit it; return the cluster of its DAGMan job.

    If one of these fails, the campaign is removed, so that the same command can be repeated.
    """
    from faser_align.dag.submit import submit_dag
    from faser_align.state.create import create_store, record_submitted

    with contextlib.ExitStack() as held:
        if os.path.isdir(planned.folder):
            held.enter_context(alone(planned.folder))
            _refuse_running(planned)

        def make_store(folder: str, record: Manifest) -> None:
            create_store(folder, record)
            held.enter_context(alone(folder))  # another command that finds the campaign must not submit it, too

        with create_campaign(planned, make_store) as undo:
            # Before the DAGMan, so that no campaign runs without being listed.
            registry.add(planned.record["name"], planned.folder)
            done = held.enter_context(interrupts.delayed())
            cluster = submit_dag(schedd, planned.folder)
            done.append(dagman.interrupted(planned.record["name"], cluster))
            undo.pop_all()
        record_submitted(planned.folder, cluster)
    return cluster


def doubt(planned: Plan) -> str:
    """Return a warning about the campaign before it runs; empty if there is none."""
    from faser_align.alignment.quality.pivot import pivot_doubt

    record = planned.record
    doubts = (
        recipes.recipe_doubt(record["stages"], record["stations"]),
        pivot_doubt(record["config"]["mille"]["pivot"], record["stages"], record["stations"]),
    )
    return "; and ".join(filter(None, doubts))


def limit_without_effect(planned: Plan) -> str:
    """Return a warning if every stage has its own number of iterations, and none that of ``-i``; else empty."""
    config = planned.record["config"]
    limit = config["campaign"]["iterations"]
    own = [stage["iterations"] for stage in config["stages"]]
    if not own or not all(own) or limit in own:
        return ""
    return (
        f"the limit of {limit} (-i, or campaign.iterations) has no effect, because each stage has its own iterations; "
        "change stages.iterations in the configuration, or set it to 0"
    )


def namesake(planned: Plan) -> str:
    """Return a warning if another campaign has the same name, which is then ambiguous; else empty."""
    name = planned.record["name"]
    others = [one.folder for one in registry.entries() if one.name == name and one.folder != planned.folder]
    if not others:
        return ""
    return f"a campaign in {others[0]} has the same name {name}; choose another --name, or pass the folder to commands"


def with_options(config: Config, request: Request) -> Config:
    """Return the configuration with the command line's options."""
    changes: dict[str, object] = {}
    if request.threest and request.fourst:
        raise UserError("--threest and --fourst exclude each other; choose one of them")
    if request.threest or request.fourst:
        changes["stations"] = 3 if request.threest else 4
    if request.iterations is not None:
        if not 1 <= request.iterations <= ITERATIONS_MAX:
            raise UserError(f"-i {request.iterations}: must be a whole number from 1 to {ITERATIONS_MAX}")
        changes["iterations"] = request.iterations
    if request.constants and request.parent:
        raise UserError("--constants and --from exclude each other: --from provides the constants; choose one of them")
    if request.parent:
        changes["constants"] = request.parent.constants
    if request.constants:
        changes["constants"] = absolute(request.constants, os.getcwd())
    return config.model_copy(update={"campaign": config.campaign.model_copy(update=changes)})
