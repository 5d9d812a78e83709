"""Read a campaign folder of faser-alignment-script: the files of its iterations."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from faser_align.alignment.parameters.constants import Constants, parse_constants
from faser_align.alignment.parameters.labels import KEYS
from faser_align.alignment.pede.results import END, HISTOGRAMS, LOG, RESULT, read_result
from faser_align.alignment.pede.runner import read_outputs
from faser_align.alignment.pede.solution import Solution
from faser_align.campaign import layout
from faser_align.config.files import format_files, parse_files
from faser_align.fsm.errors import UserError
from faser_align.predecessor.configuration import as_their_code
from faser_align.predecessor.read import read_json
from faser_align.system import formatting

ITERATION = re.compile(r"iter_?(\d+)")
TRACKS = re.compile(r"kfalignment(?:_(\d{6}))?_(\d{5})\.root")
NAME = re.compile(r"Y(?P<year>\d{4})_R(?P<run>\d{1,6})(?=_|$)")
FILES = re.compile(r"_F(?P<files>\d+(?:[-:]\d+)?(?:,\d+(?:[-:]\d+)?)*)(?=_|$)")
STATIONS = re.compile(r"_ST(?P<stations>[34])(?=_|$)")
PEDE_FILES = (RESULT, END, LOG, HISTOGRAMS)
ZEROS: Constants = dict.fromkeys(KEYS, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0))


class Run(NamedTuple):
    """A run of pede: its folder, the files there, and their contents."""

    name: str
    folder: Path
    files: tuple[str, ...]
    solution: Solution


class Past(NamedTuple):
    """The files of an iteration; None for missing ones.

    Attributes:
        name: name of its folder.
        start, result: constants with which it reconstructed, and those that it passed on (mm, rad).
        result_file: file of the latter.
        runs: runs of pede in order.
        tracks: time of each raw file's tracks (Unix, s).
        run: run of the raw files, six digits; empty if their names do not say.
        began, ended: times of its constants and of pede's result (Unix, s).
        notes: oddities.
    """

    name: str
    start: Constants | None
    start_file: Path | None
    result: Constants | None
    result_file: Path | None
    runs: tuple[Run, ...]
    tracks: dict[int, float]
    run: str
    began: float
    ended: float
    notes: tuple[str, ...]

    @property
    def is_solved(self) -> bool:
        """Whether its resulting constants are known, from the constants that it passed on or from pede's result."""
        return self.result is not None or (self.start is not None and any(run.solution.result for run in self.runs))


class Place(NamedTuple):
    """Position of an old iteration in our campaign."""

    stage: int
    number: int
    past: Past


class Campaign(NamedTuple):
    """A campaign: its folder, its iterations in order, and what its name and configuration say."""

    folder: Path
    past: tuple[Past, ...]
    config: dict[str, Any]
    year: int | None
    run: str
    files: tuple[int, ...]
    stations: int | None
    notes: tuple[str, ...]


def read_folder(folder: str) -> Campaign:
    """Read a campaign's folder without changing it.

    Raises UserError if it contains no iteration, or belongs to faser-align.
    """
    root = Path(folder).absolute()
    if (root / layout.RECORD).exists():
        raise UserError(f"{folder} is already a campaign of faser-align; read it with `faser-align status {folder}`")
    numbered = sorted(
        (int(match[1]), path) for path in root.iterdir() if (match := ITERATION.fullmatch(path.name)) and path.is_dir()
    )
    kept = [(number, path) for number, path in numbered if any(file.is_file() for file in path.glob("*/**/*"))]
    solved = [
        (number, path)
        for number, path in kept
        if (path / layout.MILLEPEDE).is_dir() or (path / layout.KFALIGNMENT).is_dir()
    ]
    if not solved:
        raise UserError(
            f"{folder} has no iteration with files (iter01/1reco, 2kfalignment, 3millepede); name the folder with the "
            "campaign's data: in the newest generation data.dir of config.json, not dag.dir"
        )
    past = [_iteration(path, dict(kept).get(number + 1)) for number, path in solved]
    config, notes = _config(root)
    numbers = [number for number, _ in solved]
    gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    if gaps:
        notes = (*notes, f"iterations are missing: {', '.join(f'iter{number:02d}' for number in gaps)}")
    raw = config.get("raw", {}) if isinstance(config.get("raw"), dict) else {}
    matches = filter(None, (pattern.search(root.name) for pattern in (NAME, FILES, STATIONS)))
    named = {key: value for match in matches for key, value in match.groupdict().items()}
    year, number, stations = (_whole(raw.get(key)) or _whole(named.get(key)) for key in ("year", "run", "stations"))
    files, said = _files(named.get("files"), raw.get("files"), past)
    run = f"{number:06d}" if number else next((iteration.run for iteration in past if iteration.run), "")
    return Campaign(root, tuple(past), config, year, run, files, stations, (*notes, *said))


