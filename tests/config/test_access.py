"""Test that only the user and the administrator can change what runs as the user."""

import os
import stat
import threading
from pathlib import Path

import pytest

from faser_align.fsm.errors import UserError
from faser_align.system import permissions

ME, OTHER, GROUP = 4711, 4712, 4713


def found(kind: int, mode: int, owner: int = ME, group: int = GROUP) -> os.stat_result:
    """Return the ``lstat`` result for this mode, owner and group."""
    return os.stat_result((kind | mode, 1, 1, 1, owner, group, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("kind", "mode", "owner", "group", "why"),
    [
        (stat.S_IFREG, 0o644, ME, GROUP, ""),
        (stat.S_IFREG, 0o644, 0, 0, ""),
        (stat.S_IFREG, 0o755, OTHER, GROUP, "belongs to uid 4712"),
        (stat.S_IFREG, 0o666, ME, GROUP, "is writable by everyone"),
        (stat.S_IFREG, 0o664, ME, GROUP, "is writable by the group 4713"),
        (stat.S_IFREG, 0o664, ME, 0, ""),  # the administrator's group
        (stat.S_IFDIR, 0o777, ME, GROUP, "is writable by everyone"),
        (stat.S_IFDIR, 0o1777, 0, 0, ""),  # like /var/tmp
        (stat.S_IFDIR, 0o1777, OTHER, GROUP, "belongs to uid 4712"),
        (stat.S_IFDIR, 0o775, ME, GROUP, "is writable by the group 4713"),
        (stat.S_IFLNK, 0o777, ME, GROUP, ""),
        (stat.S_IFLNK, 0o777, OTHER, GROUP, "belongs to uid 4712"),
    ],
)
def test_who_could_write(kind: int, mode: int, owner: int, group: int, why: str) -> None:
    """Write permissions count, except for sticky folders, links, and the administrator's files."""
    assert permissions._writers(found(kind, mode, owner, group), ME) == why


def test_a_private_group_is_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the umask 002 and a private group per user nothing is writable by others."""
    names = permissions.pwd.struct_passwd(("you", "x", ME, GROUP, "", "/", "/bin/sh"))
    monkeypatch.setattr(permissions.pwd, "getpwuid", lambda _: names)
    for name, members, why in (
        ("you", [], ""),
        ("you", ["you"], ""),
        ("you", ["you", "another"], "is writable by the group you"),
        ("zp", [], "is writable by the group zp"),
    ):
        group = permissions.grp.struct_group((name, "x", GROUP, members))
        monkeypatch.setattr(permissions.grp, "getgrgid", lambda _, group=group: group)
        assert permissions._writers(found(stat.S_IFDIR, 0o775), ME) == why


def test_every_folder_on_the_way_counts(tmp_path: Path) -> None:
    """A parent folder, and a folder that only a link passes through, must not be writable by others."""
    inner = tmp_path / "above" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(inner)
    program = inner / "program"
    program.touch(mode=0o755)
    permissions.check_trusted(str(tmp_path / "first" / "program"), "the program")
    (tmp_path / "above").chmod(0o777)
    for path in (program, tmp_path / "first" / "program"):
        with pytest.raises(UserError) as refused:
            permissions.check_trusted(str(path), "the program")
        assert str(refused.value) == (
            f"the program is {path}, and {tmp_path}/above is writable by everyone, so others could run programs "
            f"in your name; `chmod go-w {tmp_path}/above`"
        )
    (tmp_path / "above").chmod(0o1777)
    permissions.check_trusted(str(program), "the program")
    program.chmod(0o666)
    with pytest.raises(UserError, match=r"program is writable by everyone"):
        permissions.check_trusted(str(program), "the program")


def test_links_in_a_circle_are_a_mistake(tmp_path: Path) -> None:
    """A circular link is refused as if it did not exist."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="too many symbolic links"):
        permissions.check_trusted(str(tmp_path / "a"), "the program")
    with pytest.raises(UserError, match="c: cannot check its permissions: No such file"):
        permissions.check_trusted(str(tmp_path / "c"), "the program")


def test_a_whole_tree_counts(tmp_path: Path) -> None:
    """A single writable file deep in a folder, reached by a link as in a checkout, is found."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "package").symlink_to("../real")
    module = tmp_path / "real" / "deep" / "module.py"
    module.touch()
    permissions.check_tree(str(tmp_path / "src"), "the package")
    module.chmod(0o666)
    with pytest.raises(UserError, match=r"deep/module\.py is writable by everyone; correct that \(`chmod -R go-w "):
        permissions.check_tree(str(tmp_path / "src"), "the package")


def test_a_tree_may_change_meanwhile(tmp_path: Path) -> None:
    """Another Python that compiles modules may rename files in the folder during the check."""
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    names = [package / f"{part}{number}" for part in ("", "deep/") for number in range(200)]
    for name in names:
        name.touch(mode=0o644)
    over = threading.Event()

    def compile_modules() -> None:
        while not over.is_set():
            for name in names:
                temporary = name.with_suffix(".140156737887472")
                temporary.touch(mode=0o644)
                temporary.rename(name)

    compiling = threading.Thread(target=compile_modules)
    compiling.start()
    try:
        for _ in range(10):
            permissions.check_tree(str(package), "the package")
    finally:
        over.set()
        compiling.join()
    names[-1].chmod(0o666)
    with pytest.raises(UserError, match=r"deep/199 is writable by everyone"):
        permissions.check_tree(str(package), "the package")


LISTED = """Access list for /afs/cern.ch/work/y/you/align is
Normal rights:
  system:administrators rlidwka
  {who} {rights}
  you rlidwka
Negative rights:
  system:anyuser rlidwka
"""


@pytest.mark.parametrize(
    ("who", "rights", "refused"),
    [
        ("system:anyuser", "l", ""),
        ("system:anyuser", "rl", ""),
        ("system:authuser", "rliw", "system:authuser the rights rliw"),
        ("system:anyuser", "rlidwk", "system:anyuser the rights rlidwk"),
        ("zp:colleagues", "rlidwk", ""),
    ],
)
def test_on_afs_the_access_list_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, rights: str, refused: str
) -> None:
    """On AFS mode bits are ignored, and the rights of everybody in ``fs listacl`` count."""
    text = LISTED.format(who=who, rights=rights)
    assert permissions.parse_access_list(text)[who] == rights
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "fs").write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
    (tmp_path / "fs").chmod(0o755)
    folder = "/afs/cern.ch/work/y/you/align"
    if not refused:
        permissions.refuse_everybody(folder, permissions.WRITING, "the campaign")
        return
    with pytest.raises(UserError, match=refused) as problem:
        permissions.refuse_everybody(folder, permissions.WRITING, "the campaign")
    assert str(problem.value).endswith(f"remove them: `fs setacl {folder} {who} none`")
