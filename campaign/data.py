"""Parse the runs and raw files of a campaign."""

from collections.abc import Iterable, Sequence

from faser_align.campaign import layout
from faser_align.config.files import parse_files, parse_run
from faser_align.fsm.errors import UserError


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
