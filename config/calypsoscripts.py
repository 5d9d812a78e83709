"""What Calypso's job options and faser-alignment-script's shell scripts say of themselves, read as text."""

import re

_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_DATABASE = re.compile(r"schema=(?:\./)?([\w.+-]+);dbname=")
_POOL = re.compile(r"""["']([\w.+-]*\.pool\.root)["']""")
_OPTION = re.compile(r"add_argument\(([^)]*)")
_NAME = re.compile(r"""["'](-[\w-]+)["']""")


def read(path: str) -> str:
    """Return the text of a script without its comments; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _COMMENT.sub("", file.read())
    except (OSError, ValueError):  # a null byte in a path is a ValueError
        return ""


def database_written(text: str) -> str:
    """Return the name of the database that `WriteAlignmentConfig_*.py` writes; empty if its text does not say."""
    found = _DATABASE.search(text)
    return found[1] if found else ""


def pool_written(text: str) -> str:
    """Return the name of the POOL file that `WriteAlignmentConfig_*.py` writes; empty if its text does not say."""
    found = _POOL.search(text)
    return found[1] if found else ""


def options_known(text: str) -> frozenset[str]:
    """Return the options that a script declares with `argparse`; empty if it declares none."""
    return frozenset(name for declared in _OPTION.findall(text) for name in _NAME.findall(declared))
