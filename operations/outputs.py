"""Check a command's output files before the work begins."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faser_align.fsm.errors import UserError
from faser_align.system import atomic


@contextmanager
def writing(output: str | Path) -> Iterator[None]:
    """Turn errors while writing, such as a full disk or a wrong folder, into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{output}: cannot write: {error.strerror}; check the folder, its permissions and its free space"
        ) from error


STANDARD_OUTPUT = "-"  # what -o names, for text


def refuse_standard_output(output: str | Path) -> None:
    """Raise UserError if ``output`` is standard output."""
    if str(output) == STANDARD_OUTPUT:
        raise UserError(f"-o {output}: this command does not write to standard output; name another output")


def refuse_to_overwrite(output: str | Path, force: bool) -> None:
    """Raise UserError if ``output`` exists already, is no file, or cannot be written."""
    refuse_standard_output(output)
    folder = os.path.dirname(os.path.abspath(output))
    if os.path.isdir(output):
        raise UserError(f"{output} is a folder; name a file in it")
    if os.path.exists(output) and not os.path.isfile(output):
        raise UserError(f"{output} is a device or a pipe, which a file would replace; name a file")
    if os.path.lexists(output) and not force:
        raise UserError(f"{output} already exists; choose another name, or overwrite it with --force")
    if not os.path.isdir(folder):
        raise UserError(f"the folder of {output} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{output}: cannot write: you may not write to {folder}; name another file with -o")


def write(output: str | Path, text: str, *, force: bool) -> None:
    """Write a text to a file atomically; raise UserError if that is not possible, or it exists and ``force`` is false."""
    refuse_to_overwrite(output, force)
    with writing(output):
        atomic.write_text(output, text)
