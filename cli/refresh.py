"""Regenerate the generated parts of the documentation: ``python -m faser_align.cli.refresh``.

``make refresh`` is the same; tests compare the files with ``parts``.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from faser_align.alignment.quality import describe as numbers
from faser_align.alignment.quality import grades
from faser_align.cli import main as commandline
from faser_align.config import describe as configuration
from faser_align.fsm import diagram, exit_codes, table
from faser_align.fsm.errors import UserError
from faser_align.operations.waiting import STATUSES, STUCK, TIMEOUT
from faser_align.predecessor.rules import key_tables
from faser_align.reference import files, meanings
from faser_align.state import describe as store
from faser_align.system.atomic import write_text
from faser_align.system.formatting import symbols

HINT = "run: make refresh   (or .venv/bin/python -m faser_align.cli.refresh)"
_OF_JOBS = (
    "Messages, `status` and `history` show the name, the sentence of the step that failed, and what to do. Where the third column "
    "says *yes*, DAGMan retries the node up to `htcondor.retries` times, each `htcondor.retry_wait_s` after the attempt before. Where "
    "it says *no*, another attempt would fail again: the file is dropped, or the campaign fails if `reconstruction.min_files` does not "
    "allow that. Values from -1001 to -1004 are DAGMan's own (`$RETURN`): the job did not end by itself. Any other negative value is "
    "the signal that killed the job. [Troubleshooting](troubleshooting.md#a-job-that-failed) says where the logs are."
)
_MADE = "This page is generated from the code; `make refresh` rewrites it."


def pages() -> dict[str, str]:
    """Return the pages and pictures that are generated completely: file name in ``docs/``, and text."""
    return {
        "commands.md": with_symbols(commands_page()),
        "configuration.md": with_symbols(configuration.configuration_page()),
        "exit-statuses.md": with_symbols(statuses_page()),
        "schema.md": with_symbols(store.schema_page()),
        "states.md": with_symbols(states_page()),
        "images/campaign.svg": diagram.svg("campaign"),
        "images/node.svg": diagram.svg("node"),
    }


def blocks() -> dict[tuple[str, str], str]:
    """Return the generated parts of hand-written pages by page and name.

    A part is between ``<!-- NAME -->`` and ``<!-- end -->``.
    """
    made = {
        ("alignment.md", "counts"): numbers.counts_table(),
        ("metrics.md", "metrics"): numbers.metrics_tables(),
        ("quality.md", "grades"): grades.table(),
        ("files.md", "files"): files.files_tables(),
        ("files.md", "formats"): files.formats_tables(),
        ("from-faser-alignment-script.md", "keys"): key_tables(),
    }
    return {place: with_symbols(text) for place, text in made.items()}


def with_symbols(markdown: str) -> str:
    """Return Markdown with µm, χ² and other symbols in its prose, not in its code."""
    return re.sub(
        r"(```.*?```|`[^`\n]*`)|([^`]+)", lambda found: found[1] or symbols(found[2]), markdown, flags=re.DOTALL
    )


def between(text: str, name: str) -> re.Match[str]:
    """Return the match of the part ``name`` in a page's text (group 1). Raise UserError if there is none."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if found is None:
        raise UserError(f"the page has no part between <!-- {name} --> and <!-- end -->; restore the two lines")
    return found


def refresh(docs: Path) -> list[str]:
    """Write outdated pages; return the names of their files."""
    wanted = pages()
    for (page, name), text in blocks().items():
        before = wanted.get(page) or (docs / page).read_text(encoding="utf-8")
        place = between(before, name)
        wanted[page] = before[: place.start(1)] + text + before[place.end(1) :]
    return [page for page, text in wanted.items() if _write(docs / page, text)]


