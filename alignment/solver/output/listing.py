"""List the input as pede does in ``millepede.res`` when it only checks it (PRTSTAT of pede V04-16).

The listing has each label with its state. With a level above 1, and where a constraint without a free parameter forbids
a solution, it also says where in the data a label occurs and with how many others. Groups of constraints that share
labels follow.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from faser_align.alignment.arrays import IntArray
from faser_align.alignment.pede.results import COMMENT_LENGTH, fortran_g
from faser_align.alignment.solver.elimination import groups
from faser_align.alignment.solver.problem import Problem

OfLabel = dict[int, IntArray]
"""Numbers of the sets that have a label, by label, ascending."""

_HEAD = (
    " ! === global parameters ===",
    " ! fixed-1: by pre-sigma, -2: by entries cut, -3: by iterated entries cut",
    " !      Label       Value     Pre-sigma         Entries Cons. group  Status ",
)
_APPEARANCE = " !.     Label  First file and record  Last file and record   #files  #paired-par"
_GROUPS = " *  Group  #Cons.     Entries First label  Last label"
_GROUPS_APPEARANCE = " *.     Group  First file and record  Last file and record   #files"


class _Seen(NamedTuple):
    """Where sets of labels occur: by file and set, numbers of the first and last record; zero if absent."""

    first: IntArray
    last: IntArray

    def of(self, sets: IntArray) -> list[int]:
        """Return first file and record, last file and record, and number of files, from 1, of any of these sets."""
        first, last = self.first[:, sets], self.last[:, sets]
        files = np.flatnonzero(first.any(axis=1))
        if not len(files):
            return [0, 0, 0, 0, 0]
        begin, end = files[0], files[-1]
        record = int(first[begin][first[begin] > 0].min())
        return [int(begin) + 1, record, int(end) + 1, int(last[end].max()), len(files)]


def listing(problem: Problem, level: int) -> list[str]:
    """Return the listing's lines after its title.

    Args:
        level: level of ``checkinput``; above 1 the records are read once more to find where labels occur.
    """
    with_label = problem.source.sets.by_label()
    of_label = {label: with_label.get(label, np.zeros(0, np.int64)) for label in problem.parameters.labels.tolist()}
    accepted = _accepted(problem)
    members = [{label for of in group for label in of} for group in accepted]
    seen = _appearances(problem) if level > 1 else None
    lines = [*_HEAD, *_parameters(problem, of_label, members)]
    if seen is not None:
        lines += [" !.", " !.Appearance statistics ", _APPEARANCE, *_of_labels(problem, of_label, seen)]
    if members:
        lines += [" * === constraint groups ===", _GROUPS + ("" if seen is None else "   Paired label range")]
        lines += _constraint_groups(problem, of_label, [len(group) for group in accepted], members, seen)
    return lines


def _parameters(problem: Problem, of_label: OfLabel, members: list[set[int]]) -> Iterator[str]:
    """Yield a line per label with the number of its group of constraints."""
    group_of = {label: number for number, mine in enumerate(members, start=1) for label in mine}
    begins = np.diff(np.maximum.accumulate(problem.groups), prepend=0) > 0
    for at, label in enumerate(of_label):
        if label in problem.steering.comments:
            yield f" !!{' ' + problem.steering.comments[label]:<{COMMENT_LENGTH}.{COMMENT_LENGTH}}"
        begin = ">" if begins[at] else " "
        numbers = fortran_g(float(problem.starts[at])) + fortran_g(float(problem.presigmas[at]))
        counts = f"{problem.entries.get(label, 0):12d}{group_of.get(label, 0):12d}"
        yield f" !{begin}{label:10d}  {numbers}{counts}  {_state(problem, at)}"


def _of_labels(problem: Problem, of_label: OfLabel, seen: _Seen) -> Iterator[str]:
    """Yield where each label occurs, and with how many others in an equation."""
    labels = problem.source.sets.labels
    for label, sets in of_label.items():
        paired = len(set(labels[:, sets].ravel().tolist()) - {0, label})
        counts = [*seen.of(sets), paired] if len(sets) else []
        yield f" !.{label:10d}" + "".join(f"{number:11d}" for number in counts)


def _constraint_groups(
    problem: Problem, of_label: OfLabel, sizes: list[int], members: list[set[int]], seen: _Seen | None
) -> Iterator[str]:
    """Yield each group with its entries, its free labels and, if requested, those that occur together with it."""
    labels = problem.source.sets.labels
    variable = set(problem.parameters.labels[problem.variable].tolist())
    sets = [np.flatnonzero(np.isin(labels, list(mine)).any(axis=0)) for mine in members]
    for number, (size, mine, of) in enumerate(zip(sizes, members, sets, strict=True), start=1):
        free = sorted(mine & variable) or [0]
        entries = int(problem.source.set_counts[of].sum())
        yield f" * {number:6d}{size:8d}{entries:12d}{free[0]:12d}{free[-1]:12d}"
        if seen is not None and free[0]:
            others = {label for label in labels[:, of].ravel().tolist() if label} - mine
            for first, last in _ranges(of_label, others):
                yield f" *:{'':48}{first:12d} ..{last:12d}"
    if seen is not None:
        yield from (" *.", " *.Appearance statistics ", _GROUPS_APPEARANCE)
        for number, of in enumerate(sets, start=1):
            yield f" *.{number:10d}" + "".join(f"{value:11d}" for value in seen.of(of))


def _accepted(problem: Problem) -> list[list[list[int]]]:
    """Return the labels of each valid constraint, by groups."""
    steering = problem.steering
    labels = [[label for label, factor in terms if factor] for _, terms in steering.constraints]
    skipped = set(problem.empty) if steering.skip_empty_constraints else set()
    accepted = [[labels[number] for number in group if number not in skipped] for group in groups(labels)]
    return [group for group in accepted if group]


def _state(problem: Problem, at: int) -> str:
    if problem.parameters.variable[at] >= 0:
        return "variable"
    if problem.presigmas[at] < 0:
        return "fixed-1"
    entries = problem.entries.get(int(problem.parameters.labels[at]), 0)
    return "fixed-2" if entries < problem.steering.entries_min else "fixed-3"


def _appearances(problem: Problem) -> _Seen:
    source = problem.source
    first = np.zeros((len(source.records_in), len(source.sets)), np.int64)
    last = np.zeros_like(first)
    for number in range(len(source.records_in)):
        for chunk in source.of_binary(number):
            records = np.repeat(chunk.records, np.diff(chunk.offsets)) + 1
            np.maximum.at(last[number], chunk.sets, records)
            before, firsts = np.unique(chunk.sets, return_index=True)
            unseen = first[number, before] == 0
            first[number, before[unseen]] = records[firsts[unseen]]
    return _Seen(first, last)


def _ranges(of_label: OfLabel, chosen: set[int]) -> list[tuple[int, int]]:
    """Return first and last labels of consecutive chosen ones among those with data."""
    ranges: list[tuple[int, int]] = []
    before = False
    for label in (label for label, sets in of_label.items() if len(sets)):
        if label in chosen:
            ranges = [*ranges[:-1], (ranges[-1][0], label)] if before else [*ranges, (label, label)]
        before = label in chosen
    return ranges
