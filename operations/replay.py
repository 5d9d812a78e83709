"""Judge stored campaigns again with other rules: where each stage would have stopped, and what that would have saved.

The snapshot has every metric that a decision read, so that nothing else of a campaign is read but its manifest, its
changes, and where a stage would have ended earlier the constants of two iterations and the stage's normal equations.
"""

import copy
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from faser_align.alignment.parameters import differences
from faser_align.alignment.parameters.constants import parameters_from_correction, read_constants, subtract_constants
from faser_align.alignment.quality.metrics_file import fault
from faser_align.campaign import changes, layout
from faser_align.campaign.manifest import read_submitted
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.decisions import Convergence
from faser_align.config.describe import names as known_keys
from faser_align.config.load import nearest, validate
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, StoreError, UserError
from faser_align.fsm.rules import Rules
from faser_align.fsm.verdict import Verdict
from faser_align.operations import limits
from faser_align.state import judging, queries, registry

if TYPE_CHECKING:
    from faser_align.fsm.metrics import Metrics

# Why keys of a table cannot be replayed.
REFUSED = {
    "mille": "other cuts and derivatives choose other tracks and hits, so that the jobs must run again",
    "solver": "other settings of the solver give other corrections, so that the jobs must run again",
    "reconstruction": "another reconstruction, or another number of files, gives other tracks, so that the jobs must run again",
    "simulation": "another simulation gives other tracks, so that the jobs must run again",
    "stages": "other steps or numbers of iterations need iterations that never ran",
    "campaign": "other stages, constants or numbers of iterations need iterations that never ran",
    "validation": "a replay judges the iterations, and not the validation",
}
NO_EFFECT = "no decision on an iteration reads it"


class Changed(NamedTuple):
    """A decision that differs from the stored one; ``stage`` 0 is the validation."""

    stage: int
    iteration: int
    stored: str
    now: str
    reason: str


class Stage(NamedTuple):
    """A stage as the rules would have ended it.

    Attributes:
        stage, name: its number from 1, and its name.
        ran: number of iterations that were judged.
        stored: the stored decision on the last of them.
        stops_after: the iteration after which the stage would have ended: 0 if the campaign would have ended before the
            stage began, None if it would have continued after the last that ran.
        decision, reason: decision on that iteration, or on the last that ran.
        saved_iterations: number of iterations that would not have run.
        saved_cpu_s: CPU time of their reconstruction (s); None if it is not known.
        iteration_cpu_s: mean CPU time of an iteration's reconstruction (s); None if it is not known.
        distances: constants of the last iteration minus those of the iteration ``stops_after``, the largest without their signs.
        delta_chi2_per_parameter: increase of chi2 from the last constants to those, per parameter that differs, by the
            normal equations of the last iteration; None if these are not stored.
        residual_shift_um: the corresponding rms shift of the residuals (um); None if it is not known.
        problem: which part of the distance is unknown and why, in a sentence; empty otherwise.
    """

    stage: int
    name: str
    ran: int
    stored: str
    stops_after: int | None
    decision: str
    reason: str
    saved_iterations: int
    saved_cpu_s: float | None
    iteration_cpu_s: float | None
    distances: tuple[differences.Moved, ...] = ()
    delta_chi2_per_parameter: float | None = None
    residual_shift_um: float | None = None
    problem: str = ""


class Replayed(NamedTuple):
    """A campaign that was judged again.

    Attributes:
        campaign: its name, with the folder if several have this name.
        decisions: number of stored decisions, that of the validation included.
        changed: those that differ from the stored ones.
        stages: the stages that have a decision.
        notes: what limits the result, in sentences.
        problem: why the campaign could not be judged again, in a sentence; empty otherwise.
    """

    campaign: str
    folder: str
    state: str
    decisions: int = 0
    changed: tuple[Changed, ...] = ()
    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""


class _Decision(NamedTuple):
    """A stored decision (``stored``), the one by the rules, the campaign's event that it becomes, and the metrics."""

    iteration: int
    stored: str
    now: Verdict
    moves: str
    metrics: "Metrics"

    @property
    def cpu_s(self) -> float | None:
        """CPU time of the iteration's reconstruction (s)."""
        return (self.metrics.get("reconstruction") or {}).get("cpu_s")


