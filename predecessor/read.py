"""Read configurations written by people, as JSON or as the YAML of the development version of faser-alignment-script.

Errors have line, column and fix; in JSON the intended text can be guessed.
"""

import json
import re
from typing import Any, NamedTuple, NoReturn

from faser_align.fsm.errors import UserError

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_QUOTED = re.compile(r"'([^'\\\n]*)'")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]\w*")
_SPACE = re.compile(r"[ \t\r\n\ufeff]+")
_COMMENT = re.compile(r"//[^\n]*|\#[^\n]*|/\*.*?\*/", re.DOTALL)
_FOREIGN = {"True": True, "False": False, "None": None}
_WORDS = {"true": True, "false": False, "null": None} | _FOREIGN
_SHOWN = 30


class Fault(NamedTuple):
    """A place that is not JSON, what is wrong there, and the fix; both are parts of a sentence."""

    line: int
    column: int
    what: str
    cure: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.what}; {self.cure}"


def read_json(text: str, path: str, *, lenient: bool) -> tuple[dict[str, Any], list[Fault]]:
    """Read a JSON object.

    Args:
        text: content of the file.
        path: its name, for messages.
        lenient: accept likely typing errors: a missing or extra comma, comments, single quotes, Python's True, False
            and None, and duplicate keys (the last one counts).

    Returns:
        The object, and the faults that were tolerated (none unless ``lenient``).

    Raises:
        UserError: the text is not JSON or not an object; with line, column and the likely fix.
    """
    reader = _Reader(text, path)
    try:
        value = reader.whole()
    except RecursionError:
        raise UserError(f"{path} is not a configuration: its braces are nested too deeply; name another file") from None
    if reader.faults and not lenient:
        more = f" ({len(reader.faults) - 1} more after it)" if len(reader.faults) > 1 else ""
        raise UserError(f"{path} is not JSON: {reader.faults[0]}{more}, or read what was meant with --lenient")
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a configuration: it must be an object {{...}}; name another file")
    return value, reader.faults


