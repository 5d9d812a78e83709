"""Run campaigns in memory: the jobs' computation without HTCondor, ROOT files, Mille binaries and the solver's files.

Hits are simulated once per campaign. Each iteration fits the tracks, applies the cuts, and sums the normal equations of
all parameters in one pass. A step is a part of these sums, and every further pass of the solver follows from them,
because no cut of the solver depends on its parameters. Everything else is the jobs' own code: fix rules, steering texts,
the solver's iterations, metrics, and the decision. ``tests/jobs/test_in_memory.py`` holds both equal.
"""

import dataclasses
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one campaign per core; numpy reads it when it is imported

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faser_align.alignment.arrays import FloatArray, IntArray
from faser_align.alignment.mille.conversion import apply_cuts, hit_words, labels_of
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.mille.kfalignment import HIT_BRANCHES, MEASURED_BRANCH, Tracks
from faser_align.alignment.parameters.constants import Constants, add_constants, correction_from_parameters
from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.results import END_TEXTS
from faser_align.alignment.pede.solution import Rejects, Solution
from faser_align.alignment.pede.steering_text import Frozen, solver_options, step_fixed, write_steering
from faser_align.alignment.quality import momenta
from faser_align.alignment.quality.between_files import agreement, duplicates
from faser_align.alignment.quality.metrics import Data, Step, iteration_metrics
from faser_align.alignment.quality.notes import notes
from faser_align.alignment.quality.survey import freeze
from faser_align.alignment.solver import builtin
from faser_align.alignment.solver.blas import one_blas_thread
from faser_align.alignment.solver.equations import Equations
from faser_align.alignment.solver.iterations import Iterations
from faser_align.alignment.solver.label_sets import LabelSets
from faser_align.alignment.solver.normal_equations import Normal, in_um
from faser_align.alignment.solver.passes import Parameters, Pass, run_pass
from faser_align.alignment.solver.problem import Problem, make_problem
from faser_align.alignment.solver.steering import SolverError, Steering, parse_steering
from faser_align.campaign.manifest import convergence_of
from faser_align.fsm.metrics import Metrics
from faser_align.fsm.rules import Rules
from faser_align.fsm.table import after_verdict
from faser_align.fsm.verdict import Verdict, judge
from faser_align.jobs import equations, solve
from faser_align.jobs.program import Iteration
from faser_align.jobs.steps import TOO_MANY_REJECTS, WIDER
from faser_align.simulation import geometry as geo
from faser_align.simulation import kfalignment
from faser_align.simulation import reconstruct as fit
from faser_align.simulation.tracks import Hits

BATCH = 1000  # tracks that are fitted at once; their arrays fit into the processor's cache
LOCALS = 5
LABELS = np.array(list(PARAMETERS), np.int64)
ALL_FREE = Parameters.make(LABELS, np.ones(len(LABELS), np.bool_))


class Result(NamedTuple):
    """The end of a campaign: the last decision, its metrics, all iterations' metrics by stage, and the constants."""

    verdict: Verdict
    stages: list[list[Metrics]]
    constants: Constants
    failure: str = ""  # of the solver; the verdict is then the last one before it

    @property
    def last(self) -> Metrics:
        """Metrics of the last iteration."""
        return self.stages[-1][-1]


