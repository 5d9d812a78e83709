"""Run the demonstration: the commands that a person would type, one after the other, and the results."""

import contextlib
import json
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.cli import console
from faser_align.cli.commands import reading, setup
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import dagman, lifecycle, snapshot
from faser_align.pool import machine, personal, tidy
from faser_align.system.account import state_folder
from faser_align.system.atomic import write_text

YEAR, RUN, FILES, ITERATIONS = 2023, "011705", "400-405", 10
VALIDATED = "406-407"
RECIPIENT = "you@localhost.localdomain"
END_S = 900  # far longer than necessary; a campaign that hangs must not block a build machine forever
# Questions of a newcomer, and the places on the page that answer them.
LOOK_AT = (
    ("Did it converge, and by which rule?", "the heading, and the sentence below it"),
    ("In which iteration?", "Convergence, table Iterations: the row with the decision"),
    ("Which module moved most?", "the box `moved most`; all of them: Constants"),
    ("Was a file dropped?", "Data"),
    ("What is weakly determined?", "Weak modes and fixed parameters"),
    ("Which command comes next?", "the box `next`"),
)

_CONFIGURATION = """\
# Configuration of the demonstration {name}. A commented one for your own campaigns: faser-align init
[campaign]
constants = {start}

[simulation]
truth = {truth}

[[stages]]
name = "IFT local"

[[stages.steps]]
name = "IFT fix layer"
fix = ["layer", "3ST"]

[validation]
files = "{validated}"

[notify]
targets = ["mailbox"]
file = {targets}
"""
_KINDS = ("toml", "targets.toml", "mail", "html")  # files beside the campaign's folder, in the order of Place


class Place(NamedTuple):
    """Paths of a demonstration; all are named after its campaign."""

    name: str
    campaign: Path
    configuration: Path
    targets: Path
    mail: Path
    page: Path


_WITH_PEDE = """
[solver]
backend = "pede"
pede = {pede}
"""


def run(cpus: int | None, pede: str | None = None) -> str:
    """Run the demonstration and show it; return the campaign's end state.

    Args:
        cpus: processors of the pool; None: all of this machine.
        pede: solver program; None: the built-in solver.

    Raises UserError if a campaign cannot run at all, CampaignError if this one does not end within a quarter of an
    hour. Everything that was started is stopped in any case.
    """
    machine.refuse_root()
    machine.condor_master()
    solver = _pede(pede) if pede else None
    with _limited():
        place = _new_place(state_folder() / "demo")
        with pool_for(cpus, place.campaign), Mailbox(place.mail) as mailbox:
            _write_configuration(place, mailbox.url(RECIPIENT), solver)
            with _ended(str(place.campaign)):
                given = ["-y", str(YEAR), "-r", RUN, "-f", FILES, "-i", str(ITERATIONS)]
                file, name = str(place.configuration), place.name
                _command("submit", *given, "--config", file, "--name", name)
                setup.submit(YEAR, [RUN], [FILES], iterations=ITERATIONS, config=file, name=name)
                _command("watch", place.name)
                reading.follow(str(place.campaign))
            _show_mail(mailbox)
        return _show_result(place)


def _show_mail(mailbox: Mailbox) -> None:
    for file, letter in zip(mailbox.files(), mailbox.messages(), strict=True):
        console.say(f"\nDelivered to {letter['To']} by SMTP, kept as {file}:\n")
        body = letter.get_body(("plain",))
        shown = f"From: {letter['From']}\nSubject: {letter['Subject']}\n\n{body.get_content() if body else ''}"
        console.say("\n".join(f"  | {line}".rstrip() for line in shown.strip().splitlines()))


def _show_result(place: Place) -> str:
    """Show status, history, the distance to the truth, and further commands; return the end state."""
    campaign = str(place.campaign)
    _command("status", place.name)
    reading.status(campaign)
    _command("history", place.name, "--campaign-only")
    reading.history(campaign, campaign_only=True)
    seen = snapshot.take(campaign)
    if seen["constants"]:
        console.say(f"\n{_distance(seen['start_constants'], seen['constants'])}")
        console.say(f"The constants: {seen['constants']}")
    console.say("\nTo explore the campaign:")
    differ = ("constants", "diff", seen["start_constants"], seen["constants"])
    for words in (("list",), ("history", place.name), ("metrics", place.name), ("why", place.name), differ):
        console.say(f"  {console.program()} {shlex.join(map(str, words))}")
    _show_page(place)
    return str(seen["state"])


