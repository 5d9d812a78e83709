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
            f"JSON: [the manifest](#{layout.RECORD.replace('.', '')}). Configuration with all defaults, files, stages, versions, checksums",
            "`submit`, once",
            "jobs, scripts, every command",
        ),
        File((layout.CONFIG,), "your configuration file, unchanged", "`submit`, once", "`submit --from`"),
        File(("config.json",), "JSON: the configuration of faser-alignment-script", "`import`", "you"),
        File((layout.DAG, "alignment-NN.dag"), "DAGMan input file", "`submit`; the second one `extend`", "DAGMan"),
        File(
            (layout.WRAPPER,),
            "bash script that a reconstruction job runs, with Calypso or your own program",
            "`submit`",
            "reconstruction jobs",
        ),
    ),
    "Later requests": (
        File(
            (layout.CHANGES,),
            "JSON: [a list of changes](#changesjson) to the manifest",
            "`set`, `extend`, `move`",
            "all readers of the manifest",
        ),
        File(
            (layout.SUBMITTED,),
            "JSON: [which schedd has the DAGMan](#submittedjson)",
            "`submit`, `resume`, `extend`",
            "commands that query the DAGMan job",
        ),
        File(
            (layout.STOP,),
            "JSON: [the request to stop](#stopjson) after an iteration",
            "`stop --after iteration`",
            "the POST script of each Millepede job",
            "at the campaign's end, by `stop --after never` and by `resume`",
        ),
        File((layout.CONTROL_LOCK,), "empty; a kernel lock, released when its process dies", "commands", "commands"),
    ),
    "The state database": (
        File(
            (layout.STATE,),
            "SQLite: [the state database](schema.md); private to its owner (mode 600), since a reader can lock it",
            "scripts, one transaction each",
            "scripts; `verify`, `repair`",
        ),
        File(
            (f"{layout.STATE}-journal",),
            "SQLite's journal of a transaction",
            "SQLite",
            "SQLite, which rolls back the transaction of a killed script",
            "at the end of the transaction",
        ),
        File(
            (layout.REDO,),
            "text: an image of the database, then the SQL statements of every transaction ([the redo log](how-it-works.md#the-redo-log))",
            "scripts; `submit`, `resume`, `extend`, `repair` start it",
            "`verify`, `repair`",
        ),
        File(
            (layout.PUBLISHED,),
            "SQLite: the snapshot for readers, replaced as a whole",
            "scripts, soon after each transaction",
            "commands",
        ),
        File((f"{layout.PUBLISHED}.new",), "an unfinished snapshot", "scripts", "nobody", "renamed to the snapshot"),
        File(
            (f"{layout.PUBLISHED}.now", f"{layout.PUBLISHED}.next"),
            "text: when the last snapshot was finished and how long it took; which process makes the next one. Also locks",
            "scripts",
            "scripts",
        ),
        File(
            (layout.STATE_LOCK, layout.COMMIT_LOCK, layout.OUTBOX_LOCK),
            "empty; kernel locks, released when their process dies; private to their owner",
            "scripts",
            "scripts",
        ),
        File(
            (f"{layout.STATE}.TIME.set-aside", f"{layout.STATE}.TIME.set-aside-journal"),
            "SQLite: a state database that was replaced",
            "`repair`",
            "you, to compare it with the new one",
        ),
        File(
            (f"{layout.SPOOL}/NUMBER.json",),
            "JSON: [an event](#events-of-the-spool) in the fallback event queue",
            "commands; scripts that cannot write the state database",
            "the next script",
            "once the state database contains it",
        ),
        File(
            (f"{layout.SPOOL}/aside/NUMBER.json.PID",),
            "quarantine: a file of the fallback event queue that is not an event",
            "scripts",
            "you",
        ),
        File(
            (layout.PASSING,),
            "text: the DAGMan, and its process, that first skipped a node",
            "scripts",
            "scripts",
        ),
    ),
    "Logs": (
        File((layout.HOOKS_LOG,), "text: errors of scripts; missing if there were none", "scripts", "you"),
        File((layout.SCRIPTS_LOG,), "text: output of the scripts", "DAGMan", "`repair`"),
        File(
            (layout.JOB_LOG,),
            "HTCondor's event log of the jobs",
            "HTCondor",
            "`report`, `analyze`, Millepede jobs, `repair`",
        ),
        File((layout.JOBSTATE_LOG,), "DAGMan's log of node states", "DAGMan", "`repair`"),
        File(
            tuple(
                f"DAG{ending}"
                for ending in (layout.ENDING_DAGMAN_OUT, layout.ENDING_NODES_LOG, layout.ENDING_DAGMAN_LOG)
            ),
            "logs of DAGMan, of its nodes, and of its own job",
            "DAGMan, HTCondor",
            "scripts (hold reasons), `stop`, `repair`",
        ),
        File(
            ("DAG.condor.sub", "DAG.lib.out", "DAG.lib.err"),
            "submit description and output of DAGMan's own job",
            "`submit`, `resume`, `extend`; DAGMan",
            "HTCondor",
        ),
        File(("DAG.metrics",), "JSON: DAGMan's own node counts", "DAGMan, at its end", "you"),
        File(
            ("DAG.rescueNNN",),
            "rescue DAG: the nodes that are done",
            "a DAGMan that fails or is removed; `resume` if it left none",
            "the next DAGMan",
        ),
        File(
            (f"DAG{layout.ENDING_LOCK}",),
            "process ID of DAGMan",
            "DAGMan",
            "the next DAGMan; `resume`",
            "usually when DAGMan ends",
        ),
        File(
            (f"DAG{layout.ENDING_HALT}",),
            "halt file: DAGMan halts while it exists",
            "`stop`; the script that carries out `stop --after`",
            "DAGMan",
            "by `stop` once DAGMan has left the queue; by the next DAGMan",
        ),
    ),
    "An iteration": (
        File(
            (f"{_RECO}/{layout.CONSTANTS}",),
            f"[constants](#{layout.CONSTANTS.replace('.', '')}) that the iteration starts from",
            "`submit`; the Millepede job of the iteration before; `extend`",
            "its jobs; `verify`, `report`, `submit --from`",
        ),
        File(
            (f"ITER/PART/{layout.LOGS}/NODE.out", f"ITER/PART/{layout.LOGS}/NODE.err"),
            "text: output of the job; the last line of `.err` says why it failed",
            "HTCondor; overwritten by each attempt",
            "scripts, `analyze`",
        ),
        File(
            (f"{_RECO}/{layout.LOGS}/NODE.log",),
            "text: the last output of Calypso or your program, if the job failed",
            f"`{layout.WRAPPER}`",
            "you",
        ),
        File(
            (f"ITER/PART/{layout.LOGS}/NODE.{layout.PASSED}",),
            "marker: the job has nothing to do",
            "scripts, if DAGMan cannot skip the node",
            "the job",
            "by `extend`",
        ),
        File(
            (f"{_TRACKS}/kfalignment_RUN_FILE.root",),
            "ROOT: tracks, as CKF2Alignment writes them",
            "the reconstruction job",
            "the same job; Millepede jobs that repeat the conversion",
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
            "its POST script, the Millepede job",
            "by `clean --mille`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE.momenta.npy",),
            "numpy: for each track a hash of its hits, q/p (1/GeV) and pz (GeV)",
            "the reconstruction job",
            "Millepede jobs of this and later iterations",
            "by `clean --mille`",
        ),
        File(
            (f"{_TRACKS}/mp2input_RUN_FILE_wide.bin", f"{_TRACKS}/mp2input_RUN_FILE_wide.bin.json"),
            "the same with ten times the residual cut",
            "the Millepede job, if the solver rejected too many tracks",
            "the Millepede job",
            "by `clean --mille`",
        ),
        File(
            (f"{_MILLE}/lost.json",),
            "JSON: list of the dropped raw files, if there are any",
            "the PRE script of the Millepede job",
            "the Millepede job",
        ),
        File(
            tuple(f"{_MILLE}/{name}.txt" for name in ("str", "par", "con", "own")),
            "pede's steering, parameters and constraints; an expert's own parameters. With several steps: in `step1/`, `step2/`, ...",
            "the Millepede job",
            "the solver; `report`",
            "replaced by the next attempt",
        ),
        File(
            tuple(f"{_MILLE}/millepede.{ending}" for ending in ("res", "end", "log", "his", "mon", "out", "eve")),
            "pede's result, end code, log, histograms, residuals by label, output, and a file of its own; with several steps as above",
            "the solver",
            "the Millepede job; `report`",
            "replaced by the next attempt",
        ),
        File(
            (f"{_MILLE}/correction.txt",),
            "constants: the correction, added to the initial constants",
            "the Millepede job",
            "you",
        ),
        File(
            (f"{_MILLE}/{layout.CONSTANTS}",),
            "constants: the result",
            "the Millepede job",
            "`constants export`, `report`, `verify`, the next Millepede job",
        ),
        File(
            (f"{_MILLE}/{layout.METRICS}",),
            "JSON: [metrics](alignment.md#the-metrics-of-an-iteration)",
            "the Millepede job, as its last file; in `validation/after` the job that compares",
            "the POST script, which decides; later Millepede jobs, `repair`",
            "before the next attempt",
        ),
        File(
            (f"{_MILLE}/{layout.PLOT}",),
            "PNG: plot of the convergence so far, if the jobs' Python has matplotlib",
            "the Millepede job",
            "scripts, which attach it to e-mails",
            "before the next attempt",
        ),
    ),
    "Anywhere": (
        File(
            ("ANY/.NAME.PID.RANDOM.tmp", ".NAME.PID.RANDOM.tmp", f"{layout.SPOOL}/.PID.RANDOM"),
            "temporary file of an atomic write",
            "the process that writes the file",
            "nobody",
            "renamed when complete; `clean` removes what a crash left in `2kfalignment`",
        ),
    ),
}

