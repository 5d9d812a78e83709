"""Prepare standard streams: open, able to write any character, and not required to complete a command."""

import io
import os
import sys
from typing import Any

# Commands that only show something end when nobody reads their output; others continue, in these groups by `carry_on`.
SHOWING = (
    *("list", "status", "watch", "wait", "history", "metrics", "report", "diagram"),
    *("why", "analyze", "compare", "replay", "export", "check", "verify", "recipes", "constants"),
)


def name_files_in_utf8() -> None:
    """Restart Python in UTF-8 mode if the environment gives file names another encoding; return if it does not.

    In another encoding, the path of a campaign may have letters that Python cannot pass to the system. Output keeps the
    encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    environment = {"PYTHONIOENCODING": sys.stdout.encoding} if sys.stdout else {}
    environment |= os.environ | {"PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def prepare() -> None:
    """Open streams that the caller closed on /dev/null, and escape characters that an encoding lacks.

    Otherwise the next opened file would get the descriptor of a closed stream, and receive the output.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Unread(io.FileIO):
    """Standard output that discards text after its reader has left."""

    left = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self.left = True
            return len(data)


def carry_on() -> None:
    """Make standard output accept text after its reader has left (``submit ... | head``)."""
    before = sys.stdout
    if not isinstance(before, io.TextIOWrapper) or before is not sys.__stdout__:
        return
    before.flush()
    buffered = io.BufferedWriter(_Unread(before.fileno(), "w", closefd=False))
    sys.stdout = io.TextIOWrapper(
        buffered, before.encoding, before.errors, line_buffering=before.line_buffering, write_through=True
    )


def reader_left() -> bool:
    """Return whether the reader of standard output left before the end of a command that continued."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Unread) and raw.left


def able(text: str, stream: Any = None) -> str:
    """Return ``text`` with lines and curves drawn in ASCII if a stream, standard output by default, cannot encode them."""
    try:
        text.encode((stream or sys.stdout).encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


_DRAWN = {
    "─": "-",
    "━": "=",
    "│": "|",
    "✓": "+",
    "✗": "x",
    "▸": ">",
    "µ": "u",
    "χ": "chi",
    "²": "2",
    "Δ": "delta ",
    "σ": "sigma",
    "±": "+-",
    "→": "->",
}
_BRAILLE = dict.fromkeys(map(chr, range(0x2801, 0x2900)), ".") | {"\u2800": " "}  # of which curves are made
_ASCII = str.maketrans(_DRAWN | _BRAILLE)
