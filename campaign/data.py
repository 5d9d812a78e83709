"""Parse the runs and raw files of a campaign."""

from collections.abc import Iterable, Sequence

from faser_align.campaign import layout
from faser_align.config.files import parse_files, parse_run
from faser_align.fsm.errors import UserError

HOLD_BACK_MIN = 10  # with fewer files, one of them would be more than 10 % of the tracks


def parse_data(runs: Sequence[str], files: Sequence[str]) -> tuple[str, list[int]]:
    """Return the run and the raw files of a campaign; several runs and ranges are paired by position.

    Returns:
        One run as six digits with its files; or several runs joined by ``+``, with files numbered run * 100 000 +
            number.

    Raises:
        UserError: a run or range is malformed, or the number of ranges differs from the number of runs.
    """
    if len(runs) != len(files):
        raise UserError(f"found {len(runs)} -r and {len(files)} -f; add one -f for each -r, in the same order")
    files_of: dict[str, set[int]] = {}
    for run, text in zip(runs, files, strict=True):
        files_of.setdefault(parse_run(run), set()).update(parse_files(text))
    if len(files_of) == 1:
        run, numbers = next(iter(files_of.items()))
        return run, sorted(numbers)
    return "+".join(sorted(files_of)), sorted(
        int(run) * layout.RUN + file for run in files_of for file in files_of[run]
    )


def by_run(run: str, files: Iterable[int]) -> dict[str, list[int]]:
    """Return the raw files by run, numbered as in the run; ``run`` is used for campaigns with one run only."""
    files_of: dict[str, list[int]] = {}
    for file in files:
        of_run, number = layout.raw(run, file)
        files_of.setdefault(of_run, []).append(number)
    return files_of


def hold_back(files: Sequence[int], fraction: float) -> list[int]:
    """Return the raw files that a validation keeps from the alignment, evenly spread over all: over runs and time.

    The same files always give the same choice, so that campaigns that start from each other's constants never use them.
    The ``fraction`` of all ``files``, in order, is rounded: at least one file of ten or more, none of fewer.
    """
    if fraction <= 0 or len(files) < HOLD_BACK_MIN:
        return []
    number = max(1, round(fraction * len(files)))
    return [files[(2 * place + 1) * len(files) // (2 * number)] for place in range(number)]
