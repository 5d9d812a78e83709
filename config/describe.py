"""Describe the configuration's models: every key with its default and allowed values.

Error messages and the page ``docs/configuration.md`` are generated from this.
"""

import inspect
import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from faser_align.config.fields import WORD
from faser_align.config.schema import Config

A_LIST, SOME = "a list of ", "one value or more, each "


class Key(NamedTuple):
    """One key of the file: its dotted name, allowed values, default as TOML, and meaning."""

    name: str
    allowed: str
    default: str
    description: str


class Heading(NamedTuple):
    """One table of the file: its dotted name, its purpose, and whether it can occur several times."""

    name: str
    about: str
    repeated: bool


def tables() -> Iterator[tuple[Heading, list[Key]]]:
    """Yield every table of the file with its keys, in the order of the schema."""
    yield from _walk(Config, "", repeated=False)


def allowed_values() -> dict[str, str]:
    """Return the allowed values of every key, by dotted name (lists of tables without an index)."""
    return {key.name: key.allowed for _, keys in tables() for key in keys}


def names() -> list[str]:
    """Return the dotted names of all keys and tables."""
    return [name for heading, keys in tables() for name in (heading.name, *(key.name for key in keys))]


def configuration_page() -> str:
    """Return the text of ``docs/configuration.md``."""
    lines = [
        "# Configuration",
        "",
        "One TOML file, `faser-align.toml` unless `--config` names another; `faser-align init` writes one with comments.",
        "A key that is left out has the default given here. A key that is not listed is an error.",
        "Relative paths start at the folder of the file; `~` is the home folder, and `{examples}` the folder of the examples that come with faser-align.",
        "",
        "This page is generated from `config/schema.py`; `make refresh` rewrites it.",
    ]
    for heading, keys in tables():
        bracket = f"[[{heading.name}]]" if heading.repeated else f"[{heading.name}]"
        lines += ["", f"## `{bracket}`", "", heading.about]
        if keys:
            lines += ["", "| key | default | allowed | meaning |", "|---|---|---|---|"]
        for key in keys:
            cells = (f"`{key.name.rpartition('.')[2]}`", f"`{key.default}`", key.allowed, key.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _walk(model: type[BaseModel], name: str, *, repeated: bool) -> Iterator[tuple[Heading, list[Key]]]:
    keys, inner = [], []
    for field_name, field in model.model_fields.items():
        dotted = f"{name}.{field_name}" if name else field_name
        child, is_list = _table_of(field)
        if child is None:
            default = json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)
            keys.append(Key(dotted, allowed_of(field), default, field.description or ""))
        else:
            inner.append((child, dotted, is_list))
    if name:
        yield Heading(name, inspect.cleandoc(model.__doc__ or ""), repeated), keys
    for child, dotted, is_list in inner:
        yield from _walk(child, dotted, repeated=is_list)


def _table_of(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a field that is a table or a list of tables, and whether it is a list."""
    kind = field.annotation
    is_list = get_origin(kind) is list
    if is_list:
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, is_list
    return None, False


def allowed_of(field: FieldInfo) -> str:
    """Return the allowed values of a field in words."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(extra.get("allowed"), str):
        return str(extra["allowed"])
    return _in_words(field.annotation, field.metadata)


def _in_words(kind: Any, metadata: list[Any]) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return _either([json.dumps(value) for value in get_args(kind)])
    if origin is list:
        inner = FieldInfo.from_annotation(get_args(kind)[0])
        least = next((m.min_length for m in metadata if isinstance(m, MinLen)), 0)
        each = _in_words(inner.annotation, inner.metadata)
        return f"{A_LIST}{SOME}{each}" if least else f"{A_LIST}{each}"
    if origin in (Union, types.UnionType):
        return _either([_in_words(arg, []) for arg in get_args(kind)])
    if kind is bool:
        return "true or false"
    if kind is str:
        return _text(metadata)
    return ("a whole number" if kind is int else "a number") + _range(metadata)


def _text(metadata: list[Any]) -> str:
    words = (
        "text of letters, digits and _ . + -" if any(getattr(m, "pattern", "") == WORD for m in metadata) else "text"
    )
    return f"{words}, not empty" if any(getattr(m, "min_length", None) for m in metadata) else words


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _range(metadata: list[Any]) -> str:
    shown = {Ge: "at least {0.ge}", Gt: "above {0.gt}", Le: "at most {0.le}", Lt: "below {0.lt}"}
    words = [shown[type(limit)].format(limit) for limit in metadata if type(limit) in shown]
    return f" {' and '.join(words)}" if words else ""


_TYPES = '''"""Types of the configuration in ``campaign.json``.

``make refresh`` makes it from ``config/schema.py``, which says what each table is. A campaign of an older version may lack newer keys.
"""

from typing import Any, Literal, TypedDict
'''


def stored_types() -> str:
    """Return the text of ``config/stored_types.py``, for jobs and scripts: pydantic takes longer to import than they run."""
    return _TYPES + "".join(_classes(Config, set()))


def _classes(model: type[BaseModel], seen: set[str]) -> Iterator[str]:
    """Yield the type of a table after those of the tables in it."""
    seen.add(model.__name__)
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            if inner.__name__ not in seen:
                yield from _classes(inner, seen)
    keys = "".join(f"    {name}: {_typed(field.annotation)}\n" for name, field in model.model_fields.items())
    yield f"\n\nclass {model.__name__}(TypedDict):\n{keys}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _typed(annotation: Any) -> str:
    """Return the type of a value after ``model_dump(mode="json")``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(json.dumps(value) for value in inner)}]"
    if origin in (Union, types.UnionType):
        return " | ".join(sorted(set(map(_typed, inner))))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_typed, inner))}]"
    return "Any" if annotation is Any else annotation.__name__