def replay(campaigns: Sequence[str], assignments: Sequence[str] = ()) -> list[Replayed]:
    """Judge the stored iterations of campaigns again.

    Args:
        campaigns: names of campaigns, or their folders.
        assignments: ``convergence.KEY=VALUE`` or ``stages.N.convergence.KEY=VALUE`` each, over the rules that applied to
            each iteration when it was judged; without any, the decisions must equal the stored ones.

    Raises:
        UserError: there is no such campaign, one is named twice, or a key cannot be replayed.
    """
    given = _rules(assignments)
    found = [_replayed(folder, given) for folder in registry.find_all(campaigns)]
    names = Counter(one.campaign for one in found)
    return [
        one._replace(campaign=f"{one.campaign} ({one.folder})") if names[one.campaign] > 1 else one for one in found
    ]


def _rules(assignments: Iterable[str]) -> list[changes.Change]:
    """Return the rules that replace the stored ones, as `set` would change them; raise UserError for any other key."""
    defaults = Convergence().model_dump()
    found = []
    for assignment in assignments:
        key, text = limits.parse_assignment(assignment, "--set ", "convergence.patience=3")
        of_stage = limits.OF_STAGE.fullmatch(key)
        table, _, name = (of_stage[2] if of_stage else key).rpartition(".")
        if table != "convergence":
            raise UserError(_refusal(key))
        value = limits.parse_value(text, isinstance(defaults.get(name), list))
        judged = validate({table: {name: value}}, f"--set {assignment}").model_dump(mode="json")
        if name not in Rules._fields:
            raise UserError(f"--set {key} cannot be replayed: {NO_EFFECT}; it is only reported")
        found.append(limits.new_change(key, None, judged[table][name]))
    return found


def _refusal(key: str) -> str:
    if not key.startswith("stages.") and key not in known_keys():
        return f"--set {key} is not a key of the configuration; {nearest(key)}"
    why = REFUSED.get(key.partition(".")[0], NO_EFFECT)
    return f"--set {key} cannot be replayed: {why}; the keys of [convergence] can, for one stage as stages.1.convergence.patience"


def _replayed(folder: str, given: Sequence[changes.Change]) -> Replayed:
    found = Replayed(os.path.basename(folder), folder, "")
    try:
        submitted = read_submitted(folder)
        found = found._replace(campaign=submitted["name"])
        with queries.published(folder) as db:
            found = found._replace(state=queries.campaign(db)["state"])
            rows = queries.decisions(db)
        if "imported" in submitted:
            raise UserError("it was imported, and no decision was made on its iterations")
        changed = changes.read(folder)
        rules_at = _rules_at(submitted, changed, given)
        judged = _judged(folder, rows, rules_at)
        stages = list(_stages(folder, submitted, judged))
    except CampaignError as problem:
        return found._replace(problem=str(problem))
    differing = [
        Changed(stage, one.iteration, one.stored, one.now.name, one.now.reason)
        for stage, of in judged.items()
        for one in of
        if one.now.name != one.stored
    ]
    return found._replace(
        decisions=len(rows),
        changed=tuple(differing),
        stages=tuple(stages),
        notes=tuple(_notes(changes.apply(submitted, changed), given, stages)),
    )


def _rules_at(
    submitted: Manifest, changed: Sequence[changes.Change], given: Sequence[changes.Change]
) -> Callable[[str], Manifest]:
    """Return a function that returns the manifest by which an iteration is judged at a time.

    Scripts read the changes for every decision, so that those count that were made before it.
    """
    for change in given:
        of_stage = limits.OF_STAGE.fullmatch(change["key"])
        if of_stage and not 1 <= int(of_stage[1]) <= len(submitted["stages"]):
            raise UserError(f"it has no stage {of_stage[1]}; its stages are 1 to {len(submitted['stages'])}")
    known: dict[int, Manifest] = {}

    def rules_at(utc: str) -> Manifest:
        applied = [change for change in changed if change["utc"] <= utc]
        if len(applied) not in known:
            known[len(applied)] = changes.apply(copy.deepcopy(submitted), [*applied, *given])
        return known[len(applied)]

    return rules_at


def _judged(
    folder: str, rows: Sequence[queries.Row], rules_at: Callable[[str], Manifest]
) -> dict[int, list[_Decision]]:
    """Return the decisions of each stage in order; stage 0 is the validation."""
    found: dict[int, list[_Decision]] = {}
    for row in rows:
        stage, iteration = row["stage"], row["iteration"]
        of = f"the metrics of iteration {iteration} of stage {stage} in {folder}/{layout.PUBLISHED}"
        earlier = found.setdefault(stage, [])
        if stage != layout.VALIDATION and iteration != len(earlier) + 1:
            raise StoreError(f"the state database has no decision on iteration {len(earlier) + 1} of stage {stage}")
        try:
            metrics: Metrics = json.loads(row["metrics"])
            history = [*(one.metrics for one in earlier), metrics]
            now, moves = judging.decide(rules_at(row["ended_utc"]), stage, history)
        except (ValueError, LookupError, TypeError, AttributeError) as problem:
            raise StoreError(f"{of} are malformed: {_fault(row['metrics']) or problem}") from None
        earlier.append(_Decision(iteration, row["verdict"], now, moves, metrics))
    return found


