"""Writing files so that a reader sees the old content or the whole new one, never half of it: the one place for it.

Content goes to a temporary name in the same folder and onto the disk before it gets its own name. Standard library only,
because hooks and jobs load this.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

Name = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(path: Name, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Args:
        path: what is to be written.
        mode: permissions of the file, less the umask.
    """
    with temporary(path) as name:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file


@contextlib.contextmanager
def temporary(path: Name) -> Iterator[str]:
    """A name beside ``path``, for a writer that wants names; what is there when the block ends well becomes ``path``."""
    name = _beside(path)
    try:
        yield name
        sync(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: Name, text: str, *, mode: int = 0o666) -> None:
    """Write a text file at once, in the place of one that may be there."""
    with replacing(path, mode=mode) as file:
        file.write(text.encode())


def write_new(path: Name, text: str) -> None:
    """Write a text file at once where there is none.

    Raises:
        FileExistsError: there is one, even if it appeared just now.
    """
    name = _beside(path)
    try:
        with open(name, "xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            raise
        except OSError:  # EOS and some others know no links
            if os.path.lexists(path):
                raise FileExistsError(f"{path} exists already") from None
            os.rename(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """Let nobody else write what is made in the block, whatever the user's umask: a campaign's files run programs in their name."""
    mask = os.umask(0o022)
    os.umask(mask | 0o022)
    try:
        yield
    finally:
        os.umask(mask)


def sync(path: Name) -> None:
    """Bring a file, or a folder's names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Name) -> str:
    """A name that nobody else uses, on no other machine either."""
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
