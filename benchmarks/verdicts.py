"""Measure how far the decision *converged* can be trusted: simulated campaigns whose truth is known.

``python benchmarks/verdicts.py SET [--campaigns N] [--first SEED]`` draws campaigns of a set by their seeds:

- ``standard``: everything is misaligned by what FASER's constants changed, or by 0.3 of it, and aligned by the default
  (one step over all stations) or by the stages of ``examples/lxplus_three_stages.toml``; 20,000 to 200,000 tracks;
- ``hard``: the same with one of the troubles of ``HARD``, which an expert would notice or could accept;
- ``deceptive``: the same with one of the troubles of ``DECEPTIVE``, which may look converged.

The *distance* of the constants is the exact excess of chi2 over the truth on independent tracks, all hits and no cuts,
as rms shift of the residuals: 23.1 um * sqrt(excess / hits). Statistical errors alone predict, for the same quantity,
*stat* = 23.1 um * sqrt(determined free parameters / measurements of the alignment) * the factor of its errors. Their ratio is the pull in the exact
chi2. It does not depend on the coordinate frame. A campaign is *false converged* if it ends as converged with a distance
above ``FALSE`` stat.
"""

import argparse
import json
import math
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from in_memory import Campaign, Result, batches
from known_truth import EXAMPLES, RESOLUTION_UM, RUN, Reference, manifest, misplace_everything, true_constants, without

from faser_align.alignment.detector import LAYERS_Z_MM, bending
from faser_align.alignment.parameters.constants import ZERO, Constants
from faser_align.alignment.parameters.labels import KEYS
from faser_align.alignment.quality.notes import FIELD_SIGMA_MAX, MAGNETS, field_sigma
from faser_align.fsm.metrics import Metrics
from faser_align.fsm.plural import in_percent
from faser_align.simulation import geometry as geo
from faser_align.simulation import reconstruct as fit
from faser_align.simulation.tracks import USUAL, USUAL_BEAM, Beam, Hits, Response, simulate_file

import numpy as np  # isort: skip -- after in_memory, which says how many threads it may use

FALSE = 1.5  # stat
FILES = 6
TRACKS = {20_000: 0.75, 50_000: 0.15, 100_000: 0.07, 200_000: 0.03}  # sizes and their shares; the mean is 35,500
RECIPES = {"joint": 0.6, "joint, 3 stations": 0.2, "three stages": 0.2}
LAYERS = tuple(key for key in KEYS if len(key) == 2)
MODULES = tuple(key for key in KEYS if len(key) == 3)
SETS = ("standard", "hard", "deceptive")


@dataclass(frozen=True)
class Case:
    """One campaign.

    Attributes:
        kind: the set. ``seed``: of everything random.
        recipe: one of ``RECIPES``, or ``two steps``.
        tracks: in all files; ``size``: of the misalignment (1 is what the real constants changed).
        trouble, amount, where: what disturbs it, by how much, and which element; empty for nothing.
    """

    kind: str
    seed: int
    recipe: str
    tracks: int
    size: float
    trouble: str = ""
    amount: float = 0.0
    where: str = ""


@dataclass
class World:
    """Conditions of a campaign, which a trouble changes.

    Attributes:
        truths: constants of the true detector, one for each part of the files.
        start: the first constants.
        beam, response, dead: how hits are made, and elements without any.
        resolution: factor of the scatter of hits about their tracks.
        magnets: factor of the field of each magnet.
        twins: files whose tracks are those of another file.
        lost_from: iteration from which file 0 is missing; 0 for never.
        naming: texts all of which the user must see, so that the trouble counts as named; empty: ``Trouble.words`` decide.
        magnet: the one magnet whose field is wrong, as the metrics number it, and by how much.
        knowable: whether the data can show the trouble.
    """

    truths: list[Constants]
    start: Constants
    beam: Beam = USUAL_BEAM
    response: Response = USUAL
    dead: tuple[int, ...] = ()
    resolution: float = 1.0
    magnets: tuple[float, float, float] = (1.0, 1.0, 1.0)
    twins: dict[int, int] = field(default_factory=dict)
    lost_from: int = 0
    naming: tuple[str, ...] = ()
    magnet: tuple[str, float] | None = None
    knowable: bool = True