_CHECKSUM = "its sha256"
RECORD_FORMAT = Format(
    layout.RECORD,
    "Written once and never changed; every reader applies the changes of `set`, `extend` and `move`.",
    (
        Key("format", "version of the format: 1"),
        Key("name", "name of the campaign"),
        Key("version", "version of faser-align that submitted the campaign"),
        Key("created_utc", "time of submission"),
        Key("year", "year of the data"),
        Key("run", "run with six digits; with several runs the first"),
        Key("files", "numbers of the raw files; with several runs, run * 100000 is added"),
        Key("stations", "4, or 3 without the IFT"),
        Key("folder", "folder of the campaign"),
        Key("data", "folder of the large files; the campaign's folder unless `storage.data` is set"),
        Key("python", "Python of the scripts"),
        Key("job_python", "Python of the jobs"),
        Key("hook", "the program that DAGMan calls"),
        Key("command", "command line that starts faser-align, used in messages"),
        Key("targets_file", "file with the addresses of the targets"),
        Key("constants.source", "file with the initial constants"),
        Key("constants.sha256", _CHECKSUM),
        Key("stages[].name", "name of a stage, in order"),
        Key("stages[].iterations", "iteration limit"),
        Key("stages[].stations", "4 or 3"),
        Key("stages[].at_limit", "`continue` or `stop`: what to do at the limit"),
        Key("stages[].convergence...", "keys of `[convergence]` that the stage overrides"),
        Key("stages[].steps[].name", "name of a step"),
        Key("stages[].steps[].fix", "fixed parameters"),
        Key("stages[].steps[].presigma.KIND", "presigmas of the step, if set (mm, rad)"),
        Key("stages[].steps[].extra_lines", "steering lines of the step, if set"),
        Key("stages[].steps[].parameters", "parameter file of the step, if set"),
        Key("stages[].steps[].parameters_text", "text of that file at submission"),
        Key("config...", "[all keys of the configuration](configuration.md) with their values"),
        Key("validation.files", "raw files of the validation pass, if enabled"),
        Key("validation.unused", "those that no iteration uses"),
        Key("only", "the only iteration, for `reco`"),
        Key(
            "parent.name",
            "campaign that `submit --from` started from, or whose iteration `solve --from` solves",
        ),
        Key("parent.folder", "folder of that campaign"),
        Key("parent.stage", "stage that produced the constants"),
        Key("parent.iteration", "iteration that produced them; 0: the initial constants of the stage"),
        Key("parent.constants", "file with the constants"),
        Key("parent.sha256", _CHECKSUM),
        Key("imported.from", "folder of faser-alignment-script that `import` read"),
        Key("imported.config...", "configuration of that folder"),
        Key("imported.times", "source of the times in the history"),
    ),
)
CHANGES_FORMAT = Format(
    layout.CHANGES,
    "A list, oldest first, of:",
    (
        Key("id", "identifier; the history records each change once"),
        Key("utc", "time of the command"),
        Key("who", "user"),
        Key("host", "machine"),
        Key("key", "dotted name of a configuration key; `stages.N.iterations` by `extend`, `data` by `move`"),
        Key("before...", "value before"),
        Key("after...", "value after"),
    ),
)
SUBMITTED_FORMAT = Format(
    layout.SUBMITTED,
    "The latest submission, so that commands ask only this schedd.",
    (
        Key("schedd", "name of the schedd that has the DAGMan"),
        Key("host", "machine where the command ran"),
        Key("dag", "name of the DAG file"),
    ),
)
STOP_FORMAT = Format(layout.STOP, "", (Key("who", "user who requested the stop"), Key("utc", "time of the request")))
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
