"""Define what all jobs share: arguments, exit statuses, and the iteration that a job works on.

A job ends with a status of ``faser_align.fsm.exit_codes`` and writes the reason as its last line on stderr.
"""

import errno
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.stored_types import Config
from faser_align.fsm import exit_codes
from faser_align.fsm.errors import CampaignError, NodeError
from faser_align.system.libraries import without

if TYPE_CHECKING:
    from faser_align.alignment.mille.conversion import Cuts
    from faser_align.alignment.parameters.constants import Constants

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Iteration(NamedTuple):
    """One iteration of a campaign, as a job uses it."""

    record: Manifest  # the manifest
    folder: str  # the campaign's folder
    stage: int
    number: int

    @property
    def config(self) -> Config:
        """The configuration with all its keys."""
        return self.record["config"]

    @property
    def residual_max_mm(self) -> float:
        """Residual cut of this iteration: one value per iteration, the last one repeats."""
        values = self.config["mille"]["residual_max"]
        number = len(values) if self.stage == layout.VALIDATION else self.number
        return float(values[min(number, len(values)) - 1])

    def cuts(self, residual_max_mm: float, **others: Any) -> "Cuts":
        """Return the conversion's cuts, with this one on residuals and others than the configured ones."""
        from faser_align.alignment.mille.conversion import Cuts

        configured: dict[str, Any] = {**self.config["mille"], "residual_max": residual_max_mm, **others}
        return Cuts(**configured)

    def constants(self) -> "Constants | None":
        """Return the constants for derivatives about the layers' own z; None with those of Calypso, which need none."""
        from faser_align.alignment.parameters.constants import read_constants

        return read_constants(self.constants_file()) if self.config["mille"]["pivot"] == "layer" else None

    @property
    def files(self) -> list[int]:
        """Raw files that this iteration reconstructs."""
        return layout.files_of(self.record, self.stage)

    @property
    def stations(self) -> int:
        """Stations of this iteration's tracks: 4, or 3 without the IFT."""
        return layout.stations_of(self.record, self.stage)

    @property
    def cuts_are_final(self) -> bool:
        """Whether later iterations have the same cuts."""
        return self.number >= len(self.config["mille"]["residual_max"])

    def constants_file(self) -> str:
        """File of the constants with which this iteration reconstructs."""
        return layout.constants_file(self.folder, self.stage, self.number)

    def solution_folder(self) -> str:
        """Folder of steering texts, solver files and metrics: small files, so among the control files."""
        return os.path.dirname(layout.metrics_file(self.record["folder"], self.stage, self.number))

    def kfalignment_file(self, file: int) -> str:
        """Return the ROOT file with the tracks of a raw file."""
        return layout.kfalignment_file(self.record["data"], self.stage, self.number, self.record["run"], file)

    def mille_file(self, file: int) -> str:
        """Return the Mille binary of a raw file; its counts are in ``<name>.json``."""
        return layout.mille_file(self.record["data"], self.stage, self.number, self.record["run"], file)

    def momenta_file(self, file: int) -> str:
        """Return the file with the momenta of a raw file's tracks, which later iterations compare."""
        return os.path.splitext(self.mille_file(file))[0] + ".momenta.npy"

    def sums_file(self, file: int) -> str:
        """Return the file with the sums of a raw file's normal equations."""
        return os.path.splitext(self.mille_file(file))[0] + ".sums"

    def wide_mille_file(self, file: int) -> str:
        """Return the Mille binary of a raw file with ten times the residual cut; its counts are in ``<name>.json``."""
        return os.path.splitext(self.mille_file(file))[0] + "_wide.bin"

    def weight(self, file: int) -> float:
        """Return the weight of a raw file's tracks in the solution, which is that of its run."""
        weights: dict[str, float] = self.config["solver"].get("weights", {})
        return weights.get(layout.raw(self.record["run"], file)[0], 1.0)

    def before(self) -> Iterator["Iteration"]:
        """Yield the earlier iterations: all of earlier stages, then this stage's; before the validation all."""
        for stage, described in enumerate(self.record["stages"], start=1):
            if stage > self.stage != layout.VALIDATION:
                return
            last = self.number - 1 if stage == self.stage else described["iterations"]
            for number in range(1, last + 1):
                yield self._replace(stage=stage, number=number)


