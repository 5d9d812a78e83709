"""List the versions of the programs that solved an iteration, for reproducibility."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import faser_align
from faser_align.alignment.pede.results import LOG
from faser_align.alignment.pede.runner import VERSION

HEAD_BYTES = 400
PACKAGES = ("numpy", "uproot")


def versions(folder: Path) -> dict[str, str]:
    """Return versions by name: faser-align, Python and its packages, and pede if its log is in ``folder``."""
    by_name = {"faser-align": faser_align.__version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        with open(folder / LOG, "rb") as log:
            match = VERSION.search(log.read(HEAD_BYTES).decode(errors="replace"))
    except OSError:
        match = None
    return by_name | ({"pede": match[0]} if match else {})
