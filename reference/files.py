"""Describe every file of a campaign: format, writer, readers and lifetime.

``docs/files.md`` is generated from these tables. Nothing that runs a campaign imports them; file names are defined in
``campaign.layout``.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from faser_align.campaign import layout


class File(NamedTuple):
    """Describe one file, or several of one kind.

    Attributes:
        names: paths below the campaign's folder. Words in capitals are placeholders: ``ITER`` is an iteration's folder,
            ``DAG`` a DAG file, ``PART`` a folder with job logs. Files in a ``stepN`` folder are listed without that
            folder.
        form: format and content.
        written: who writes it, and when.
        read: who reads it.
        gone: when it is removed; empty: never.
    """

    names: tuple[str, ...]
    form: str
    written: str
    read: str
    gone: str = ""


class Key(NamedTuple):
    """Describe one key of a JSON file, as a dotted path from the top level.

    Capitals stand for any key, ``[]`` for each element of a list, trailing dots for everything below. ``of`` names the
    kinds of entries that have the key; empty: all.
    """

    name: str
    meaning: str
    of: str = ""


class Format(NamedTuple):
    """Describe one of our file formats: heading, purpose and keys."""

    heading: str
    about: str
    keys: tuple[Key, ...]


_RECO, _TRACKS, _MILLE = (f"ITER/{part}" for part in (layout.RECO, layout.KFALIGNMENT, layout.MILLEPEDE))

FILES = {
    "What was submitted": (
        File(
            (layout.RECORD,),
            f"JSON: [the record](#{layout.RECORD.replace('.', '')}). Configuration with all defaults, files, stages, versions, checksums",
            "`submit`, once",
            "jobs, hooks, every command",
        ),
        File((layout.CONFIG,), "the configuration as you wrote it", "`submit`, once", "`submit --from`"),
        File(("config.json",), "JSON: that of faser-alignment-script", "`import`", "you"),
        File((layout.DAG, "alignment-NN.dag"), "DAGMan's language", "`submit`; the second one `extend`", "DAGMan"),
        File(
            (layout.WRAPPER,),
            "bash: what a reconstruction job runs, with Calypso or a program of yours",
            "`submit`",
            "reconstruction jobs",
        ),
    ),
    "What was asked for afterwards": (
        File(
            (layout.CHANGES,),
            "JSON: [a list of changes](#changesjson) of the record",
            "`set`, `extend`, `move`",
            "whoever reads the record",
        ),
        File(
            (layout.SUBMITTED,),
            "JSON: [which schedd has the DAGMan](#submittedjson)",
            "`submit`, `resume`, `extend`",
            "commands that ask for the DAGMan",
        ),
        File(
            (layout.STOP,),
            "JSON: [the wish to stop](#stopjson) after an iteration",
            "`stop --after iteration`",
            "the hook behind each Millepede job",
            "at the campaign's end, by `stop --after never` and by `resume`",
        ),
        File((layout.CONTROL_LOCK,), "empty; a lock of the kernel, which a dead process frees", "commands", "commands"),
    ),
    "The store": (
        File(
            (layout.STATE,),
            "SQLite: [the store](schema.md); its owner's alone (mode 600), since who reads it can lock it",
            "hooks, one transaction each",
            "hooks; `verify`, `repair`",
        ),
        File(
            (f"{layout.STATE}-journal",),
            "SQLite's journal of a transaction",
            "SQLite",
            "SQLite, which rolls back what a killed hook began",
            "with the transaction",
        ),
        File(
            (layout.REDO,),
            "text: the SQL statements of every transaction, after an image of the database ([the redo log](how-it-works.md#the-redo-log))",
            "hooks; `submit`, `resume`, `extend`, `repair` begin it",
            "`verify`, `repair`",
        ),
        File(
            (layout.PUBLISHED,),
            "SQLite: the same for readers, replaced as a whole",
            "hooks, soon after each",
            "commands",
        ),
        File((f"{layout.PUBLISHED}.new",), "the copy that is being made", "hooks", "nobody", "it becomes the copy"),
        File(
            (f"{layout.PUBLISHED}.now", f"{layout.PUBLISHED}.next"),
            "text: when the last copy ended and how long it took; who makes the next one. Locks, too",
            "hooks",
            "hooks",
        ),
        File(
            (layout.STATE_LOCK, layout.STATE_DOOR, layout.OUTBOX_LOCK),
            "empty; locks of the kernel, which a dead process frees; their owner's alone",
            "hooks",
            "hooks",
        ),
        File(
            (f"{layout.STATE}.TIME.set-aside", f"{layout.STATE}.TIME.set-aside-journal"),
            "SQLite: a store that was replaced",
            "`repair`",
            "you, if you doubt the new one",
        ),
        File(
            (f"{layout.SPOOL}/NUMBER.json",),
            "JSON: [an event](#events-of-the-spool) for the store",
            "commands; hooks that cannot write the store",
            "the next hook",
            "once the store has it",
        ),
        File((f"{layout.SPOOL}/aside/NUMBER.json.PID",), "what was found there and is no event", "hooks", "you"),
        File(
            (layout.PASSING,),
            "text: which DAGMan, and which process of it, was the first to pass a node over",
            "hooks",
            "hooks",
        ),
    ),
    "Logs": (
        File((layout.HOOKS_LOG,), "text: what went wrong in a hook; not there if nothing did", "hooks", "you"),
        File((layout.SCRIPTS_LOG,), "text: what hooks printed", "DAGMan", "`repair`"),
        File(
            (layout.JOB_LOG,), "HTCondor's log of the jobs", "HTCondor", "`report`, `analyze`, Millepede jobs, `repair`"
        ),
        File((layout.JOBSTATE_LOG,), "DAGMan's account of its nodes", "DAGMan", "`repair`"),
        File(
            tuple(
                f"DAG{ending}"
                for ending in (layout.ENDING_DAGMAN_OUT, layout.ENDING_NODES_LOG, layout.ENDING_DAGMAN_LOG)
            ),
            "logs of DAGMan, of its nodes, and of its own job",
            "DAGMan, HTCondor",
            "hooks (why a job is held), `stop`, `repair`",
        ),
        File(
            ("DAG.condor.sub", "DAG.lib.out", "DAG.lib.err"),
            "how DAGMan's own job is described, and what it printed",
            "`submit`, `resume`, `extend`; DAGMan",
            "HTCondor",
        ),
        File(("DAG.metrics",), "JSON: DAGMan's own sums of its nodes", "DAGMan, at its end", "you"),
        File(
            ("DAG.rescueNNN",),
            "DAGMan's language: what is done already",
            "DAGMan that does not end well; `resume` where it left none",
            "the next DAGMan",
        ),
        File(
            (f"DAG{layout.ENDING_LOCK}",),
            "DAGMan's process",
            "DAGMan",
            "the next DAGMan; `resume`",
            "at its end, mostly",
        ),
        File(
            (f"DAG{layout.ENDING_HALT}",),
            "its being there halts DAGMan",
            "`stop`; the hook that answers `stop --after`",
            "DAGMan",
            "by `stop` once DAGMan has left; by the next DAGMan",
        ),
    ),
    "An iteration": (
        File(
            (f"{_RECO}/{layout.CONSTANTS}",),
            f"[constants](#{layout.CONSTANTS.replace('.', '')}) that it starts from",
            "`submit`; the Millepede job of the iteration before; `extend`",
            "its jobs; `verify`, `report`, `submit --from`",
        ),
        File(
            (f"ITER/PART/{layout.LOGS}/NODE.out", f"ITER/PART/{layout.LOGS}/NODE.err"),
            "text: what the job printed; the last line of `.err` says why it failed",
            "HTCondor; each attempt anew",
            "hooks, `analyze`",
        ),
        File(
            (f"{_RECO}/{layout.LOGS}/NODE.log",),
            "text: the end of what Calypso or your program printed, of a job that failed",
            f"`{layout.WRAPPER}`",
            "you",
        ),
        File(
            (f"ITER/PART/{layout.LOGS}/NODE.{layout.PASSED}",),
            "a mark: the job has nothing to do",
            "hooks, where DAGMan cannot pass a node over",
            "the job",
            "by `extend`",
        ),
        File(
            (f"{_TRACKS}/kfalignment_RUN_FILE.root",),
            "ROOT: tracks, as CKF2Alignment writes them",
            "the reconstruction job",
            "the same job; Millepede jobs that convert again",
            "by `storage.keep_iterations`, `clean`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE.bin",),
            "[Millepede's C binary](#millepedes-binary)",
            "the reconstruction job",
            "the Millepede job; `solve --from`",
            "by `clean --mille`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE.bin.json",),
            "JSON: [counts](alignment.md#from-tracks-to-mille-records) of the conversion",
            "the reconstruction job",
            "its hook, the Millepede job",
            "by `clean --mille`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE.momenta.npy",),
            "numpy: of each track a number made of its hits, q/p (1/GeV) and pz (GeV)",
            "the reconstruction job",
            "Millepede jobs, of later iterations too",
            "by `clean --mille`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE_wide.bin", f"{_TRACKS}/mp2input_RUN_FILE_wide.bin.json"),
            "the same with hits up to ten times the cut",
            "the Millepede job, if the solver rejected too many tracks",
            "the Millepede job",
            "by `clean --mille`",
        ),
        File(
            (f"{_MILLE}/lost.json",),
            "JSON: a list of the raw files that it goes without, if there are any",
            "the hook before the Millepede job",
            "the Millepede job",
        ),
        File(
            tuple(f"{_MILLE}/{name}.txt" for name in ("str", "par", "con", "own")),
            "pede's steering, parameters, constraints; an expert's own parameters. Of several steps in `step1/`, `step2/`, ...",
            "the Millepede job",
            "the solver; `report`",
            "replaced by the next attempt",
        ),
        File(
            tuple(f"{_MILLE}/millepede.{ending}" for ending in ("res", "end", "log", "his", "mon", "out", "eve")),
            "pede's result, end code, log, histograms, residuals by label, what it printed, a file of its own; likewise",
            "the solver",
            "the Millepede job; `report`",
            "replaced by the next attempt",
        ),
        File(
            (f"{_MILLE}/correction.txt",),
            "constants: what is added to those it started from",
            "the Millepede job",
            "you",
        ),
        File(
            (f"{_MILLE}/{layout.CONSTANTS}",),
            "constants that it found",
            "the Millepede job",
            "`constants export`, `report`, `verify`, the next Millepede job",
        ),
        File(
            (f"{_MILLE}/{layout.METRICS}",),
            "JSON: [metrics](alignment.md#the-metrics-of-an-iteration)",
            "the Millepede job at its very end; in `validation/after` the job that compares",
            "the hook behind it, which judges; later Millepede jobs, `repair`",
            "before the next attempt",
        ),
        File(
            (f"{_MILLE}/{layout.PLOT}",),
            "PNG: the convergence so far, where the jobs' Python has matplotlib",
            "the Millepede job",
            "hooks, which attach it to e-mails",
            "before the next attempt",
        ),
    ),
    "Anywhere": (
        File(
            ("ANY/.NAME.PID.RANDOM.tmp", ".NAME.PID.RANDOM.tmp", f"{layout.SPOOL}/.PID.RANDOM"),
            "a file that is being written",
            "whoever writes it",
            "nobody",
            "it gets its name; what a crash has left in `2kfalignment` goes by `clean`",
        ),
    ),
}

_CHECKSUM = "its sha256"
RECORD_FORMAT = Format(
    layout.RECORD,
    "Made once and never changed; what `set`, `extend` and `move` changed is applied by whoever reads it.",
    (
        Key("format", "version of the format: 1"),
        Key("name", "of the campaign"),
        Key("version", "of faser-align that made it"),
        Key("created_utc", "when"),
        Key("year", "of the data"),
        Key("run", "with six digits; the first, of several"),
        Key("files", "numbers of the raw files, in a campaign of several runs with run * 100000 added"),
        Key("stations", "4, or 3 without the IFT"),
        Key("folder", "the campaign's"),
        Key("data", "where the large files lie; the same unless `storage.data` says otherwise"),
        Key("python", "interpreter of hooks"),
        Key("job_python", "interpreter of jobs"),
        Key("hook", "the program that DAGMan calls"),
        Key("command", "how whoever submits calls faser-align, for what messages say to type"),
        Key("targets_file", "the file that has the addresses of targets"),
        Key("constants.source", "the file with the constants to start from"),
        Key("constants.sha256", _CHECKSUM),
        Key("stages[].name", "of a stage, in their order"),
        Key("stages[].iterations", "how many it may have"),
        Key("stages[].stations", "4 or 3"),
        Key("stages[].at_limit", "`continue` or `stop`: what follows when they are used up"),
        Key("stages[].convergence...", "keys of `[convergence]` that are its own"),
        Key("stages[].steps[].name", "of a step"),
        Key("stages[].steps[].fix", "what it fixes"),
        Key("stages[].steps[].presigma.KIND", "presigmas of its own, if there are any (mm, rad)"),
        Key("stages[].steps[].extra_lines", "lines of steering of its own, if there are any"),
        Key("stages[].steps[].parameters", "file of parameters of its own, if there is one"),
        Key("stages[].steps[].parameters_text", "the text of that file, as it was"),
        Key("config...", "[all keys of the configuration](configuration.md) as they are used"),
        Key("validation.files", "raw files of the validation, if there is one"),
        Key("validation.unused", "those of them that no iteration uses"),
        Key("only", "the one iteration that `reco` reconstructs"),
        Key(
            "parent.name",
            "the campaign from which `submit --from` has begun, or of which `solve --from` solves an iteration",
        ),
        Key("parent.folder", "its folder"),
        Key("parent.stage", "whose constants these are"),
        Key("parent.iteration", "likewise; 0: those that the stage began with"),
        Key("parent.constants", "their file"),
        Key("parent.sha256", _CHECKSUM),
        Key("imported.from", "the folder of faser-alignment-script that `import` has read"),
        Key("imported.config...", "its configuration"),
        Key("imported.times", "where the times of the history come from"),
    ),
)
CHANGES_FORMAT = Format(
    layout.CHANGES,
    "A list, the oldest first, of:",
    (
        Key("id", "by which the history has each once"),
        Key("utc", "when it was typed"),
        Key("who", "by whom"),
        Key("host", "on which machine"),
        Key("key", "dotted name in the configuration; `stages.N.iterations` by `extend`, `data` by `move`"),
        Key("before...", "value before"),
        Key("after...", "value afterwards"),
    ),
)
SUBMITTED_FORMAT = Format(
    layout.SUBMITTED,
    "The latest submission, so that no other schedd is believed.",
    (
        Key("schedd", "name of the schedd that has the DAGMan"),
        Key("host", "where the command was typed"),
        Key("dag", "name of the DAG file"),
    ),
)
STOP_FORMAT = Format(layout.STOP, "", (Key("who", "by whom it was asked for"), Key("utc", "when")))
FORMATS = (RECORD_FORMAT, CHANGES_FORMAT, SUBMITTED_FORMAT, STOP_FORMAT)


def files_tables() -> str:
    """Return one Markdown table for each part of a campaign's folder."""
    lines: list[str] = []
    for heading, files in FILES.items():
        lines += [
            "",
            f"### {heading}",
            "",
            "| file | format | written by | read by | removed |",
            "|---|---|---|---|---|",
        ]
        for file in files:
            lines.append(f"| {_names(file)} | {file.form} | {file.written} | {file.read} | {file.gone or '-'} |")
    return "\n".join(lines[1:]) + "\n"


def _names(file: File) -> str:
    """Return the names of a file, with each folder written once."""
    folder = os.path.dirname(file.names[0])
    return ", ".join([f"`{file.names[0]}`", *(f"`{name.removeprefix(f'{folder}/')}`" for name in file.names[1:])])


def formats_tables(formats: Sequence[Format]) -> str:
    """Return a Markdown section with the keys of each format."""
    return "\n".join(line for form in formats for line in _section(form)) + "\n"


def _section(form: Format) -> Iterator[str]:
    yield from (f"## {form.heading}", "")
    if form.about:
        yield from (form.about, "")
    several = any(key.of for key in form.keys)
    yield from ("| key | in | meaning |", "|---|---|---|") if several else ("| key | meaning |", "|---|---|")
    for key in form.keys:
        cells = (f"`{key.name.removesuffix('...')}`", *([key.of or "all"] if several else []), key.meaning)
        yield f"| {' | '.join(cells)} |"
    yield ""
