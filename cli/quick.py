"""Words stay words: what a command is typed with is taken over without pydantic.

Newer versions of typer have pydantic look at every argument, a plain word too, which costs as much as the rest of a
reading command. Numbers that were typed, and everything of older versions of typer, are left to typer.
"""

import importlib
from typing import Any


class Words:
    """Stands where typer keeps what turns a parameter's words into a value.

    Args:
        kind: the parameter's type.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of ``param``: None and words as they are; what needs more goes the usual way."""
        if value is None or (isinstance(value, list | tuple) and not value):
            return () if param.multiple or param.nargs == -1 else None
        if self._kind is str and isinstance(value, str):
            return value
        if self._kind == list[str] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return list(value)
        if self._kind in (int, float) and type(value) is self._kind:  # its default
            return value
        usual = importlib.import_module("typer._coercion").build_runtime_param(param.type_descriptor)
        return usual.coerce(value, param=param, ctx=ctx)


def words_stay_words(command: Any) -> None:
    """Have a command and those below it put ``Words`` into their parameters, ``--help`` included, when they are asked for."""
    usual = command.get_params

    def get_params(context: Any) -> Any:
        found = usual(context)
        for parameter in found:
            _put(parameter)
        return found

    command.get_params = get_params
    for inner in getattr(command, "commands", {}).values():
        words_stay_words(inner)


def _put(parameter: Any) -> None:
    described = getattr(parameter, "type_descriptor", None)
    about = getattr(described, "parameter_info", None)
    if described is None or getattr(parameter, "_runtime_param", "") is not None:
        return  # done, or another version of typer, which does it another way
    if getattr(about, "parser", None) is None and getattr(about, "click_type", None) is None:
        parameter._runtime_param = Words(described.annotation)