class Trouble(NamedTuple):
    """A trouble of a campaign: its range, its effect, and words of which one names it to the user.

    ``amount`` is drawn from ``low`` to ``high``, evenly in its logarithm. In ``words`` {where} is the element, in either
    form that messages have.
    """

    low: float
    high: float
    apply: Callable[[World, Case, Any], None]
    words: tuple[str, ...]
    elements: tuple[str, ...] = ("",)


def _shifted(constants: Constants, key: str, place: int, by: float) -> Constants:
    six = list(constants.get(key, ZERO))
    six[place] += by
    return constants | {key: tuple(six)}  # type: ignore[dict-item]


def _elements(where: str) -> tuple[int, ...]:
    """Return the elements of a layer, of a module, or of one side (``213/1``)."""
    key, _, side = where.partition("/")
    layer = 3 * int(key[0]) + int(key[1])
    modules = [int(key[2])] if len(key) == 3 else list(range(geo.MODULES))
    sides = [int(side)] if side else list(range(geo.SIDES))
    return tuple((layer * geo.MODULES + module) * geo.SIDES + one for module in modules for one in sides)


def _outliers(world: World, case: Case, rng: Any) -> None:
    world.response = Response(outliers=case.amount)


def _noise(world: World, case: Case, rng: Any) -> None:
    world.response = Response(inefficiency=0.05, noise=case.amount)


def _better(world: World, case: Case, rng: Any) -> None:
    world.resolution = 0.8


def _worse(world: World, case: Case, rng: Any) -> None:
    world.resolution = 1.2


def _far(world: World, case: Case, rng: Any) -> None:
    world.start = _shifted(world.start, case.where, 0, case.amount * rng.choice([-1.0, 1.0]))


def _dead(world: World, case: Case, rng: Any) -> None:
    world.dead = _elements(case.where)


def _parallel(world: World, case: Case, rng: Any) -> None:
    world.beam = Beam(slope_rms=0.0003)


def _slow(world: World, case: Case, rng: Any) -> None:
    world.beam = Beam(momentum_median=110.0, momentum_width=0.3)


def _narrow(world: World, case: Case, rng: Any) -> None:
    world.beam = Beam(radius=case.amount)


def _tilted(world: World, case: Case, rng: Any) -> None:
    """Tilt all layers of the true detector and of the first constants alike."""
    for layer in LAYERS:
        for place in (3, 4):
            by = 0.05 * rng.choice([-1.0, 1.0]) - world.truths[0].get(layer, ZERO)[place]
            world.truths = [_shifted(truth, layer, place, by) for truth in world.truths]
            world.start = _shifted(world.start, layer, place, by)


def _moves(world: World, case: Case, rng: Any) -> None:
    """Move a module across its strips, or a layer along y, in the middle of the data."""
    by = 1e-3 * case.amount * rng.choice([-1.0, 1.0])
    place = 0 if len(case.where) == 3 else 1
    world.truths = [world.truths[0], _shifted(world.truths[0], case.where, place, by)]
    world.naming = ("differ between files", f"module {case.where}", f"from file {FILES // 2} on")


def _duplicated(world: World, case: Case, rng: Any) -> None:
    count = round(case.amount * FILES)
    world.twins = {FILES - 1 - at: at for at in range(count)}
    world.naming = tuple(f"of file {file} are also in file {of}" for file, of in world.twins.items())


def _lost(world: World, case: Case, rng: Any) -> None:
    world.lost_from = round(case.amount)
    world.naming = ("file 0 was dropped", "errors are about 10 % larger")


