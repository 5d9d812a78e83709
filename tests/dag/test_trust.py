"""Test that submit refuses programs that others can write, and makes nothing writable by others."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from commandline import faser_align
from plans import TEXT, make_plan, no_store

from faser_align.dag.create import create_campaign
from faser_align.dag.plan import check_programs
from faser_align.fsm.errors import UserError


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o1777])
def test_a_folder_that_others_could_write(workdir: Path, mode: int) -> None:
    """A folder that everybody can write is refused for a campaign; a sticky one, such as /var/tmp, is accepted."""
    workdir.chmod(mode)
    if mode & stat.S_ISVTX:
        make_plan(workdir)
        return
    with pytest.raises(UserError) as refused:
        make_plan(workdir)
    assert str(refused.value) == (
        f"campaign.folder is {workdir}, and {workdir} is writable by everyone, so others could run programs in "
        f"your name; `chmod go-w {workdir}`"
    )


def test_submit_says_it_in_one_sentence(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gives exit status 2 and one sentence, and writes nothing."""
    make_plan(workdir)
    (workdir / "faser-align.toml").write_text(TEXT)
    monkeypatch.chdir(workdir)
    workdir.chmod(0o777)
    before = sorted(os.listdir(workdir))
    done = faser_align("submit", "-y", "2023", "-r", "11705", "-f", "400", "--dry-run")
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert "others could run programs in your name" in done.err
    assert sorted(os.listdir(workdir)) == before


def test_an_interpreter_that_others_could_write(workdir: Path) -> None:
    """An interpreter, and each folder on its resolved path, must be owned by the user or the administrator."""
    hook = make_plan(workdir).record["hook"]
    (workdir / "open").mkdir()
    (workdir / "open" / "python").touch(mode=0o755)
    (workdir / "python").symlink_to("open/python")
    check_programs(str(workdir / "python"), hook)
    (workdir / "open").chmod(0o777)
    with pytest.raises(UserError, match=f"the Python interpreter is {workdir}/python, and {workdir}/open is writable"):
        check_programs(str(workdir / "python"), hook)
    interpreter = f'[python]\njobs = "{workdir}/python"\n'
    with pytest.raises(UserError, match=f"python.jobs is {workdir}/python, and {workdir}/open is writable"):
        make_plan(workdir, interpreter)


def test_a_program_that_others_could_write(workdir: Path) -> None:
    """Every file of faser-align itself is checked at any depth; a copy owned by root is accepted."""
    record = make_plan(workdir).record
    package = workdir / "faser_align"
    # Files that a Python compiles meanwhile come and go.
    source, ignored = Path(record["hook"]).parents[1] / "state", shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, package / "state", symlinks=False, ignore=ignored)
    (package / "hooks").mkdir()
    hook = str(package / "hooks" / "run.py")
    check_programs(record["python"], hook)
    module = package / "state" / "writer.py"
    module.chmod(0o666)
    with pytest.raises(
        UserError, match=rf"faser-align's own folder is {package}, and {module} is writable by everyone"
    ):
        check_programs(record["python"], hook)


def test_a_campaign_is_closed_to_others_whatever_the_mask(workdir: Path) -> None:
    """With a umask of 0 only the user can write the campaign's folders, and the umask is restored."""
    mask = os.umask(0)
    try:
        create_campaign(make_plan(workdir), no_store)
        assert os.umask(0) == 0
    finally:
        os.umask(mask)
    modes = {path: path.stat().st_mode & 0o022 for path in [workdir / "camp", *(workdir / "camp").rglob("*")]}
    assert {path for path, mode in modes.items() if mode} == set()
