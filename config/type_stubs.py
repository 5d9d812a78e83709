"""The text of ``config/stored_types.py``: the types of the configuration as ``campaign.json`` stores it.

Jobs and scripts read the configuration without pydantic, which takes longer to import than they run.
"""

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from faser_align.config.schema import Config

HEAD = '''"""Types of the configuration in ``campaign.json``.

``make refresh`` makes it from ``config/schema.py``, which says what each table is. A campaign of an older version may lack newer keys.
"""

from typing import Any, Literal, TypedDict
'''


def module() -> str:
    """Return the text of the module."""
    return HEAD + "".join(_classes(Config, set()))


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