def read_yaml(text: str, path: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Numbers with a leading 0 or a colon stay text: YAML 1.1 would read ``011705`` as octal and ``40:50`` as minutes.

    Raises UserError if the text is not YAML, with line and column, or not a mapping.
    """
    import yaml  # imported here, because no other command needs it

    loader_class: Any = type("Loader", (yaml.SafeLoader,), {})

    def whole(loader: Any, node: Any) -> Any:
        digits = str(node.value)
        is_text = ":" in digits or (digits.lstrip("+-")[:1] == "0" and digits != "0")
        return digits if is_text else loader.construct_yaml_int(node)

    def mapping(loader: Any, node: Any) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key, _ in reversed(node.value) if keys.count(key.value) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {twice.value!r}", twice.start_mark)
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    loader_class.add_constructor("tag:yaml.org,2002:int", whole)
    loader_class.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        plain = json.loads(json.dumps(yaml.load(text, loader_class), default=str))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path} is not YAML: {where}{error.problem or error.context}; correct it there") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not usable YAML: {reason}; correct it there") from None
    if plain is None:
        raise UserError(f"{path} is empty; name the configuration of faser-alignment-script")
    if not isinstance(plain, dict):
        raise UserError(f"{path} is not a configuration: it must be a mapping of keys; name another file")
    return plain


class _Reader:
    """A parser of the text; ``faults`` are those tolerated so far."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path, self.at = text, path, 0
        self.faults: list[Fault] = []

    def whole(self) -> Any:
        """Return the value that is the whole text."""
        self._space()
        if self.at == len(self.text):
            raise UserError(f"{self.path} is empty; name the configuration of faser-alignment-script")
        value = self._value()
        self._space()
        if self.at < len(self.text):
            self._stop("text after the last brace", "remove that text, or an extra brace")
        return value

    def _value(self) -> Any:
        self._space()
        start = self.text[self.at : self.at + 1]
        if start == "{":
            return self._object()
        if start == "[":
            return self._list()
        if start in ('"', "'"):
            return self._string()
        number = _NUMBER.match(self.text, self.at)
        if number and not self.text[number.end() : number.end() + 1].isalnum():
            if not re.match(r"-?0\d", number[0]):
                self.at = number.end()
                return json.loads(number[0])
            self._fault(f"{number[0]} begins with 0", f'write "{number[0]}"')
            self.at = number.end()
            return number[0]
        return self._word()

    def _word(self) -> Any:
        word = _WORD.match(self.text, self.at)
        if word is None:
            self._stop(f"expected a value, found {self._here()}", "insert the value")
        if word[0] in _FOREIGN:
            self._fault(f"{word[0]} is Python", f"write {json.dumps(_FOREIGN[word[0]])}")
        elif word[0] not in _WORDS:
            self._stop(f"{self._here()} is not a value", "put text into double quotes")
        self.at = word.end()
        return _WORDS[word[0]]

    def _object(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        opened = self.at
        self.at += 1
        while self._goes_on("}", opened, first=not members):
            at = self.at
            if self.text[at] not in "\"'":
                self._stop(f"expected a key, found {self._here()}", 'put keys into double quotes: "key"')
            name = self._string()
            self._space()
            if self.text[self.at : self.at + 1] != ":":
                self._stop(f'a colon is missing after the key "{name}"', "insert it")
            self.at += 1
            if name in members:
                self._fault(f'duplicate key "{name}"', "remove one of the two", at)
            members[name] = self._value()
        return members

    def _list(self) -> list[Any]:
        items: list[Any] = []
        opened = self.at
        self.at += 1
        while self._goes_on("]", opened, first=not items):
            items.append(self._value())
        return items

    def _goes_on(self, closing: str, opened: int, *, first: bool) -> bool:
        """Skip the comma before the next member; return False after the closing bracket."""
        end = self.at
        self._space()
        comma = self.text[self.at : self.at + 1] == ","
        if comma:
            at = self.at
            self.at += 1
            self._space()
            if first or self.text[self.at : self.at + 1] in (closing, ","):
                self._fault("extra comma", "remove it", at)
        if self.at == len(self.text):
            line, _ = self._place(opened)
            self._stop(
                f"the file ends before the {self.text[opened]} of line {line} is closed",
                f"insert {closing}, or copy the file again if it is incomplete",
            )
        if self.text[self.at] == closing:
            self.at += 1
            return False
        if not comma and not first:
            self._missing_comma(end)
        return True

    def _missing_comma(self, end: int) -> None:
        if self.text[self.at] in "}]":
            self._stop(f"{self._here()} does not match the last open bracket", "correct the bracket")
        (before, _), (line, _) = self._place(end), self._place(self.at)
        where = f"after line {before}" if before < line else f"before {self._here()}"
        self._fault(
            f"a comma is missing {where}", f"insert it at the end of line {before}" if before < line else "insert it"
        )

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match:
            self.at = match.end()
            try:
                return str(json.loads(match[0]))
            except ValueError:
                self.at = match.start()
                self._stop(f"{self._here()} is not a valid escape in JSON", "write \\\\ for a backslash")
        single = _QUOTED.match(self.text, self.at)
        if single is None:
            self._stop("a string does not end in its line", "close it with a double quote")
        self._fault(f"{self._here()} is in single quotes", "write double quotes")
        self.at = single.end()
        return single[1]

    def _space(self) -> None:
        while True:
            space = _SPACE.match(self.text, self.at)
            if space:
                self.at = space.end()
            comment = _COMMENT.match(self.text, self.at)
            if comment is None:
                return
            self._fault("JSON has no comments", "remove it")
            self.at = comment.end()

    def _here(self) -> str:
        rest = self.text[self.at : self.at + _SHOWN].partition("\n")[0].rstrip()
        quoted = _STRING.match(rest) or _QUOTED.match(rest)
        return (quoted[0] if quoted else rest) or "the end of the file"

    def _place(self, at: int) -> tuple[int, int]:
        return self.text.count("\n", 0, at) + 1, at - (self.text.rfind("\n", 0, at) + 1) + 1

    def _fault(self, what: str, cure: str, at: int | None = None) -> None:
        self.faults.append(Fault(*self._place(self.at if at is None else at), what, cure))

    def _stop(self, what: str, cure: str) -> NoReturn:
        raise UserError(f"{self.path} is not JSON: {Fault(*self._place(self.at), what, cure)}")
