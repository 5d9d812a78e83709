"""Run the command ``faser-align``: collect the commands of all groups, and turn errors into exit statuses.

A command's module is imported at the start, its dependencies only when it runs.
"""

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import typer
import typer.core

import faser_align
from faser_align.cli import console, quick, streams
from faser_align.cli.commands import (
    constants,
    control,
    engine,
    exporting,
    importing,
    judging,
    pool,
    reading,
    setup,
    upkeep,
)
from faser_align.fsm.errors import CampaignError
from faser_align.system import interrupts

INTERRUPTED = 130  # 128 + SIGINT, as shells do
MISUSED = 2  # the exit status of UserError

# click's exceptions; some versions of typer bundle a copy of click.
_UsageError: Any = typer.BadParameter.__base__


def _group(words: str, **commands: Callable[..., None]) -> typer.Typer:
    """Return a group of commands with its help."""
    made = typer.Typer(no_args_is_help=True, help=words)
    for name, command in commands.items():
        made.command(name)(command)
    return made


# Commands in the order of `--help`, by what they are for.
GROUPS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Begin": {
        "init": setup.init,
        "recipes": setup.recipes,
        "check": setup.check,
        "submit": setup.submit,
        "import": importing.import_,
        "reco": setup.reco,
    },
    "Follow and judge": {
        "list": reading.list_campaigns,
        "status": reading.status,
        "watch": reading.watch,
        "wait": reading.wait,
        "history": reading.history,
        "metrics": reading.metrics,
        "report": reading.report,
        "diagram": reading.diagram,
        "why": judging.why,
        "analyze": judging.analyze,
        "compare": judging.compare,
        "plots": exporting.plots,
        "replay": judging.replay,
        "export": exporting.export,
    },
    "Control": {
        "stop": control.stop,
        "resume": control.resume,
        "extend": control.extend,
        "set": control.set_limits,
        "verify": upkeep.verify,
        "repair": upkeep.repair,
        "clean": upkeep.clean,
        "move": upkeep.move,
        "notify": _group(
            "Test notifications and retry failed messages.", test=control.notify_test, retry=control.notify_retry
        ),
    },
    "Engine and constants": {
        "mille": engine.mille,
        "solve": engine.solve,
        "constants": _group(
            "Read, compare and combine alignment constants.",
            show=constants.show,
            diff=constants.diff,
            add=constants.add,
            correction=constants.correction,
            export=constants.export,
        ),
    },
    "This machine": {
        "demo": pool.demo,
        "pool": _group(
            "Run a personal HTCondor pool on this machine.", start=pool.start, stop=pool.stop, status=pool.status
        ),
    },
}


class _Grouped(typer.core.TyperGroup):
    """Show the commands by group."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; after Ctrl-C, or another signal that ends it, print the sentences about its completed work."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # typer keeps only the exit status
            for sentence in interrupt.args:
                typer.echo(sentence, err=True)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group, with the same width for all names."""
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        widest = max(map(len, names))
        for title, commands in GROUPS.items():
            rows = [
                (name.ljust(widest), self.commands[name].get_short_help_str(formatter.width - 6 - widest))
                for name in names
                if name in commands
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


app = typer.Typer(
    name="faser-align",
    cls=_Grouped,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Iterative detector alignment on HTCondor: submit once, get one message when the campaign ends.",
    epilog="Exit status: 0 success, 1 failure, 2 mistake in the command line or a file; `wait` has one for each end state.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"faser-align {faser_align.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Options before the command."""
    if context.invoked_subcommand not in streams.SHOWING:
        streams.carry_on()


for _commands in GROUPS.values():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name)
        else:
            app.command(_name)(_command)


# pydantic's messages about values, in plain words.
_PLAIN = (
    ("Input should be a valid integer.*", "must be a whole number"),
    ("Input should be a valid number.*", "must be a number"),
    ("Input should be greater than or equal to", "must be at least"),
    ("Input should be less than or equal to", "must be at most"),
    ("Input should be", "must be"),
    ("Value error, '.*?' is not one of", "must be one of"),
    (r"invalid value for ('.*?'): must", r"\1 must"),
    (r"got unexpected extra arguments? ?(?:\(s\))? ?\((.*)\)", r"unexpected argument \1"),
    (r"missing argument 'campaign(\.\.\.)?'", "missing the name of a campaign, which `{program} list` shows"),
    (r" \(possible options: (.*)\)", r"; did you mean \1"),
    (r"(?<=did you mean )(.*)", lambda found: found[1].replace(", ", " or ")),
)


def _misused(problem: Any) -> int:
    """Print a usage error as one sentence; return the exit status."""
    if type(problem).__name__ == "NoArgsIsHelpError":  # a group without a command shows its help
        problem.show()
        return MISUSED
    said = " ".join(problem.format_message().split()).rstrip(".?").replace(". Did you", "; did you")
    for pattern, plain in _PLAIN:
        said = re.sub(pattern, plain, said, flags=re.IGNORECASE)
    said = said.replace("{program}", console.program())
    if value := _given(problem):
        said = re.sub("^invalid value for '.*?': |^'.*?' (?=must)", f"{value}: ", said, flags=re.IGNORECASE)
    names: list[str] = []
    context = problem.ctx
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    command = " ".join([console.program(), *names])
    console.error(f"{said[:1].lower()}{said[1:]}; see `{command} --help`")
    return MISUSED


def _given(problem: Any) -> str:
    """Return the option of a usage error with its value as it was typed; empty if it was not."""
    names = getattr(getattr(problem, "param", None), "opts", ())
    for at, word in enumerate(sys.argv):
        name, _, value = word.partition("=")
        if name in names and (value or sys.argv[at + 1 :]):
            return f"{name} {value or sys.argv[at + 1]}"
    return ""


@functools.cache
def root() -> Any:
    """Return the program as one click command."""
    command = typer.main.get_command(app)
    quick.words_stay_words(command)
    return command


def main() -> None:
    """Run the command line; an error becomes one sentence on standard error, never a traceback."""
    streams.name_files_in_utf8()
    streams.prepare()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one is all that the solver uses, and starting more takes time
    try:
        with interrupts.raised():
            status = root()(standalone_mode=False)
        if streams.reader_left():
            typer.echo("warning: the reader of the output has left; the command ran to its end", err=True)
        sys.stdout.flush()
        sys.exit(status)
    except CampaignError as problem:
        for sentence in problem.sentences:
            console.error(console.named(console.sentence(sentence)))
        sys.exit(problem.exit_status)
    except _UsageError as problem:
        sys.exit(_misused(problem))
    except typer.Abort:
        typer.echo("aborted; nothing was done", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of the output has left
        _write_no_more()
        sys.exit(1)
    except OSError as problem:  # a full disk or a lost file server: not the user's mistake
        where = f"{problem.filename}: " if problem.filename else ""
        said = f"{where}{problem.strerror or problem}"
        console.error(console.sentence(said if _has_folder() else "the current folder is gone; change to another one"))
        _write_no_more()
        sys.exit(1)


def _has_folder() -> bool:
    """Return whether the current folder exists, to which paths in the command line are relative."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _write_no_more() -> None:
    """Discard remaining output, so that the interpreter's flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
