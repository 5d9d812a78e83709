"""Write files atomically: a reader sees the old content or the complete new one.

Content is written to a temporary name in the same folder and synced before it is renamed. Standard library only,
because scripts and jobs import this module.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

Name = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(path: Name, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` when the block succeeds, and is removed when it fails; ``mode`` is before the umask."""
    with temporary(path) as name:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file


@contextlib.contextmanager
def temporary(path: Name) -> Iterator[str]:
    """Return a temporary name beside ``path``; its file replaces ``path`` when the block succeeds.

    An OSError about the temporary name is about ``path``.
    """
    name = _beside(path)
    try:
        yield name
        sync(name)
        os.replace(name, path)
    except OSError as error:
        if error.filename == name:
            error.filename = os.fspath(path)
            del error.filename2  # of os.replace
        raise
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: Name, text: str, *, mode: int = 0o666) -> None:
    """Write a text file atomically, replacing an existing one."""
    write_bytes(path, text.encode(), mode=mode)


def write_bytes(path: Name, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file atomically, replacing an existing one."""
    with replacing(path, mode=mode) as file:
        file.write(content)


def write_new(path: Name, text: str) -> None:
    """Write a text file atomically if there is none.

    Raises:
        FileExistsError: the file exists, even if it was created just now.
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
        except OSError:  # EOS and some other file systems do not support links
            if os.path.lexists(path):
                raise FileExistsError(f"{path} exists already") from None
            os.rename(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def closed_to_others() -> Iterator[None]:
    """Remove others' write permission from everything made in the block.

    A campaign's files run programs as the user, so this must not depend on their umask.
    """
    mask = os.umask(0o022)
    os.umask(mask | 0o022)
    try:
        yield
    finally:
        os.umask(mask)


def sync(path: Name) -> None:
    """Sync a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Name) -> str:
    """Return a name that no other process uses, on any machine."""
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