def _show_page(place: Place) -> None:
    """Write the campaign's page and show how to open it, and what comes next."""
    _command("report", place.name, "-o", str(place.page))
    reading.report(str(place.campaign), output=str(place.page))
    console.say("The report is one self-contained file: mail it, or copy it to a machine with a browser. It answers:")
    console.say("\n".join(f"  {question:36}{place_on_it}" for question, place_on_it in LOOK_AT))
    console.say(f"Open it in a browser: {place.page.as_uri()}")


def _distance(start: str, last: str) -> str:
    """Return one line that compares the constants with the truth of the simulation."""
    from faser_align.alignment.parameters.constants import read_constants
    from faser_align.simulation.misalign import distance_to_truth

    truth = read_constants(_example("align_2025.txt"))
    metrics = json.loads((Path(last).parent / layout.METRICS).read_text(encoding="utf-8"))
    before, after = (distance_to_truth(read_constants(path), truth) for path in (start, last))
    return (
        f"The IFT's modules are now {after.u_um:.1f} um across and {after.v_um:.1f} um along the strips and "
        f"{after.rz_urad:.0f} urad in angle from their true positions (rms; at the start {before.u_um:.1f} um, {before.v_um:.1f} um, "
        f"{before.rz_urad:.0f} urad): {metrics['truth']['sigma']:.2f} times the statistical error."
    )


def _command(*words: str) -> None:
    console.say(f"\n$ {console.program()} {shlex.join(words)}")


def _example(name: str) -> str:
    from faser_align.config.load import EXAMPLES, absolute

    return absolute(f"{EXAMPLES}/{name}", "")


def _new_place(folder: Path) -> Place:
    """Return names that no earlier demonstration uses, because these are kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = {path.name.partition(".")[0] for path in folder.iterdir()}
        name = next(name for name in (f"demo-{number}" for number in range(1, len(used) + 2)) if name not in used)
        (folder / f"{name}.toml").touch(exist_ok=False)  # another demonstration may start at the same time
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write ({error.strerror}); set XDG_STATE_HOME to a folder that you may write to"
        ) from error
    return Place(name, folder / name, *(folder / f"{name}.{kind}" for kind in _KINDS))


def _pede(program: str) -> str:
    """Return the program's path if it runs and is pede."""
    from faser_align.alignment.pede.runner import probe

    found = shutil.which(program)
    if found is None:
        raise UserError(f"--pede {program}: no such program; give the path of pede")
    version = probe(found)
    console.say(f"pede is {found}" + (f" ({version})" if version else ""))
    return str(Path(found).absolute())


def _write_configuration(place: Place, address: str, pede: str | None) -> None:
    write_text(place.targets, f'[targets]\nmailbox = "{address}"\n', mode=0o600)
    paths = {"start": _example("ift_misplaced.txt"), "truth": _example("align_2025.txt"), "targets": str(place.targets)}
    text = _CONFIGURATION
    if pede:
        paths["pede"], text = pede, text + _WITH_PEDE
    quoted = {key: json.dumps(path, ensure_ascii=False) for key, path in paths.items()}
    write_text(place.configuration, text.format(name=place.name, validated=VALIDATED, **quoted))


@contextlib.contextmanager
def pool_for(cpus: int | None, campaign: Path) -> Iterator[None]:
    """Use the user's pool; if it was not running, start it, and stop it unless it has jobs of others than ``campaign``."""
    _command("pool", "start")
    pool = personal.start(cpus=cpus)
    console.say(f"pool {'started' if pool.started else 'is already running'} in {pool.folder}")
    try:
        yield
    finally:
        others = [folder for folder in tidy.queued(pool.folder) if not folder.is_relative_to(campaign)]
        if pool.started and others:
            console.say(f"\nThe pool continues with jobs of {others[0]}; stop it with `{console.program()} pool stop`.")
        elif pool.started:
            personal.stop()
            console.say("\nThe pool of the demonstration was stopped.")


@contextlib.contextmanager
def _ended(folder: str) -> Iterator[None]:
    """Wait at the end until DAGMan has left the queue; stop the campaign if the demonstration fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CampaignError):
            lifecycle.stop(folder)
        raise
    record = read_record(folder)
    lifecycle.await_departure(record, snapshot.state_now(folder))
    if dagman.ask(record).jobs:
        raise CampaignError(
            f"DAGMan of {folder} did not leave the queue after the campaign's end; remove it with condor_rm"
        )


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise CampaignError if the block takes too long."""

    def late(number: int, frame: FrameType | None) -> None:
        raise CampaignError(f"the demonstration did not end within {END_S} s; read the logs in the campaign's folder")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(END_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