def open_iteration(folder: str, stage: int, number: int) -> Iteration:
    """Return iteration ``number`` of ``stage`` of the campaign in ``folder``.

    Raises NodeError: CONFIG if there is no such iteration, ENVIRONMENT if the manifest cannot be read on this machine.
    """
    with failing(exit_codes.CONFIG, file_system=exit_codes.ENVIRONMENT):
        record = read_record(folder)
    known = {known_stage for known_stage, _ in layout.iterations(record)}
    if stage not in known or number < 1:
        raise NodeError(f"{folder} has no iteration {number} of stage {stage}", exit_codes.CONFIG)
    return Iteration(record, os.path.abspath(folder), stage, number)


def open_raw(folder: str, stage: int, number: int, file: int) -> Iteration:
    """Return the iteration as ``open_iteration`` does, and check that it reconstructs raw file ``file``."""
    iteration = open_iteration(folder, stage, number)
    if file not in iteration.files:
        raise NodeError(
            f"raw file {file} does not belong to the campaign {iteration.record['name']}", exit_codes.CONFIG
        )
    return iteration


def lost_files(iteration: Iteration) -> list[int]:
    """Return the dropped raw files; raise NodeError (INPUT_MISSING) for a malformed list."""
    path = Path(layout.lost_file(iteration.record["folder"], iteration.stage, iteration.number))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        return sorted(int(file) for file in json.loads(text))
    except (ValueError, TypeError) as error:
        raise NodeError(f"{path} is not a JSON list of raw files ({error})", exit_codes.INPUT_MISSING) from error


def raw_path(iteration: Iteration, file: int) -> str:
    """Return the path of a raw file; empty if the campaign needs none."""
    pattern: str = iteration.config["reconstruction"]["raw"]
    run, number = layout.raw(iteration.record["run"], file)
    return pattern.format(year=iteration.record["year"], run=run, file=f"{number:05d}")


def reading_constants() -> AbstractContextManager[None]:
    """Map errors in constants to exit statuses; an unreadable file may be readable on another machine."""
    return failing(exit_codes.CONSTANTS, file_system=exit_codes.ENVIRONMENT, missing=exit_codes.CONSTANTS)


@contextmanager
def failing(status: int, file_system: int | None = None, missing: int | None = None) -> Iterator[None]:
    """Map errors to exit statuses.

    Args:
        status: status for the program's own errors.
        file_system: status for errors of the file system, such as a server that does not answer; ``status`` by default.
        missing: status for missing files; ``file_system`` by default.
    """
    try:
        yield
    except NodeError:
        raise
    except (CampaignError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError):
            message = (f"{error.filename}: " if error.filename else "") + (error.strerror or message)
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError):
            status = (isinstance(cause, FileNotFoundError) and missing) or file_system or status
        raise NodeError(message, exit_codes.NO_SPACE if _disk_is_full(error) else status) from error


def main(work: Callable[..., None], usage: str, crashed: int) -> NoReturn:
    """Run a job as ``run`` does, and end the process with its exit status.

    Most of a short job's CPU time is that of loading and freeing libraries.
    """
    gc.set_threshold(100_000)  # loading makes many objects and no garbage
    with without("pyarrow"):  # awkward would load it, and no job needs it
        status = run(work, usage, crashed)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # without freeing every object


def run(work: Callable[..., None], usage: str, crashed: int) -> int:
    """Run a job with the process's arguments, the campaign's folder, then integers; return the exit status.

    Args:
        work: function called with the arguments; it raises NodeError on failure.
        usage: names of the arguments, which also define their number.
        crashed: exit status of an unexpected error; its traceback goes to stderr.
    """
    try:
        arguments = sys.argv[1:]
        if len(arguments) != len(usage.split()) or not all(word.isdecimal() for word in arguments[1:]):
            raise NodeError(f"expected {usage}, got {' '.join(arguments) or 'nothing'}", exit_codes.CONFIG)
        stage, number, *file = (int(word) for word in arguments[1:])
        node = layout.reco_node(stage, number, file[0]) if file else layout.mille_node(stage, number)
        if os.path.exists(layout.passed_file(arguments[0], node)):
            sys.stderr.write(f"{node} is skipped\n")
            return 0
        work(arguments[0], stage, number, *file)
    except CampaignError as error:
        status = error.exit_status if isinstance(error, NodeError) else crashed
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return status
    except Exception as error:  # noqa: BLE001 -- every failure needs an exit status for the script
        traceback.print_exc()
        status = exit_codes.NO_SPACE if _disk_is_full(error) else crashed
        sys.stderr.write(
            f"{exit_codes.JOB_FAILURES[status][0]}: {type(error).__name__}: {' '.join(str(error).split())}\n"
        )
        return status
    return 0


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