def batches(parts: Iterable[Hits], size: int = BATCH) -> list[Hits]:
    """Return the hits of a raw file in batches of ``size`` tracks, which cross the same modules as far as possible.

    The solver multiplies matrices of the parameters of a hundred tracks, which are fewer for similar tracks.
    """
    tracks = [hits for part in parts if len(part.track) for hits in _tracks(part)]
    tracks.sort(key=lambda hits: (int(hits[0][0]) // geo.SIDES, int(hits[0][-1]) // geo.SIDES))
    return [_batch(tracks[first : first + size]) for first in range(0, len(tracks), size)]


def _tracks(hits: Hits) -> Iterator[tuple[IntArray, Any]]:
    """Yield elements and strips of each track."""
    at = np.flatnonzero(np.diff(hits.track)) + 1
    return zip(np.split(hits.element, at), np.split(hits.strip, at), strict=True)


def _batch(tracks: Sequence[tuple[IntArray, Any]]) -> Hits:
    elements, strips = zip(*tracks, strict=True)
    number = np.repeat(np.arange(len(tracks)), [len(element) for element in elements])
    return Hits(number, np.concatenate(elements), np.concatenate(strips))


class _Elements(LabelSets):
    """The sets of labels: one per detector element, in the order of ``geometry.py``."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = labels_of(geo.identifiers()).T


@dataclass
class _Source:
    """Records in memory, with what ``Problem`` and ``run_pass`` use of ``solver.source.Source``."""

    chunks: Iterator[Equations] | list[Equations]
    sets: Any = field(default_factory=_Elements)
    records: int = 0
    equations: int = 0
    locals_max: int = LOCALS
    equations_max: int = 0
    set_counts: IntArray = field(default_factory=lambda: np.zeros(geo.ELEMENTS, np.int64))
    truncated: frozenset[int] = frozenset()

    def __iter__(self) -> Iterator[Equations]:
        for chunk in self.chunks:
            if not len(chunk.values):
                continue
            self.records += len(chunk.n_locals)
            self.equations += len(chunk.values)
            self.set_counts += np.bincount(chunk.sets, minlength=geo.ELEMENTS)
            yield chunk

    def count(self, by_record: bool) -> dict[int, int]:
        """Return the equations of each label that has any."""
        by_label = np.zeros(int(LABELS.max()) + 1, np.int64)
        for row in self.sets.labels:
            np.add.at(by_label, row, self.set_counts)
        return {label: int(by_label[label]) for label in LABELS.tolist() if by_label[label]}


class _Sums(NamedTuple):
    """Sums over all records with every parameter free and zero, and the records' source."""

    source: _Source
    done: Pass

    @staticmethod
    def of(chunks: Iterator[Equations] | list[Equations], hugecut: float) -> "_Sums":
        source: Any = _Source(chunks)
        start = np.zeros(len(LABELS))
        steering = Steering(huge_cut=hugecut)
        return _Sums(source, run_pass(source, steering, ALL_FREE, start, 0.0, first=False, with_matrix=True))

    def normal(self, entries_min: int, steering: Steering) -> Normal:
        """Return the normal equations of the labels with enough entries."""
        entries = self.source.count(by_record=False)
        variable = [label for label in LABELS.tolist() if entries.get(label, 0) >= entries_min]
        at = np.searchsorted(LABELS, variable)
        assert self.done.matrix is not None
        return in_um(variable, self.done.matrix[np.ix_(at, at)], self.done.gradient[at], steering)


class _FromSums(Iterations):
    """The solver's iterations, each pass of which follows from the sums."""

    sums: _Sums

    def _pass(self, number: int, *, with_matrix: bool, observed: bool) -> Pass:
        done, at = self.sums.done, self.problem.variable
        assert done.matrix is not None
        moved = done.matrix @ self.values
        return Pass(
            gradient=(done.gradient - moved)[at],
            accepted=done.accepted[at],
            matrix=done.matrix[np.ix_(at, at)] if with_matrix else None,
            chi2=float(done.chi2 - 2.0 * done.gradient @ self.values + self.values @ moved),
            ndf=done.ndf,
            weighted_ndf=done.weighted_ndf,
            rejects=done.rejects,
            margin=0.0,  # no pass needs records here
        )


def _solution(steering: Steering, sums: _Sums) -> Solution:
    """Return what ``solver.builtin.solve`` returns for the same records."""
    source: Any = sums.source
    problem: Problem = make_problem(steering, source)
    run = _FromSums(problem, None)  # type: ignore[arg-type]
    run.sums = sums
    with one_blas_thread(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        run.run()
    code = builtin._end_code(problem, run)
    return Solution(
        code,
        END_TEXTS[code],
        builtin._message(code, problem, run),
        builtin._result(problem, run),
        records=source.records,
        rejects=Rejects(*run.last.rejects),
        chi2=run.last.chi2,
        ndf=run.last.ndf - problem.n_fit,
        mean_weight=run.last.weighted_ndf / max(run.last.ndf, 1) or 1.0,
        n_variable=problem.parameters.n_variable,
        n_fit=problem.n_fit,
        measurements=source.equations,
        expected_decrease=run.first_decrease,
        entries_fixed=problem.entries_fixed,
        iterations=tuple(run.rows),
        constraints=len(problem.constraints.matrix),
        constraint_rank=problem.constraints.rank,
        rank_defect=run.inverse.defect,
        undetermined=builtin._undetermined(problem, run),
        from_sums=True,
    )


class Campaign:
    """A campaign in memory.

    Args:
        record: the manifest, with the raw files, stages and configuration.
        hits: batches of hits by raw file.
    """

    def __init__(self, record: Any, hits: Mapping[int, Sequence[Hits]]) -> None:
        self.record = record
        self._hits = hits
        self._starts: dict[tuple[int, int], Constants] = {}
        self._momenta: dict[tuple[int, int], momenta.TrackArray] = {}

    def run(self, start: Constants, lost: Callable[[int, int], Collection[int]] = lambda stage, number: ()) -> Result:
        """Run all stages until the campaign ends.

        Args:
            start: constants at the start.
            lost: returns the files that an iteration, given by stage and number, has dropped.
        """
        constants, stages, said = start, [], Verdict("failed", "", ())
        for stage, described in enumerate(self.record["stages"], start=1):
            rules = Rules.from_config(convergence_of(self.record, stage))
            history: list[Metrics] = []
            stages.append(history)
            while not history or said.name == "go_on":
                number = len(history) + 1
                try:
                    metrics, constants = self.iterate(stage, number, constants, lost(stage, number))
                except SolverError as error:
                    return Result(said, stages, constants, str(error))
                history.append(metrics)
                said = judge(rules, history, limit=described["iterations"])
            last = stage == len(self.record["stages"])
            at_limit = described.get("at_limit", "continue")
            if after_verdict(said.name, last=last, validated=False, at_limit=at_limit) != "stage_finished":
                break
        return Result(said, stages, constants)

    def iterate(
        self, stage: int, number: int, constants: Constants, lost: Collection[int] = ()
    ) -> tuple[Metrics, Constants]:
        """Return the metrics of an iteration and the constants that follow from it, as the jobs do."""
        iteration = Iteration(self.record, self.record["folder"], stage, number)
        self._starts[stage, number] = constants
        used = [file for file in iteration.files if file not in lost]
        residual_max, again = iteration.residual_max_mm, False
        try:
            done = self._solve(iteration, used, constants, residual_max)
        except SolverError as error:
            if error.code != TOO_MANY_REJECTS:
                raise
            residual_max, again = WIDER * residual_max, True
            done = self._solve(iteration, used, constants, residual_max)
        correction = correction_from_parameters(done.steps[-1].solution.values)
        metrics = iteration_metrics(
            stage=stage,
            iteration=number,
            data=Data(
                len(iteration.files),
                sorted(lost),
                done.counts,
                residual_max,
                iteration.cuts_are_final,
                again,
                self._momentum(iteration),
                agreement(done.side_residuals, used),
                duplicates(done.tracks, used),
            ),
            steps=done.steps,
            constants=constants,
            correction=correction,
            backend="builtin",
            normal=done.normal,
            freed_earlier=solve._freed_earlier(iteration),
            survey=iteration.config["survey"],
            first=self._starts.get((1, 1)),
            before=self._starts.get((stage, number - 1)),
            last=number >= self.record["stages"][stage - 1]["iterations"],
        )
        metrics["notes"] = notes(
            metrics,
            iteration.config["convergence"]["momentum_max"],
            Rules.from_config(convergence_of(self.record, stage)),
        )
        return metrics, add_constants(constants, correction)

    def _solve(self, iteration: Iteration, used: list[int], constants: Constants, residual_max: float) -> "_Done":
        planned = self.record["stages"][iteration.stage - 1]["steps"]
        settings: Any = iteration.config["solver"]
        about_layers = equations.about_layers(iteration)
        converted = _Converted(iteration, constants, residual_max, about_layers=about_layers)
        sums = _Sums.of(converted.chunks({file: self._hits[file] for file in used}), settings["hugecut"])
        turned = _Sums.of(converted.about_layers, settings["hugecut"]) if about_layers else None
        steps: list[Step] = []
        normals: list[Normal] = []
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            binary = Path(folder, "tracks.bin")  # steering texts must name a file that exists
            binary.touch()
            for step in planned:
                labels, options = step_fixed(step, iteration.stations), solver_options(settings, step)
                start = steps[-1].solution.values if steps else {}
                steering = parse_steering(write_steering(folder, [binary], labels, start, options))
                measured = sums.normal(steering.entries_min, steering)
                normals.append(measured if turned is None else turned.normal(1, steering))
                frozen: tuple[Frozen, ...] = ()
                if above := step.get("freeze_sigma", 0.0):
                    free = (PARAMETERS.keys() - labels) & set(measured.labels)
                    frozen = freeze(normals[-1], free, constants, self._starts[1, 1], iteration.config["survey"], above)
                    governed = dataclasses.replace(options, frozen=frozen)
                    steering = parse_steering(write_steering(folder, [binary], labels, start, governed))
                names = tuple(mode.name for mode in frozen)
                steps.append(Step(step["name"], labels, _solution(steering, sums), start, names))
        normal = normals[0]
        self._momenta[iteration.stage, iteration.number] = converted.momenta()
        return _Done(steps, converted.counts, normal, np.stack(converted.side_residuals), converted.tracks)

    def _momentum(self, iteration: Iteration) -> Any:
        window = iteration.config["mille"]["pz_min"], iteration.config["mille"]["pz_max"]
        now = self._momenta[iteration.stage, iteration.number]
        earlier = {} if iteration.number < 2 else {"since_before": iteration.number - 1, "since_first": 1}
        return {
            name: momenta.compare(self._momenta[iteration.stage, number], now, window)
            for name, number in earlier.items()
        }


class _Done(NamedTuple):
    steps: list[Step]
    counts: Counts
    normal: Normal
    side_residuals: IntArray  # of each file
    tracks: list[momenta.TrackArray]  # of each file


class _Converted:
    """The tracks of an iteration as equations; complete when ``chunks`` has been read to its end."""

    def __init__(self, iteration: Iteration, constants: Constants, residual_max: float, *, about_layers: bool) -> None:
        self._stations, self._cuts = iteration.stations, iteration.cuts(residual_max)
        self._weight = iteration.weight
        self._constants, self._believed = constants, geo.build(constants)
        self._collect = about_layers
        self.tracks: list[momenta.TrackArray] = []
        self.side_residuals: list[IntArray] = []
        self.about_layers: list[Equations] = []
        self.counts = Counts()

    def chunks(self, hits: Mapping[int, Sequence[Hits]]) -> Iterator[Equations]:
        for number, (file, parts) in enumerate(hits.items()):
            self.tracks.append(np.zeros(0, momenta.TRACK))
            self.side_residuals.append(Counts().side_residuals)
            for part in parts:
                fits = fit.reconstruct(part, self._believed, self._stations)
                if len(fits.lengths):
                    yield self._convert(fits, number, self._weight(file))

    def momenta(self) -> momenta.TrackArray:
        """Return momenta and fingerprints of all tracks, as ``read_momenta`` does."""
        tracks = np.concatenate(self.tracks)
        return tracks[np.argsort(tracks["hits"], kind="stable")]

    def _convert(self, fits: fit.Fits, number: int, weight: float) -> Equations:
        branches = {f"fitParam_{name}": column for name, column in kfalignment.hit_branches(fits).items()}
        ids = geo.identifiers()[fits.element]
        tracks = Tracks(
            kfalignment.track_branches(fits),
            fits.lengths,
            {name: branches[name] for name in (*HIT_BRANCHES, MEASURED_BRANCH)},
            ids,
        )
        self.tracks[-1] = np.concatenate([self.tracks[-1], momenta.momenta_of(tracks)])
        tracks, kept, counted = apply_cuts(tracks, self._cuts)
        words = hit_words(tracks, kept, self._constants if self._cuts.pivot == "layer" else None)
        equations = _equations(tracks, kept, words, number, weight)
        if self._collect:
            moved = hit_words(tracks, kept, self._constants)
            self.about_layers.append(_equations(tracks, kept, moved, number, weight))
        written = {"tracks_written": len(equations.n_locals), "measurements": len(equations.values)}
        self.counts = self.counts + Counts(**counted, **written)
        self.side_residuals[-1] = self.side_residuals[-1] + counted["side_residuals"]
        return equations


def _equations(tracks: Tracks, kept: Any, words: Any, number: int, weight: float) -> Equations:
    """Return what ``solver.equations.decode`` makes of the records of these hits."""
    track = np.repeat(np.arange(len(tracks.lengths)), tracks.lengths)[kept]
    counts = np.bincount(track, minlength=len(tracks.lengths))
    records = np.flatnonzero(counts)
    counts = counts[records]
    columns: FloatArray = np.ascontiguousarray(words.T)
    elements = tracks.modules[kept] * geo.SIDES + tracks.ids[kept] % 10
    return Equations(
        columns[0],
        columns[1 + LOCALS],
        columns[1 : 1 + LOCALS],
        columns[2 + LOCALS :],
        elements.astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]),
        np.where(counts < LOCALS, -LOCALS, LOCALS),
        weight,
        records,
        number,
    )