def _field(world: World, case: Case, rng: Any) -> None:
    factors = [1.0, 1.0, 1.0]
    at = int(rng.integers(1 if case.recipe.endswith("3 stations") else 0, 3))
    factors[at] += float(case.amount * rng.choice([-1, 1]))
    world.magnets = (factors[0], factors[1], factors[2])
    world.magnet = str(at + 1), factors[at] - 1.0
    sign = "+" if factors[at] > 1.0 else "-"
    world.naming = ("residuals depend on charge and momentum", f"that of {MAGNETS[str(at + 1)]} by {sign}")


def _scale(world: World, case: Case, rng: Any) -> None:
    factor = 1.0 + case.amount * rng.choice([-1.0, 1.0])
    world.magnets = (factor, factor, factor)
    world.knowable = False


def _nothing(world: World, case: Case, rng: Any) -> None:
    """Change nothing: the recipe is the trouble."""


_SIDES = tuple(f"{module}/{side}" for module in MODULES for side in (0, 1))
HARD = {
    "outliers": Trouble(0.005, 0.05, _outliers, ("hits cut", "hits are cut", "outlier")),
    "noise": Trouble(0.001, 0.01, _noise, ("hits cut", "hits are cut", "noisy strips")),
    "resolution better": Trouble(0.8, 0.8, _better, ("errors of hits may be too large",)),
    "resolution worse": Trouble(1.2, 1.2, _worse, ("errors of hits may be too small",)),
    "module off": Trouble(0.5, 1.0, _far, ("{where}",), MODULES),
    "dead side": Trouble(1, 1, _dead, ("{where}",), _SIDES),
    "dead module": Trouble(1, 1, _dead, ("{where}",), MODULES),
    "dead layer": Trouble(1, 1, _dead, ("{where}",), LAYERS),
    "parallel beam": Trouble(1, 1, _parallel, ("parallel",)),
    "low momenta": Trouble(1, 1, _slow, ("low momenta", "momentum window")),
    "few tracks at the edge": Trouble(65, 75, _narrow, ("too few entries", "too few tracks")),
    "tilts of 50 mrad": Trouble(1, 1, _tilted, ("tilt",)),
}
DECEPTIVE = {
    "module moves": Trouble(10, 50, _moves, (), MODULES),
    "layer moves": Trouble(10, 50, _moves, (), LAYERS),
    "duplicated files": Trouble(0.15, 0.5, _duplicated, ()),
    "lost file": Trouble(2, 4, _lost, ()),
    "wrong field": Trouble(0.01, 0.05, _field, ()),
    "momentum scale": Trouble(0.01, 0.1, _scale, ()),
    "weak modes": Trouble(1, 1, _nothing, ("along the weak mode",)),
}
TROUBLES = HARD | DECEPTIVE


def draw(kind: str, seed: int) -> Case:
    """Return the case of a seed."""
    rng = np.random.default_rng([2026, SETS.index(kind), seed])
    recipe = str(rng.choice(list(RECIPES), p=list(RECIPES.values())))
    tracks = int(rng.choice(list(TRACKS), p=list(TRACKS.values()))) if kind == "standard" else 20_000
    size = float(rng.choice([0.3, 1.0]))
    if kind == "standard":
        return Case(kind, seed, recipe, tracks, size)
    known = HARD if kind == "hard" else DECEPTIVE
    name = list(known)[seed % len(known)]
    trouble = known[name]
    if name == "weak modes":
        recipe = "two steps"
    stations = range(4) if recipe in ("joint", "three stages") else range(1, 4)
    places = [where for where in trouble.elements if not where or int(where[0]) in stations]
    amount = trouble.low * (trouble.high / trouble.low) ** rng.random()
    return Case(kind, seed, recipe, tracks, size, name, float(amount), str(rng.choice(places)))