def _whole(value: Any) -> int | None:
    """Return a number that is given as such or as digits; None for anything else."""
    return int(value) if re.fullmatch(r"[0-9]{1,6}", str(value)) else None


def _files(named: str | None, configured: Any, past: Sequence[Past]) -> tuple[tuple[int, ...], list[str]]:
    """Return the raw files of a campaign, by its tracks, else its configuration or name, and then a note."""
    tracks = {file for iteration in past for file in iteration.tracks}
    if tracks:
        return tuple(sorted(tracks)), []
    for said, where in ((configured, "raw.files of its configuration"), (named, "its name")):
        try:
            files = tuple(parse_files(as_their_code(said))) if said else ()
        except UserError:
            continue
        if files:
            shown = formatting.count(len(files), "raw file")
            return files, [
                f"its tracks are gone; {where} gives {shown}, {format_files(files)}, without the excluded last file"
            ]
    return (), ["its tracks are gone, and neither its name nor its configuration gives the raw files"]


def _config(root: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the configuration that the newest generation keeps in the folder; empty if missing or unreadable."""
    path = root / "config.json"
    if not path.is_file():
        return {}, ()
    try:
        return read_json(path.read_text(encoding="utf-8", errors="replace"), str(path), lenient=True)[0], ()
    except (UserError, OSError) as problem:
        return {}, (f"the configuration is unknown: {problem}",)


def _iteration(folder: Path, following: Path | None) -> Past:
    notes: list[str] = []
    start_file = folder / layout.RECO / layout.CONSTANTS
    start = _constants(start_file, notes)
    places = [folder / layout.MILLEPEDE / layout.CONSTANTS]
    if following is not None:  # what the next iteration used takes precedence over what was written for it
        places.insert(0, following / layout.RECO / layout.CONSTANTS)
    result_file = next((path for path in places if path.is_file()), None)
    result = None if result_file is None else _constants(result_file, notes)
    runs = tuple(_runs(folder / layout.MILLEPEDE, notes))
    tracks, run = _tracks(folder / layout.KFALIGNMENT)
    began = _time(start_file, folder)
    last = [runs[-1].folder / name for name in runs[-1].files] if runs else []
    ended = max((_time(path, folder) for path in last), default=max([began, *tracks.values()]))
    return Past(
        folder.name,
        start,
        start_file if start_file.is_file() else None,
        result,
        result_file,
        runs,
        tracks,
        run,
        min(began, ended),
        ended,
        tuple(f"{folder.name}: {note}" for note in notes),
    )


def _constants(path: Path, notes: list[str]) -> Constants | None:
    """Return the constants in a file; an empty file means zeros, as in the old database."""
    if not path.is_file():
        notes.append(f"{path.parent.name}/{path.name} is missing")
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        notes.append(f"{path.parent.name}/{path.name} is empty: it reconstructed with all constants 0")
        return ZEROS
    try:
        return parse_constants(text, str(path))
    except UserError as problem:
        notes.append(f"its constants cannot be read: {problem}")
        return None


def _runs(folder: Path, notes: list[str]) -> list[Run]:
    """Return pede's runs in a folder or its subfolders, by name."""
    if not folder.is_dir():
        return []
    places = sorted({path.parent for name in (RESULT, END, LOG) for path in folder.rglob(name)})
    return [_run(place, folder, notes) for place in places]


def _run(place: Path, top: Path, notes: list[str]) -> Run:
    files = tuple(name for name in PEDE_FILES if (place / name).is_file())
    solution = Solution(-1, "", "", {})
    try:
        solution = read_outputs(place / "steering.txt")
        if END not in files and RESULT in files:  # pede's end is unknown, but not its result
            solution = replace(solution, result=read_result(place / RESULT), end_text="", message="")
        elif not solution.solved:
            notes.append(f"pede ended with code {solution.end_code} ({solution.end_text}): its result is not used")
    except UserError as problem:
        notes.append(str(problem))
    name = str(place.relative_to(top))
    return Run("pede" if name == "." else name, place, files, solution)


def _tracks(folder: Path) -> tuple[dict[int, float], str]:
    """Return the raw files that have tracks, with the time of each, and their run."""
    tracks, run = {}, ""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = TRACKS.fullmatch(path.name)
        if match:
            tracks[int(match[2])] = _time(path, folder)
            run = match[1] or run
    return tracks, run


def _time(path: Path, instead: Path) -> float:
    return os.stat(path if path.exists() else instead).st_mtime
