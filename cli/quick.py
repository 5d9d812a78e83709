"""Convert text arguments without pydantic, for a faster start.

Newer versions of typer pass every argument to pydantic, even plain text, which takes as long as the rest of a reading
command. Numbers, and everything in older versions of typer, are left to typer.
"""

import importlib
from pathlib import Path
from typing import Any

# Values in the help by their type; flags have none.
_VALUES = {str: "TEXT", list[str]: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}


class Words:
    """Replacement for typer's converter of a parameter of a type."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of ``param``: None and text unchanged, anything else converted by typer."""
        if value is None or (isinstance(value, list | tuple) and not value):
            return () if param.multiple or param.nargs == -1 else None
        if self._kind is str and isinstance(value, str):
            return value
        if self._kind == list[str] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return list(value)
        if self._kind in (int, float) and type(value) is self._kind:  # the default
            return value
        usual = importlib.import_module("typer._coercion").build_runtime_param(param.type_descriptor)
        return usual.coerce(value, param=param, ctx=ctx)


def words_stay_words(command: Any) -> None:
    """Replace the converters of a command's parameters, and of its subcommands and ``--help`` when they are loaded."""
    usual = command.get_params

    def get_params(context: Any) -> Any:
        found = usual(context)
        for parameter in found:
            _prepare(parameter)
        return found

    command.get_params = get_params
    for inner in getattr(command, "commands", {}).values():
        words_stay_words(inner)


def _prepare(parameter: Any) -> None:
    """Name values and arguments in the help plainly, without types of Python; convert text here."""
    described = getattr(parameter, "type_descriptor", None)
    if described is None:
        return  # a version of typer that works differently
    if parameter.param_type_name == "option" and parameter.metavar is None:
        parameter.metavar = _VALUES.get(described.annotation)
    if parameter.param_type_name == "argument":
        _name_plainly(parameter)
    about = getattr(described, "parameter_info", None)
    own = getattr(about, "parser", None) is not None or getattr(about, "click_type", None) is not None
    if getattr(parameter, "_runtime_param", "") is None and not own:
        parameter._runtime_param = Words(described.annotation)


def _name_plainly(argument: Any) -> None:
    """Show an argument as ``NAME``, ``NAME...`` or ``[NAME]``: newer versions of typer add braces and types of Python."""
    name = argument.metavar = argument.metavar or argument.name.upper() + "..." * (argument.nargs != 1)
    in_usage = name if argument.required or name.startswith("[") else f"[{name}]"
    argument._usage_display_name = lambda: in_usage
    argument._rich_display_name = lambda: name
    argument.display_type_rich = lambda ctx: None
