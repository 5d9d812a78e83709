"""Check who else can change programs that run as the user, or read the user's credentials: mode bits, and AFS ACLs.

Anyone who can write a program, its folder, or a folder on its path can replace it.
"""

import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator

from faser_align.fsm.errors import UserError

# File systems that ignore mode bits: they have ACLs, or are read-only.
AFS, FOREIGN = "/afs/", ("/afs/", "/eos/", "/cvmfs/")
EVERYBODY = ("system:anyuser", "system:authuser")  # names in AFS ACLs: everybody, and every account
READING, WRITING = "r", "idwka"
LINKS_MAX = 40
FS_WAIT_S = 10


def check_trusted(path: str, what: str) -> None:
    """Raise UserError if anyone but the user and the administrator can write ``path`` or a folder on its path.

    A sticky folder that all may write, such as /var/tmp, is safe for its entries. A group whose only member is the user
    counts as the user. The absolute path must exist; ``what`` is its name for the sentence.
    """
    for place, found in _passed(path):
        if _is_foreign(place):
            folder = os.path.realpath(path)
            refuse_everybody(folder if os.path.isdir(folder) else os.path.dirname(folder), WRITING, what)
            return
        why = _writers(found, os.getuid())
        if why:
            cure = (
                "use a folder of your own"
                if found.st_uid not in (os.getuid(), *_administrators())
                else f"`chmod go-w {place}`"
            )
            raise UserError(f"{what} is {path}, and {place} {why}, so others could run programs in your name; {cure}")


def check_tree(folder: str, what: str) -> None:
    """Check everything in a folder, including links at its top; entries that vanish meanwhile are safe.

    A Python process that runs at the same time writes compiled modules there, first under a temporary name.
    """
    check_trusted(folder, what)
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        try:
            check_trusted(path, what)
        except UserError:
            if os.path.lexists(path):
                raise
        for place, found in _below(path):
            why = _writers(found, os.getuid())
            if why and not _is_foreign(os.path.realpath(place)):
                raise UserError(f"{what} is {folder}, and {place} {why}; correct that (`chmod -R go-w {folder}`)")


def _below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything at any depth in a folder that still exists."""
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            place = os.path.join(top, name)
            try:
                found = os.lstat(place)
            except FileNotFoundError:
                continue
            yield place, found


def refuse_everybody(folder: str, rights: str, what: str) -> None:
    """Raise UserError if the AFS ACL of a folder gives everybody one of ``rights``; does nothing elsewhere."""
    given = _access_list(folder) if folder.startswith(AFS) else {}
    for name in EVERYBODY:
        if set(given.get(name, "")) & set(rights):
            raise UserError(
                f"{what} is in {folder}, where AFS gives {name} the rights {given[name]}; remove them: "
                f"`fs setacl {folder} {name} none`"
            )


def parse_access_list(text: str) -> dict[str, str]:
    """Parse ``fs listacl``: return the normal rights of each name, without negative rights."""
    lines = text.partition("Normal rights:")[2].partition("Negative rights:")[0].splitlines()
    return {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}


def _access_list(folder: str) -> dict[str, str]:
    try:
        done = subprocess.run(
            ["fs", "listacl", folder], capture_output=True, text=True, timeout=FS_WAIT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_access_list(done.stdout)


def _passed(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything on the way to ``path``, including itself, as the kernel resolves it, link by link."""
    here, rest, links = "/", [part for part in path.split("/") if part], 0
    yield here, os.lstat(here)
    while rest:
        part = rest.pop(0)
        place = os.path.normpath(os.path.join(here, part))
        try:
            found = os.lstat(place)
        except OSError as error:
            raise UserError(f"{place}: cannot check its permissions: {error.strerror}") from None
        yield place, found
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        links += 1
        if links > LINKS_MAX:
            raise UserError(f"{path}: too many symbolic links; name the target itself")
        target = os.readlink(place)
        here = "/" if target.startswith("/") else here
        rest = [*(word for word in target.split("/") if word), *rest]


def _is_foreign(place: str) -> bool:
    """Return whether mode bits have no effect there."""
    if place.startswith(FOREIGN):
        return True
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _writers(found: os.stat_result, user: int) -> str:
    """Return who else can write it, as part of a sentence; empty if only the user and the owner of ``/``."""
    if found.st_uid not in (user, *_administrators()):
        return f"belongs to {_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "is writable by everyone"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0 and not _is_own_group(found.st_gid, user):
        return f"is writable by the group {_group(found.st_gid)}"
    return ""


def _administrators() -> tuple[int, ...]:
    """Return root's user id, and the owner of ``/`` in a container."""
    return (0, os.lstat("/").st_uid)


def _is_own_group(gid: int, user: int) -> bool:
    """Return whether a group is the user's private one: with their name, and without other members."""
    try:
        name = pwd.getpwuid(user).pw_name
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