def _write(path: Path, text: str) -> bool:
    """Write a file unless it is current; return whether it was written."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def statuses_page() -> str:
    """Return the text of ``docs/exit-statuses.md``."""
    ends = [
        (status, f"the campaign ended as *{state}*: {meanings.STATES[state]}") for state, status in STATUSES.items()
    ]
    ends += [
        (TIMEOUT, "the campaign did not end within `--timeout`"),
        (STUCK, "no script can end the campaign: its DAGMan is held, gone, cannot run, or waits in vain"),
    ]
    hooks = [
        (0, "continue"),
        (1, "failed: DAGMan may retry the node"),
        (exit_codes.CONVERGED, "converged: DAGMan ends the DAG early, with success"),
        (exit_codes.FATAL, "failed, and a retry cannot help"),
        (exit_codes.DEFER, "not yet: DAGMan runs the script again later"),
        (exit_codes.SKIP, "skipped: the node is done without a job"),
    ]
    every = [
        (0, "success"),
        (1, "failure"),
        (commandline.MISUSED, "a mistake in the command line or a file: one sentence names it, and the fix"),
        (commandline.INTERRUPTED, "interrupted"),
    ]
    lines = ["# Exit statuses", "", _MADE]
    for heading, rows in (("Every command", every), ("`faser-align wait`", ends), ("Scripts, for DAGMan", hooks)):
        lines += ["", f"## {heading}", "", "| status | meaning |", "|---|---|"]
        lines += [f"| {status} | {meaning} |" for status, meaning in rows]
    lines += ["", "## Jobs, for their POST scripts", "", _OF_JOBS, ""]
    lines += ["| status | name | retried | what to do |", "|---|---|---|---|"]
    for status, (name, fatal, cure) in (exit_codes.JOB_FAILURES | exit_codes.DAGMAN_FAILURES).items():
        lines.append(f"| {status} | {name} | {'no' if fatal else 'yes'} | {cure} |")
    return "\n".join(lines) + "\n"


def states_page() -> str:
    """Return the text of ``docs/states.md``."""
    lines = ["# States and events", "", _MADE, ""]
    lines += ["An event that the table does not allow changes nothing; the history records it with the reason. "]
    lines[-1] += "`faser-align diagram --format svg` draws the same pictures, `diagram` alone as text for Mermaid."
    parts = (("campaign", "a campaign", meanings.STATES), ("node", "a node", meanings.NODE_STATES))
    for which, whose, states in parts:
        rows = diagram.rows(which)
        lines += ["", f"## States of {whose}", "", f"![{diagram.layout(which)['said']}](images/{which}.svg)", ""]
        lines += ["| state | meaning |", "|---|---|", *(f"| `{state}` | {said} |" for state, said in states.items())]
        lines += ["", f"## Events of {whose}", "", "| event | what happened | from | to |", "|---|---|---|---|"]
        for event in dict.fromkeys(row[1] for row in rows):
            sources = ", ".join(f"`{a}`" for a, happened, _ in rows if happened == event)
            targets = ", ".join(dict.fromkeys(f"`{b}`" for _, happened, b in rows if happened == event))
            lines.append(f"| `{event}` | {meanings.EVENTS[event]} | {sources} | {targets} |")
    lines += ["", "## Notes", "", "Rows of the history that report an event and change no state:", ""]
    lines += ["| event | what happened |", "|---|---|"]
    lines += [f"| `{note}` | {meanings.EVENTS[note]} |" for note in table.NOTES]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the text of ``docs/commands.md``: every command with arguments and options, as in ``--help``."""
    lines = ["# Commands", "", _MADE, "", "Every command has `--help`; every command that reads has `--json`.", ""]
    lines.append(
        "Colours appear only on terminals, unless `NO_COLOR` is set. With `FASER_ALIGN_PLAIN=1` every command prints "
        "its tables as one value per line, for screen readers. See also [exit statuses](exit-statuses.md)."
    )
    for words, command in _walk(typer.main.get_command(commandline.app), ()):
        said, _, example = str(command.help or "").partition("Example: ")
        lines += ["", f"## `faser-align {' '.join(words)}`", "", *_paragraphs(said), f"Example: `{example.strip()}`"]
        rows = [_option(one) for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
        if rows:
            lines += ["", "| argument or option | meaning |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, one in inner.items():
        if not one.hidden:
            yield from _walk(one, (*words, name))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield help as Markdown; text marked as preformatted becomes a block."""
    for paragraph in filter(None, re.split(r"\n\n+", text.strip())):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.lstrip(chr(8)).strip(chr(10))}\n```\n"
        else:
            yield f"{paragraph}\n"


def _option(one: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    if one.param_type_name == "argument":
        names = f"`{one.metavar or one.name.upper()}`"
    elif one.metavar:
        names += f" `{one.metavar}`"
    said = " ".join(str(one.help or "").split())
    shown = type(one.default) in (str, int, float) and one.default not in ("", 0)
    if shown and one.show_default is True and "[default" not in said:
        said += f" [default: {one.default}]"
    return f"| {names} | {said} |".replace("\\|", "|")


def main() -> None:
    """Refresh the checkout that contains this program."""
    docs, types = Path("docs"), Path("config/stored_types.py")
    if not (docs / "how-it-works.md").exists():
        sys.exit("error: no docs/ here; run this at the top of a checkout of faser-align")
    try:
        changed = [f"docs/{name}" for name in refresh(docs)]
    except UserError as problem:
        sys.exit(f"error: {problem}")
    changed += [str(types)] if _write(types, configuration.stored_types()) else []
    sys.stdout.write("".join(f"{name}: rewritten\n" for name in changed) or "everything is up to date\n")


if __name__ == "__main__":
    main()
