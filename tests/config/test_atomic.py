"""Test that a reader sees the old content or the complete new one, whatever happens to the writer."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from faser_align.system import atomic

# Writes a file, with each of its writing system calls in turn as the last one.
KILLED = """
import os, signal, sys
from faser_align.system import atomic
path, last = sys.argv[1], int(sys.argv[2])
seen = 0
def counted(call):
    def counting(*words, **more):
        global seen
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
        return call(*words, **more)
    return counting
for name in ("open", "fsync", "replace", "close"):
    setattr(os, name, counted(getattr(os, name)))
atomic.write_text(path, "new" * 100_000)
"""


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    """A writer that is killed leaves the complete old file, or after its last step the complete new one."""
    path = tmp_path / "file"
    seen = []
    for last in range(8):
        path.write_text("old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(last)], check=False, timeout=300)
        assert done.returncode in (0, -signal.SIGKILL)
        seen.append(path.read_text())
        assert seen[-1] in ("old", "new" * 100_000)
        if done.returncode == 0:
            break
    assert seen[0] == "old"
    assert done.returncode == 0
    assert seen[-1] == "new" * 100_000


def test_readers_see_one_content_or_the_other(tmp_path: Path) -> None:
    """While two writers replace a file repeatedly, every reader sees one of their complete texts."""
    path, texts = tmp_path / "file", ("a" * 50_000, "b" * 70_000)
    atomic.write_text(path, texts[0])
    writers = [
        threading.Thread(target=lambda t=text: [atomic.write_text(path, t) for _ in range(20)]) for text in texts
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["file"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """If the block fails, the old file stays and no temporary file is left."""
    path = tmp_path / "file"
    path.write_text("old")
    for writing in (atomic.replacing, atomic.temporary):
        with pytest.raises(ZeroDivisionError), writing(path):
            raise ZeroDivisionError
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])


def test_errors_name_the_file(tmp_path: Path) -> None:
    """An error of writing names the file, not the temporary one beside it."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "file", tmp_path / "folder"):
        with pytest.raises(OSError, match=f": '{path}'$") as failed:
            atomic.write_text(path, "")
        assert failed.value.filename == str(path)


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """write_new keeps an existing file or broken link."""
    path, link = tmp_path / "file", tmp_path / "link"
    atomic.write_new(path, "first")
    link.symlink_to("nowhere")
    for there in (path, link):
        with pytest.raises(FileExistsError):
            atomic.write_new(there, "second")
    assert (path.read_text(), sorted(os.listdir(tmp_path))) == ("first", ["file", "link"])


def test_permissions_are_asked_for(tmp_path: Path) -> None:
    """A file has the umask's permissions, or on request is readable by its owner only."""
    for mode in (0o666, 0o600):
        atomic.write_text(tmp_path / "file", "", mode=mode)
        mask = os.umask(0o022)
        os.umask(mask)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode & ~mask
