"""The raw files of a campaign, of one run or of several."""

from collections.abc import Iterable, Sequence

from faser_align.campaign import layout
from faser_align.config.files import parse_files, parse_run
from faser_align.fsm.errors import UserError


def parse_data(runs: Sequence[str], files: Sequence[str]) -> tuple[str, list[int]]:
    """Run and raw files of a campaign: several runs and ranges are paired by position.

    Returns:
        One run as six digits with its files; or several joined by ``+``, with their files numbered run * 100 000 + number.

    Raises:
        UserError: one of them is malformed, or there are not as many ranges as runs.
    """
    if len(runs) != len(files):
        raise UserError(f"there are {len(runs)} -r and {len(files)} -f; give one -f for each -r, in the same order")
    found: dict[str, set[int]] = {}
    for run, text in zip(runs, files, strict=True):
        found.setdefault(parse_run(run), set()).update(parse_files(text))
    if len(found) == 1:
        run, numbers = next(iter(found.items()))
        return run, sorted(numbers)
    return "+".join(sorted(found)), sorted(int(run) * layout.RUN + file for run in found for file in found[run])


def by_run(run: str, files: Iterable[int]) -> dict[str, list[int]]:
    """Raw files of a campaign by their runs, numbered as in the run; ``run`` is that of a campaign with one run only."""
    found: dict[str, list[int]] = {}
    for file in files:
        of_run, number = layout.raw(run, file)
        found.setdefault(of_run, []).append(number)
    return found
