"""Keep the registry of this user's campaigns, so that they can be found by name.

There is one small file per campaign folder, so that simultaneous submissions do not conflict and a damaged file affects
one entry. It contains nothing that the campaign itself does not.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from faser_align.campaign import layout
from faser_align.config.near import nearest
from faser_align.fsm.errors import UserError
from faser_align.system.account import state_folder
from faser_align.system.atomic import write_text

NAMES_MAX = 5  # named in a sentence


class Entry(NamedTuple):
    """A campaign that was submitted from this account."""

    name: str
    folder: str


def home() -> Path:
    """Return the registry's folder: ``$XDG_STATE_HOME/faser-align/campaigns`` (default ``~/.local/state``)."""
    return state_folder() / "campaigns"


def add(name: str, folder: str) -> None:
    """Add a campaign; a second time changes nothing. Raises UserError if the registry cannot be written."""
    path = _path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"name": name, "folder": folder}))
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot add {name} to the campaigns of this account: {error.strerror}; free space there or "
            "make it writable, or set XDG_STATE_HOME to another folder"
        ) from None


def remove(folder: str) -> None:
    """Remove a campaign; an unknown one is not an error."""
    _path(folder).unlink(missing_ok=True)


def entries() -> list[Entry]:
    """Return all registered campaigns that still exist, by name."""
    found = []
    for path in sorted(home().glob("*.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            entry = Entry(str(value["name"]), str(value["folder"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if _may_exist(f"{entry.folder}/{layout.RECORD}"):
            found.append(entry)
    return sorted(found)


def _may_exist(path: str) -> bool:
    """Return whether a file exists, or is in a folder that cannot be read, as on AFS without a token."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def find(name: str) -> str:
    """Return the folder of the campaign ``name``: a path to its folder, or a registered name.

    Raises:
        UserError: there is no such campaign (suggests the most similar), or several of that name.
    """
    return find_all([name])[0]


def find_all(names: Sequence[str]) -> list[str]:
    """Return the folders of several campaigns, as ``find`` does; raise UserError if two are the same."""
    known: list[Entry] = []  # read once
    found: dict[str, str] = {}  # by real path
    for name in names:
        path = os.path.abspath(os.path.expanduser(name))
        if not os.path.exists(f"{path}/{layout.RECORD}"):
            known = known or entries()
            path = _registered(name, known)
        if (real := os.path.realpath(path)) in found:
            raise UserError(f"{name} is named twice; name each campaign once")
        found[real] = path
    return list(found.values())


def _registered(name: str, known: Sequence[Entry]) -> str:
    folders = [entry.folder for entry in known if entry.name == name]
    if len(folders) > 1:
        raise UserError(f"several campaigns are called {name!r}; give the folder of one: {', '.join(folders)}")
    if folders:
        return folders[0]
    near = nearest(name, [entry.name for entry in known])
    if near:
        raise UserError(f"there is no campaign {name!r}; the nearest is {near!r}")
    if known:
        names = ", ".join(entry.name for entry in known[:NAMES_MAX]) + (", ..." if len(known) > NAMES_MAX else "")
        raise UserError(f"there is no campaign {name!r}; name one of {names}, or give the path of a folder")
    raise UserError(
        f"there is no campaign {name!r}, and none is known; give the path of its folder, or submit one first"
    )


def _path(folder: str) -> Path:
    import hashlib  # only needed here

    digest = hashlib.sha256(os.path.abspath(folder).encode()).hexdigest()[:16]
    return home() / f"{digest}.json"
