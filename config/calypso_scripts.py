"""Read names and options from the text of Calypso's job options and faser-alignment-script's shell scripts."""

import re

_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_DATABASE = re.compile(r"schema=(?:\./)?([\w.+-]+);dbname=")
_POOL = re.compile(r"""["']([\w.+-]*\.pool\.root)["']""")
_GEOMETRY = re.compile(r"""\.FaserVersion\s*=\s*["']([\w.+-]+)["']""")
_TAG = re.compile(r"""\.GlobalTag\s*=\s*["']([\w.+-]+)["']""")
_OPTION = re.compile(r"add_argument\(([^)]*)")
_NAME = re.compile(r"""["'](-[\w-]+)["']""")


def read(path: str) -> str:
    """Return the text of a script without its comments; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _COMMENT.sub("", file.read())
    except (OSError, ValueError):  # a null byte in a path raises ValueError
        return ""


def names_written(text: str) -> dict[str, str]:
    """Return the names that `WriteAlignmentConfig_*.py` writes, by our keys, without those that its text does not give.

    The keys are ``written`` (the database), ``pool`` (the POOL file), ``geometry`` and ``tag``.
    """
    patterns = {"written": _DATABASE, "pool": _POOL, "geometry": _GEOMETRY, "tag": _TAG}
    found = {key: pattern.search(text) for key, pattern in patterns.items()}
    return {key: match[1] for key, match in found.items() if match}


def options_known(text: str) -> frozenset[str]:
    """Return the options that a script declares with `argparse`; empty if it declares none."""
    return frozenset(name for declared in _OPTION.findall(text) for name in _NAME.findall(declared))
