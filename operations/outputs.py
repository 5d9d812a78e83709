"""Files that a command writes where its user says: looked at before the work begins, so that it is not done in vain."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faser_align.fsm.errors import UserError


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Tell what cannot be written as the user's mistake, which a full disk or a wrong folder is."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror}; check the folder, its permissions and space"
        ) from error


def refuse_to_overwrite(output: Path, force: bool) -> None:
    """Raise UserError if there is something at ``output`` already, or if nothing can be written there."""
    folder = os.path.dirname(os.path.abspath(output))
    if os.path.isdir(output):
        raise UserError(f"{output} is a folder; name a file in it")
    if os.path.lexists(output) and not force:
        raise UserError(f"{output} exists already; give another name, or --force to overwrite it")
    if not os.path.isdir(folder):
        raise UserError(f"the folder of {output} does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{output} cannot be written: {folder} is not a folder of yours; name another file with -o")