def _fault(text: str) -> str:
    try:
        return fault(json.loads(text))
    except (ValueError, RecursionError):
        return "they are not valid JSON"


def end_of(decisions: Sequence[_Decision]) -> _Decision | None:
    """Return the decision that ends a stage; None if it would have continued after the last iteration that ran.

    An end after which the user extended the campaign does not end the stage again.
    """
    last = decisions[-1]
    return next((d for d in decisions if d.now.name != "go_on" and (d is last or d.now.name != d.stored)), None)


def _stages(folder: str, submitted: Manifest, judged: dict[int, list[_Decision]]) -> Iterator[Stage]:
    """Yield the stages as the rules would have ended them."""
    over = ""  # why no further stage would have begun
    for stage, decisions in sorted(judged.items()):
        if stage == layout.VALIDATION:
            continue
        ended, last = end_of(decisions), decisions[-1]
        by = ended or last
        after: int | None = 0 if over else ended.iteration if ended else None
        left = [one for one in decisions if after is not None and one.iteration > after]
        found = Stage(
            stage=stage,
            name=submitted["stages"][stage - 1]["name"],
            ran=len(decisions),
            stored=last.stored,
            stops_after=after,
            decision="" if over else by.now.name,
            reason=over or by.now.reason,
            saved_iterations=len(left),
            saved_cpu_s=_sum(left),
            iteration_cpu_s=None if (spent := _sum(decisions)) is None else spent / len(decisions),
        )
        yield _with_distances(folder, found, last) if after and left else found
        end = table.campaign_after("solving", ended.moves) if ended else None
        if not over and end in table.ENDS:
            over = f"the campaign would have ended in stage {stage} as {end}"


def _sum(decisions: Sequence[_Decision]) -> float | None:
    """Return the CPU time of the iterations' reconstruction (s); None if one is unknown."""
    known = [one.cpu_s for one in decisions]
    return None if None in known else sum((value for value in known if value is not None), 0.0)


def _with_distances(folder: str, stage: Stage, last: _Decision) -> Stage:
    """Return a stage that would have ended earlier with the distance of its constants from those of the ``last`` iteration."""
    place = (stage.stage, last.iteration)
    try:
        earlier = read_constants(layout.result_file(folder, stage.stage, stage.stops_after or 0))
        latest = read_constants(layout.result_file(folder, *place))
    except UserError as problem:
        return stage._replace(problem=f"the distance of the constants is unknown: {problem}")
    moved = differences.moved(differences.changes(earlier, latest))
    stage = stage._replace(distances=tuple(of._replace(largest=abs(of.largest)) for of in moved))
    if not os.path.exists(layout.normal_file(folder, *place)):
        return stage
    # NumPy, which other replays do not need
    from faser_align.alignment.quality.metrics import RESOLUTION_UM
    from faser_align.alignment.solver.normal_equations import read_normal

    try:
        normal = read_normal(layout.normal_file(folder, *place))
    except UserError as problem:
        return stage._replace(problem=f"the increase of chi2 is unknown: {problem}")
    values = parameters_from_correction(subtract_constants(latest, earlier))
    increase, differing = normal.chi2_increase(values), sum(values[label] != 0 for label in normal.labels)
    hits = (last.metrics.get("hits") or {}).get("kept") or 0
    return stage._replace(
        delta_chi2_per_parameter=increase / differing if differing else 0.0,
        residual_shift_um=RESOLUTION_UM * math.sqrt(max(increase, 0.0) / hits) if hits else None,
    )


def _notes(record: Manifest, given: Sequence[changes.Change], stages: Sequence[Stage]) -> Iterator[str]:
    """Yield sentences about the limits of the result."""
    for change in given:
        yield from limits.own(record, change["key"])
    moved = next((one for one in stages[:-1] if one.stops_after not in (one.ran, 0)), None)
    if moved is not None and any(one.stops_after != 0 for one in stages[moved.stage :]):
        yield (
            f"the stages after stage {moved.stage} are judged as they ran: from other constants they could have taken "
            "another course"
        )
