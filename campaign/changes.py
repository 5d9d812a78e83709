"""Read and write ``changes.json``: what `set`, `extend` and `move` changed after the submission.

The manifest itself is never changed. Readers apply the changes to it, so that scripts and jobs use the same limits with
and without the state database. Standard library only, because scripts import this module.
"""

import json
import os
from typing import Any, TypedDict

from faser_align.campaign import layout
from faser_align.campaign.manifest_types import Manifest
from faser_align.fsm import renamed
from faser_align.fsm.errors import StoreError
from faser_align.system import atomic


class Change(TypedDict):
    """One change of the manifest: its identifier, who made it when and where, the dotted key, and both values."""

    id: str
    utc: str
    who: str
    host: str
    key: str
    before: Any
    after: Any


# Scripts read these anew each time, so that `set` may change them: whole tables and single keys.
SETTABLE = (
    *("convergence", "reconstruction.min_files", "notify.targets", "notify.events"),
    *("validation.chi2_rise_max", "validation.module_rise_max", "validation.module_hits_min"),
    *("validation.side_mean_um_max", "validation.false_rejection_max"),
)
DATA = "data"  # folder of the large files, which `move` changes


def is_settable(key: str) -> bool:
    """Return whether `set` may change the key with this dotted name."""
    table, _, _ = key.rpartition(".")
    return bool(table) and (key in SETTABLE or table in SETTABLE)


def iterations_key(stage: int) -> str:
    """Return the key of a stage's number of iterations, which `extend` changes."""
    return f"stages.{stage}.iterations"


def is_extension(key: str) -> bool:
    """Return whether `extend` changed the key; `set` changes criteria, such as `stages.2.convergence.patience`."""
    return key.startswith("stages.") and key.endswith(".iterations")


def read(folder: str) -> list[Change]:
    """Return the changes of the campaign in ``folder``, oldest first.

    Raises StoreError if the file exists and cannot be read.
    """
    path = f"{folder}/{layout.CHANGES}"
    try:
        with open(path, encoding="utf-8") as file:
            stored: list[Change] = json.load(file)
        return [{**change, "key": renamed.key(str(change["key"])), "after": change["after"]} for change in stored]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot read: {error.strerror}; correct its permissions") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} is not a list of changes ({error}); restore it from a copy") from None


def write(folder: str, changes: list[Change]) -> None:
    """Write all changes of a campaign, or remove the file if there are none.

    Raises StoreError if the file cannot be written.
    """
    path = f"{folder}/{layout.CHANGES}"
    try:
        if changes:
            atomic.write_text(path, json.dumps(changes, indent=1, allow_nan=False) + "\n")
        elif os.path.exists(path):
            os.unlink(path)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot write: {error.strerror}; free space there or make it writable, then try again"
        ) from None


def apply(record: Manifest, changes: list[Change]) -> Manifest:
    """Apply the changes to ``record``, a manifest that was just read, and return it.

    Raises StoreError for a change of a key that the manifest does not have.
    """
    raw: Any = record  # a change names its key
    for change in changes:
        words = change["key"].split(".")
        try:
            if change["key"] == DATA:
                raw[DATA] = change["after"]
            elif words[0] == "stages":
                inner = raw["stages"][int(words[1]) - 1]
                for word in words[2:-1]:
                    inner = inner.setdefault(word, {})
                inner[words[-1]] = change["after"]
            else:
                tables = raw["config"]  # the manifest of an older program may lack a table that can be changed
                table = tables.setdefault(words[0], {}) if is_settable(change["key"]) else tables[words[0]]
                table[words[1]] = change["after"]
        except (LookupError, ValueError, TypeError):
            where = f"{record.get('folder')}/{layout.CHANGES}"
            raise StoreError(
                f"{where} changes {change['key']}, which the campaign does not have; restore the file from a copy"
            ) from None
    return record
