"""Change limits of a running campaign: those that its scripts read for every decision."""

import contextlib
import copy
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from faser_align.campaign import changes
from faser_align.campaign.manifest import convergence_of
from faser_align.campaign.manifest_types import Manifest
from faser_align.config.describe import names
from faser_align.config.load import nearest, validate
from faser_align.fsm import renamed
from faser_align.fsm.errors import UserError
from faser_align.operations import lifecycle, snapshot
from faser_align.operations.command_lock import alone
from faser_align.state import control_requests, create, database
from faser_align.system import account, program

OF_STAGE = re.compile(r"stages\.(\d+)\.(convergence\..*)")  # a criterion of one stage, counted from 1


def change(folder: str, assignments: Sequence[str], *, dry_run: bool = False) -> list[changes.Change]:
    """Change keys of the campaign's configuration that scripts read; return each with its values, changed or not.

    Args:
        folder: the campaign.
        assignments: ``KEY=VALUE`` each, with the value as in the configuration file.
        dry_run: return what would change, and change nothing.

    Raises:
        UserError: a key cannot be changed or a value is not allowed; nothing was changed.
        StoreError: the campaign's folder cannot be written.
    """
    lifecycle.require_original_folder(folder)
    with contextlib.nullcontext() if dry_run else alone(folder):
        record = lifecycle.require_original_folder(folder)  # with the values of a command that had the lock before
        if snapshot.state_now(folder) == "converged":
            raise UserError(
                f"{record['name']} has converged, so its limits have no effect any more; start another campaign from its "
                f"constants with {program.hint('submit --from', record['name'])}"
            )
        found = [new_change(key, before, after) for key, (before, after) in _values(record, assignments).items()]
        if dry_run:
            return found
        known = [*changes.read(folder), *(made for made in found if made["before"] != made["after"])]
        changes.write(folder, known)
        record_changes(folder, known)
    return found


def new_change(key: str, before: Any, after: Any) -> changes.Change:
    """Return a change that this user makes now."""
    return {
        "id": control_requests.identity(),
        "utc": database.utc(),
        "who": account.user(),
        "host": os.uname().nodename,
        "key": key,
        "before": before,
        "after": after,
    }


def record_changes(folder: str, known: Sequence[changes.Change]) -> None:
    """Queue once for the scripts each change that is neither in the history nor in the event queue."""
    recorded = control_requests.recorded(folder)
    columns = create.columns(lifecycle.require_original_folder(folder))
    for made in known:
        if made["id"] not in recorded and not changes.is_extension(made["key"]):
            control_requests.put(folder, "changed", {**control_requests.of_change(made), "columns": columns})


def _values(record: Manifest, assignments: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return each key with its values before and after; the schema validates all of them together."""
    raw = _settable(record["config"])
    before: Any = validate(raw, record["name"]).model_dump(mode="json")
    raw = copy.deepcopy(raw)
    keys = []
    stages = {}
    complete: Manifest = {**record, "config": before}  # an older program's manifest may lack a criterion
    for assignment in assignments:
        key, text = parse_assignment(assignment, "", "convergence.residual_shift_um_max=1.0")
        if key in keys or key in stages:
            raise UserError(f"set: {key} is given twice; give it once")
        if of_stage := OF_STAGE.fullmatch(key):
            stages[key] = _of_stage(complete, int(of_stage[1]), of_stage[2], text)
            continue
        _check_key(key, record)
        table, _, name = key.rpartition(".")
        raw.setdefault(table, {})[name] = parse_value(text, isinstance(before[table][name], list))
        keys.append(key)
    config = validate(raw, "set")
    if "notify.targets" in keys:
        from faser_align.operations.submission import check_targets

        check_targets(config)
    after = config.model_dump(mode="json")
    return {key: (_at(before, key), _at(after, key)) for key in keys} | stages


def _of_stage(record: Manifest, number: int, key: str, text: str) -> tuple[Any, Any]:
    """Return a criterion of one stage before and after; the default is the common one."""
    if not 1 <= number <= len(record["stages"]):
        raise UserError(f"set: {record['name']} has no stage {number}; its stages are 1 to {len(record['stages'])}")
    _check_key(key, record)
    name = key.rpartition(".")[2]
    before = convergence_of(record, number)[name]
    value = parse_value(text, isinstance(before, list))
    judged = validate({"convergence": {name: value}}, f"set: stage {number}").model_dump(mode="json")
    return before, judged["convergence"][name]


def _settable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest's configuration that can be changed; the rest may have an older format."""
    known = set(names())
    kept = {key for key in known if changes.is_settable(key)} | {"notify.file"}
    return {
        table: {name: value for name, value in config.get(table, {}).items() if f"{table}.{name}" in kept}
        for table in sorted({key.partition(".")[0] for key in kept})
    }


def _check_key(key: str, record: Manifest) -> None:
    if key.startswith("stages."):
        raise UserError(
            f"set: {key} cannot be changed; the criteria of a stage, counted from 1, can, for example stages.1.convergence.patience; "
            f"add iterations with {program.hint('extend', record['name'], '-i 5')}"
        )
    if key not in names():
        raise UserError(f"set: {key} is not a key of the configuration; {nearest(key)}")
    if "." not in key:
        raise UserError(f"set: {key} is a table; name one of its keys, such as convergence.residual_shift_um_max")
    if not changes.is_settable(key):
        raise UserError(
            f"set: {key} cannot be changed: the submitted DAG and its jobs contain it; start "
            f"another campaign from this one with {program.hint('submit --from', record['name'], '--config FILE')}. "
            f"set can change: {', '.join(f'{one}.*' if '.' not in one else one for one in changes.SETTABLE)}"
        )


def parse_assignment(assignment: str, option: str, example: str) -> tuple[str, str]:
    """Return key and text of the value of ``KEY=VALUE``; raise UserError, with an example, for anything else."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{option}{assignment!r} is not KEY=VALUE; write for example {example}")
    return renamed.key(key.strip()), text.strip()


def parse_value(text: str, is_list: bool) -> Any:
    """Return a TOML value; words may have no quotes, and lists of them no brackets."""
    found = {}
    with contextlib.suppress(tomllib.TOMLDecodeError):
        found = tomllib.loads(f"value = {text}")
    if list(found) != ["value"]:  # a text of several lines may have further keys
        return [word.strip() for word in text.split(",") if word.strip()] if is_list else text
    return found["value"]


def own(record: Manifest, key: str) -> list[str]:
    """Return a sentence for each stage that has its own value of a key of ``[convergence]``."""
    table, _, name = key.rpartition(".")
    return [
        f"stage {stage['name']!r} has its own {name}, which still applies; change it as stages.{number}.{key}"
        for number, stage in enumerate(record["stages"], start=1)
        if table == "convergence" and name in stage.get("convergence", {})
    ]


def _at(config: Mapping[str, Any], key: str) -> Any:
    table, _, name = key.rpartition(".")
    return config[table][name]
