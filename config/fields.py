"""Define the parts of the configuration file's tables: types of values, keys and tables."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

WORD = r"^[\w.+-]*$"
# No control characters, which would end a line or a name in TOML, DAG files or submit descriptions.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
# Texts that ``config.load`` makes absolute: a path, a format string of paths, and a program that may be a path.
PATH, PATTERN, PROGRAM = "path", "pattern", "program"
Place = Annotated[Line, PATH]
Word = Annotated[str, StringConstraints(pattern=WORD)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def key(default: Any, description: str, allowed: str = "") -> Any:
    """Return a field: default, meaning with unit, and the allowed values if the type does not define them."""
    return Field(default, description=description, json_schema_extra={"allowed": allowed} if allowed else None)


class Table(BaseModel):
    """Base of all tables: unknown keys and wrong types are errors; values are immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
