"""Test that documentation, comments, docstrings, messages and templates use no retired phrase."""

import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("retired_phrases.toml")
DATA = tomllib.loads(LIST.read_text(encoding="utf-8"))
TEXT = (".md", ".j2", ".toml", ".sh", ".sql", ".yml")
LITERALS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that people read: comments and literals of Python, else the whole file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        names = re.compile(r"\w+\.\w+" if path.suffix == ".j2" else "(?!)")
        yield from ((number, names.sub("", line)) for number, line in enumerate(text.splitlines(), 1))
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_key = re.fullmatch(r"\w?([\"'])\w+\1", token.string)
        if token.type in LITERALS and not is_key:
            yield from enumerate(re.sub(r"\{[^{}]*\}", "", token.string).splitlines(), token.start[0])


def files() -> Iterator[Path]:
    """Yield the files of the checkout that are written by hand or made from it."""
    for path in sorted(ROOT.iterdir()):
        if path.is_dir() and path.name not in ("build", "src") and not path.name.startswith("."):
            yield from sorted(path.rglob("*"))
        yield path


def retired() -> Iterator[tuple[str, int, str, str]]:
    """Yield file, line, phrase and equivalent of each retired phrase of the checkout."""
    patterns = [
        (re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE), instead) for phrase, instead in DATA["retired"].items()
    ]
    any_of = re.compile(rf"\b(?:{'|'.join(DATA['retired'])})\b", re.IGNORECASE)
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".py", *TEXT) and path.is_file() and path != LIST and not name.startswith("tests/data/"):
            for number, line in filter(lambda numbered: any_of.search(numbered[1]), lines_of(path)):
                for pattern, instead in patterns:
                    yield from ((name, number, found[0], instead) for found in pattern.finditer(line))


def test_no_retired_phrase_is_used() -> None:
    """Each retired phrase is gone, except where the list allows it for a file and says why."""
    allowed = [(one["file"], re.compile(one["phrase"], re.IGNORECASE)) for one in DATA["allowed"]]
    assert [
        f"{name}:{number}: {phrase!r}: write {instead}"
        for name, number, phrase, instead in retired()
        if not any(name.startswith(file) and pattern.fullmatch(phrase) for file, pattern in allowed)
    ] == []
