"""Read a YAML configuration, as the development version of faser-alignment-script writes it."""

import json
from typing import Any

from faser_align.fsm.errors import UserError


def read_yaml(text: str, path: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Numbers with a leading 0 or a colon stay text: YAML 1.1 would read ``011705`` as octal and ``40:50`` as minutes.

    Raises:
        UserError: the text is not YAML, with line and column, or not a mapping.
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
        value = yaml.load(text, loader_class)
        plain = json.loads(json.dumps(value, default=str))
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