def tables(recipe: str) -> dict[str, Any]:
    """Return the tables of the configuration that a recipe sets; the rest has its defaults."""
    if recipe == "three stages":
        shipped = tomllib.loads((EXAMPLES / "lxplus_three_stages.toml").read_text(encoding="utf-8"))
        stations, iterations = (shipped["campaign"][key] for key in ("stations", "iterations"))
        campaign = {"stations": stations, "iterations": iterations}
        return {"campaign": campaign} | {key: shipped[key] for key in ("mille", "stages", "convergence")}
    if recipe == "two steps":
        shipped = tomllib.loads((EXAMPLES / "steps_3st_two_steps.toml").read_text(encoding="utf-8"))
        return {"campaign": shipped["campaign"], "stages": shipped["stages"], "mille": {"pivot": "calypso"}}
    return {"campaign": {"stations": 3 if recipe == "joint, 3 stations" else 4}}


def world_of(case: Case) -> World:
    """Return the conditions of a case's campaign."""
    truth = true_constants()
    rng = np.random.default_rng([2026, SETS.index(case.kind), case.seed, 1])
    world = World([truth], misplace_everything(truth, rng, case.size))
    if case.trouble:
        TROUBLES[case.trouble].apply(world, case, rng)
    return world


def simulate(case: Case, world: World) -> dict[int, list[Hits]]:
    """Return the hits of all files in batches."""
    files: dict[int, list[Hits]] = {}
    geometries = [geo.build(truth) for truth in world.truths]
    for file in range(FILES):
        truth = geometries[file * len(geometries) // FILES]
        parts = simulate_file(
            truth, case.tracks // FILES, case.seed, int(RUN), world.twins.get(file, file), world.response, world.beam
        )
        files[file] = batches(_disturbed(hits, truth, world) for hits in parts)
    return files


def _disturbed(hits: Hits, truth: geo.Geometry, world: World) -> Hits:
    """Return the hits without those of dead elements, and as another resolution or field would make them."""
    hits = without(hits, world.dead)
    if world.resolution == 1.0 and world.magnets == (1.0, 1.0, 1.0):
        return hits
    fits = fit.reconstruct(hits, truth, 4)
    track = np.repeat(np.arange(len(fits.lengths)), fits.lengths)
    layer = fits.element // (geo.MODULES * geo.SIDES)
    by_y, q_over_p = fits.local[1], fits.parameters[track, 4]
    measured = fits.measured + (world.resolution - 1.0) * fits.residual + by_y * q_over_p * _bending(world)[layer]
    strip: Any = (measured + geo.HALF_WIDTH) / geo.PITCH - 0.5  # not a whole number
    return Hits(track, fits.element, strip)


def _bending(world: World) -> Any:
    """Return the additional shift in y at each layer (mm) for q/p = 1/GeV by the magnets' wrong fields."""
    return bending(LAYERS_Z_MM)[0] @ (np.array(world.magnets) - 1.0)


@dataclass
class Outcome:
    """The end of a campaign.

    Attributes:
        end: last decision; ``why``: its reason, or the solver's failure. ``failed``: criteria that the end does not
            meet. ``shown``: what else the user sees: these criteria, parameters with too few entries, and remarks.
        iterations: of each stage.
        start_um, distance_um, stat_um: at the start and at the end.
        naming: texts all of which name the trouble; without them, the words of the trouble do.
        knowable: whether the data can show the trouble; the field of one magnet if its deviation is above the limit of the
            remark with the errors of the last iteration.
        cpu_s: CPU time.
    """

    case: Case
    end: str
    why: str
    failed: list[str]
    shown: list[str]
    iterations: list[int]
    start_um: float
    distance_um: float
    stat_um: float
    chi2_per_ndf: float | None
    naming: tuple[str, ...]
    knowable: bool
    cpu_s: float

    @property
    def pull(self) -> float:
        """Distance in units of stat."""
        return self.distance_um / self.stat_um if self.stat_um else math.inf

    @property
    def false(self) -> bool:
        """Whether it ended as converged away from the truth."""
        return self.end == "converged" and self.pull > FALSE

    @property
    def refused(self) -> bool:
        """Whether it did not end as converged although its constants are right."""
        return self.end != "converged" and self.pull <= FALSE

    @property
    def named(self) -> bool:
        """Whether what the user sees names the trouble: its cause, and the element, files or magnet where it is."""
        text = " ".join([self.why, *self.shown])
        if self.naming:
            return all(words in text for words in self.naming)
        where = self.case.where.partition("/")[0]
        names = [f"{'module' if len(where) == 3 else 'layer'} {where}", in_words(where)] if where else [""]
        words = TROUBLES[self.case.trouble].words if self.case.trouble else ()
        return any(word.format(where=name) in text for word in words for name in names)


def in_words(key: str) -> str:
    """Return the words of messages for a layer or a module."""
    layer = f"layer {key[1]} of station {key[0]}"
    return f"module {key[2]} of {layer}" if len(key) == 3 else layer


def run(case: Case) -> Outcome:
    """Run a campaign and measure where it ended."""
    started = time.process_time()
    world = world_of(case)
    record = manifest(tables(case.recipe), FILES, Path("/nowhere"))
    stations = record["stages"][-1].get("stations") or record["stations"]
    reference = Reference(
        [geo.build(truth) for truth in world.truths],
        stations,
        beam=world.beam,
        response=world.response,
        dead=world.dead,
    )

    def lost(stage: int, number: int) -> Collection[int]:
        return [0] if world.lost_from and (stage > 1 or number >= world.lost_from) else []

    result = Campaign(record, simulate(case, world)).run(world.start, lost)
    return Outcome(
        case,
        result.verdict.name if not result.failure else "failed",
        result.failure or result.verdict.reason,
        [criterion.name for criterion in result.verdict.criteria if not criterion.passed],
        shown(result),
        [len(history) for history in result.stages],
        reference.distance_um(world.start),
        reference.distance_um(result.constants),
        stat_um(result),
        result.last["chi2_per_ndf"] if result.stages[-1] else None,
        world.naming,
        world.knowable and _measurable(world, result),
        time.process_time() - started,
    )


def _measurable(world: World, result: Result) -> bool:
    """Return whether the deviation of the wrong magnet, if there is one, is above the limit of the remark."""
    if world.magnet is None:
        return True
    number, deviation = world.magnet
    magnets = result.last["magnets"] if result.stages[-1] else {}
    return number in magnets and (
        field_sigma({**magnets[number], "deviation": deviation}, len(magnets)) > FIELD_SIGMA_MAX
    )


def shown(result: Result) -> list[str]:
    """Return what the user sees of the end besides its reason."""
    texts = [c.text for c in result.verdict.criteria if not c.passed or (c.name == "entries" and c.value)]
    return [*texts, *(result.last["notes"] if result.stages[-1] else [])]


def stat_um(result: Result) -> float:
    """Return the distance that the reported errors predict."""
    history = next((history for history in reversed(result.stages) if history), None)
    if history is None:
        return 0.0
    last = history[-1]
    return RESOLUTION_UM * math.sqrt(determined(last) / last["hits"]["kept"]) * last["error_scale"].get("factor", 1.0)


def determined(metrics: Metrics) -> int:
    """Return the number of directions in which an iteration's steps determined the free parameters."""
    parts: list[Any] = [step["parts"] for step in metrics["steps"]]
    return sum(
        part["significant"]["directions"] + part["weak"]["directions"] - part["undetermined"] for part in parts if part
    )


def upper_limit(false: int, converged: int, confidence: float = 0.95) -> float:
    """Return Clopper and Pearson's one-sided upper limit of a fraction, for ``false`` out of ``converged``."""
    if converged == 0:
        return 1.0
    low, high = false / converged, 1.0
    for _ in range(60):
        share = 0.5 * (low + high)
        few = sum(math.comb(converged, k) * share**k * (1 - share) ** (converged - k) for k in range(false + 1))
        low, high = (share, high) if few > 1 - confidence else (low, share)
    return high


HEAD = "seed  recipe             tracks size  trouble                      end        it      start   dist   stat  pull   s"


def row(one: Outcome) -> str:
    """Return the line of a campaign in the table below ``HEAD``."""
    case = one.case
    drawn = case.trouble and TROUBLES[case.trouble].low != TROUBLES[case.trouble].high
    trouble = f"{case.trouble}{f' {case.amount:.3g}' if drawn else ''} {case.where}".strip()
    why = "" if one.end == "converged" else f"  {one.why}"
    return (
        f"{case.seed:5d} {case.recipe:17s} {case.tracks:7d} {case.size:3g}  {trouble:28s} {one.end:10s} "
        f"{'+'.join(map(str, one.iterations)):7s} {one.start_um:5.1f} {one.distance_um:6.2f} {one.stat_um:6.2f} "
        f"{one.pull:5.2f} {one.cpu_s:3.0f}{'  FALSE' if one.false else ''}{why}"
    )


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the summary of a set in lines."""
    ends = Counter(one.end for one in outcomes)
    converged = [one for one in outcomes if one.end == "converged"]
    false, refused = sum(one.false for one in converged), sum(one.refused for one in outcomes)
    limit = upper_limit(false, len(converged))
    lines = [
        f"ends: {', '.join(f'{count} {name}' for name, count in ends.most_common())}",
        f"false converged (above {FALSE:g} stat): {false} of {len(converged)}, below {in_percent(limit, 1)} with 95 % confidence",
        f"good but refused: {refused} of {sum(one.pull <= FALSE for one in outcomes)} good ones",
    ]
    if converged:
        pulls = np.array([one.pull for one in converged])
        worst = max(max(one.iterations) for one in converged)
        by_stage = [number for one in converged for number in one.iterations]
        lines.append(f"iterations per stage of those that converged: median {np.median(by_stage):g}, most {worst}")
        lines.append(
            f"distance of those that converged, in stat, which is the pull in the exact chi2: median {np.median(pulls):.2f}, "
            f"rms {np.sqrt(np.mean(pulls**2)):.2f}, standard deviation {pulls.std():.2f}, largest {pulls.max():.2f}"
        )
    unmet = Counter(name for one in outcomes if one.end != "converged" for name in one.failed)
    if unmet:
        lines.append(f"unmet criteria of the others: {', '.join(f'{name} {n}' for name, n in unmet.most_common())}")
    if any(one.case.trouble for one in outcomes):
        lines.append(_named(outcomes))
    for name in [name for name in TROUBLES if any(one.case.trouble == name for one in outcomes)]:
        of = [one for one in outcomes if one.case.trouble == name]
        lines.append(
            f"{name}: {len(of)}, converged {sum(one.end == 'converged' for one in of)}, false {sum(one.false for one in of)}, "
            f"good but refused {sum(one.refused for one in of)}, {_named(of)}, "
            f"pulls {' '.join(f'{one.pull:.2f}' for one in of)}"
        )
    return lines


def _named(outcomes: Sequence[Outcome]) -> str:
    """Return in how many campaigns the cause was named, of those in which the data can show it."""
    knowable = [one for one in outcomes if one.knowable]
    hidden = len(outcomes) - len(knowable)
    text = f"cause named in {sum(one.named for one in knowable)} of {len(knowable)}"
    return text + (f" (and {hidden} that the data cannot show)" if hidden else "")


def main() -> int:
    """Run the requested campaigns."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("set", choices=SETS)
    options.add_argument("--campaigns", type=int, default=12)
    options.add_argument("--first", type=int, default=1, help="seed of the first campaign")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options.add_argument("--json", dest="output", help="file for everything that was measured")
    asked = options.parse_args()
    started = time.perf_counter()
    cases = [draw(asked.set, seed) for seed in range(asked.first, asked.first + asked.campaigns)]
    print(HEAD)
    outcomes = []
    with ProcessPoolExecutor(asked.processes) as pool:
        for outcome in pool.map(run, cases):
            outcomes.append(outcome)
            print(row(outcome), flush=True)
    print("", *summary(outcomes), sep="\n")
    print(
        f"{time.perf_counter() - started:.0f} s on {asked.processes} processes, "
        f"{np.mean([one.cpu_s for one in outcomes]):.1f} s of CPU time per campaign"
    )
    if asked.output:
        Path(asked.output).write_text(json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
