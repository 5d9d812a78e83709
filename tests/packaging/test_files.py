"""Test that ``system.atomic`` writes all files that another process reads."""

import ast
from collections.abc import Iterator
from pathlib import Path

from sources import MODULES, tree

# Exceptions: where a file is written or renamed differently, by module and function, and why.
ALLOWED = {
    ("system/atomic.py", "replacing"): "this is how it is done",
    ("system/atomic.py", "temporary"): "this is how it is done",
    ("system/atomic.py", "write_new"): "this is how it is done",
    ("alignment/quality/momenta.py", "write_momenta"): "into a file of system.atomic",
    ("alignment/pede/runner.py", "run_pede"): "pede's own output, while it runs",
    ("alignment/solver/normal_equations.py", "write_normal"): "into a file of system.atomic",
    ("predecessor/campaign.py", "import_campaign"): "whole folders",
    ("predecessor/campaign.py", "_copy"): "into a folder that gets its name when it is whole",
    ("operations/moving.py", "_copy"): "into a name of system.atomic",
    ("operations/probe.py", "_fill"): "into a new folder, before anybody knows of it",
    ("operations/conditions_database.py", "export"): "whole folders",
    ("cli/commands/demonstration.py", "_new_place"): "empty: it takes the name",
    ("cli/main.py", "_write_no_more"): "/dev/null",
    ("cli/streams.py", "prepare"): "/dev/null",
    ("operations/submission.py", "write_new"): "what is in the way is moved aside",
    ("dag/create.py", "_put_in_place"): "whole folders",
    ("dag/submit.py", "stop_dag"): "the halt file, whose being there is all that DAGMan looks at",
    ("hooks/log.py", "write"): "a log, to which lines are added",
    ("jobs/solve.py", "_hand_on"): "a copy under a name of system.atomic",
    ("pool/personal.py", "_locked"): "a lock",
    ("pool/personal.py", "_launch"): "a log",
    ("simulation/kfalignment.py", "write"): "called with a name of system.atomic",
    ("state/database.py", "__init__"): "a lock",
    ("state/database.py", "append_redo"): "a log, to which lines are added",
    ("state/verify.py", "_copy"): "in a scratch folder",
    ("state/publish.py", "_open"): "a lock",
    ("state/publish.py", "_copy"): "SQLite writes it: under another name, synced and renamed",
    ("state/repair/rebuild.py", "_from_copies"): "in a scratch folder",
    ("state/repair/rebuild.py", "install"): "a whole database, synced and renamed",
    ("state/repair/rebuild.py", "_keep"): "moved as it is, with no moment without",
    ("state/repair/copies.py", "examine"): "in a scratch folder",
    ("state/writer.py", "apply"): "rows of a database",
    ("predecessor/history.py", "replay"): "rows of a database",
    ("state/spool.py", "put"): "its number is taken by a link: under another name, synced and linked",
    ("system/bounded.py", "serve"): "a pipe",
    ("system/folder_probe.py", "try_folder"): "to try whether it can be done, in a folder of its own",
    ("state/spool.py", "set_aside"): "moved as it is",
}
WRITERS = {"write_text", "write_bytes", "touch", "save", "savez", "savetxt", "tofile", "recreate", "fdopen"}
MOVERS = {"os.replace", "os.rename", "os.link", "shutil.copy", "shutil.copyfile", "shutil.copy2", "shutil.move"}
OURS = {"write_text", "write_bytes", "replacing", "temporary", "write_new"}


def writes(call: ast.Call) -> bool:
    """Return whether a call writes or renames a file."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if name.removeprefix("atomic.") in OURS:
        return False
    if name in MOVERS or last in WRITERS:
        return True
    if name == "os.open":
        return any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
    if last == "open":
        modes = [
            word.value for word in (*call.args, *(k.value for k in call.keywords)) if isinstance(word, ast.Constant)
        ]
        return any(isinstance(mode, str) and len(mode) <= 3 and set(mode) & set("wax+") for mode in modes)
    return False


def places(module: Path) -> Iterator[tuple[str, str, int]]:
    """Yield module, innermost function and line of everything that writes a file."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str, int]]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call) and writes(child):
                yield str(module), function, child.lineno
            yield from walk(child, inside)

    return walk(tree(module), "")


def test_files_are_written_in_one_way() -> None:
    """Only ``system.atomic`` writes or renames files, except with a documented reason; each exception exists."""
    found = [place for module in MODULES for place in places(module)]
    assert [f"{where}:{line} in {name}" for where, name, line in found if (where, name) not in ALLOWED] == []
    assert {(where, name) for where, name, _ in found} >= set(ALLOWED)
