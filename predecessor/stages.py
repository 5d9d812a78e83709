"""Convert the sets of faser-alignment-script to stages: ``workflow.setN`` and ``set.steps`` of its versions."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from faser_align.config.values import DEPTHS, LAYERS, PARTS
from faser_align.predecessor.references import Left, Problem
from faser_align.predecessor.submit_templates import UNKNOWN

_WORDS_HERE = "IFT, 3ST, tracker, local, global, layer, side, modules, a part and a depth such as IFT_local"
_CORRECT = "correct it there"
_KEYS = ("iters", "comment", "reco", "pede", "pedes")


class Step(NamedTuple):
    """A run of pede: its old key, our name for it, and the fixed items in our words."""

    key: str
    name: str
    fix: list[Any]


class Set(NamedTuple):
    """A set: its old key, its keys and values, and its steps.

    ``stations`` is None if the file has one value for all sets; ``keys`` has the keys of name, iterations and stations.
    """

    key: str
    name: str
    iterations: int
    stations: int | None
    steps: list[Step]
    keys: dict[str, str]


def sets_of(old: Mapping[str, Any]) -> tuple[list[Set], list[Problem], list[Left]]:
    """Return the sets that have iterations in order, the problems of the others, and the keys without a counterpart."""
    problems: list[Problem] = []
    sets: list[Set] = []
    described = _described(old, problems)
    numbers = [item for _, set_ in described for item in _numbers(set_)]
    components = isinstance(old.get("set"), Mapping) or any(number > max(LAYERS) for number in numbers)
    unknown: dict[str, Any] = {}
    idle: list[Left] = []
    for key, value in described:
        if isinstance(value, Mapping):
            unknown |= {f"{key}.{name}": inner for name, inner in value.items() if name not in _KEYS}
            if value.get("iters") == 0:
                idle.append(Left(f"{key}.iters", "0", "a set without iterations does not become a stage"))
        parsed = _set(key, value, components, problems)
        if parsed is not None and parsed.iterations:
            sets.append(parsed)
    workflow = old.get("workflow")
    if isinstance(workflow, Mapping):
        unknown |= {f"workflow.{name}": inner for name, inner in workflow.items() if not name.startswith("set")}
    left = [Left(key, json.dumps(value, ensure_ascii=False), UNKNOWN) for key, value in unknown.items()]
    return sets, problems, left + idle


def words_of(old: Mapping[str, Any]) -> set[str]:
    """Return every word that the sets use; parts such as in ``IFT_local`` separately."""
    words: set[str] = set()
    stack: list[Any] = [old.get("workflow"), old.get("set")]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, str):
            words.update(value.split("_"))
    return words


def _described(old: Mapping[str, Any], problems: list[Problem]) -> list[tuple[str, Any]]:
    """Return key and value of each set, in order of execution."""
    described, workflow = old.get("set"), old.get("workflow")
    if isinstance(described, Mapping):  # of the development version
        steps = described.get("steps")
        if isinstance(steps, list) and steps:
            return [(f"set.steps[{number}]", value) for number, value in enumerate(steps)]
        problems.append(Problem("set.steps", "is missing, or not a list of sets", "write one set or more there"))
    elif isinstance(workflow, Mapping):
        names = sorted((name for name in workflow if name.startswith("set")), key=lambda name: (len(name), name))
        return [(f"workflow.{name}", workflow[name]) for name in names]  # set10 after set2
    elif workflow is not None:
        problems.append(Problem("workflow", "is not a table of sets", _CORRECT))
    return []


def _set(key: str, value: Any, components: bool, problems: list[Problem]) -> Set | None:
    if not isinstance(value, Mapping) or not _is_whole(value.get("iters")):
        problems.append(Problem(key, "is not a set with a number of iterations (iters)", _CORRECT))
        return None
    name = value.get("comment") or key.rpartition(".")[2]
    if not isinstance(name, str):
        problems.append(Problem(f"{key}.comment", "is not text", _CORRECT))
        name = key
    stations = value.get("reco")
    if stations not in (None, 3, 4):
        problems.append(Problem(f"{key}.reco", f"= {json.dumps(stations)} is not a number of stations", "write 3 or 4"))
        stations = None
    keys = {"name": f"{key}.comment", "iterations": f"{key}.iters", "stations": f"{key}.reco"}
    return Set(key, name, value["iters"], stations, list(_steps(key, value, components, problems)), keys)


def _steps(key: str, value: Mapping[str, Any], components: bool, problems: list[Problem]) -> list[Step]:
    name = "pedes" if "pedes" in value else "pede"
    pede = value.get(name) or {"step0": []}
    if isinstance(pede, list) and all(isinstance(fixed, list) for fixed in pede):
        steps = [(f"{key}.{name}[{number}]", f"pede{number}", fixed) for number, fixed in enumerate(pede)]
    elif isinstance(pede, Mapping) and all(isinstance(fixed, list) for fixed in pede.values()):
        steps = [(f"{key}.{name}.{step}", step, pede[step]) for step in sorted(pede)]
    else:
        problems.append(Problem(f"{key}.{name}", "is not a table of steps with lists of fixed parameters", _CORRECT))
        return []
    return [
        Step(place, step, [ours for item in fixed for ours in _items(place, item, components, problems)])
        for place, step, fixed in steps
    ]


def _items(place: str, item: Any, components: bool, problems: list[Problem]) -> list[Any]:
    """Return our words for an item to fix; an old layer number may be quoted."""
    if _is_whole(item) or (isinstance(item, str) and item.isdecimal()):
        items, fix = _of_number(int(item), components)
    else:
        items, fix = _of_word(item)
    if fix:
        problems.append(Problem(place, f"fixes {json.dumps(item, ensure_ascii=False)}, which has no meaning here", fix))
    return items


def _of_word(item: Any) -> tuple[list[Any], str]:
    """Return our words for an old word, and the fix if there are none."""
    part, _, depth = item.partition("_") if isinstance(item, str) else ("", "", "")
    if part in DEPTHS and not depth:
        return [item], ""
    if part in (*PARTS, "tracker") and depth in ("", "all", *DEPTHS):
        if depth in DEPTHS:
            return [depth if part == "tracker" else item], ""
        return list(PARTS) if part == "tracker" else [part], ""
    return [], f"write {_WORDS_HERE}, or a number"


def _of_number(number: int, components: bool) -> tuple[list[Any], str]:
    """Return our words for a number: a layer (21) or, in newer versions, a component with a trailing 0 (210)."""
    if not components:
        return ([number], "") if number in LAYERS else ([], f"write a layer: {', '.join(map(str, LAYERS))}")
    component, parameter = divmod(number, 10)
    if parameter == 0 and component in LAYERS:
        return [component], ""
    if parameter == 0 and component in (1, 2, 3, 4):
        return (["IFT"], "") if component == 1 else ([10 * component + layer for layer in (0, 1, 2)], "")
    layer = int(str(component)[:2] or 0)
    if parameter == 0 and layer in LAYERS and len(str(component)) in (3, 4):
        return [], f"write {layer}0, the layer, or fix it with a file of parameters (stages.steps.parameters)"
    return [], "append a 0 to the component: 10 (IFT), 20, 30, 40 (stations), 100 ... 420 (layers)"


def _numbers(value: Any) -> list[int]:
    """Return every number that a set names as an item to fix."""
    pede = value.get("pedes", value.get("pede")) if isinstance(value, Mapping) else None
    lists = pede.values() if isinstance(pede, Mapping) else pede if isinstance(pede, list) else []
    items = [item for fixed in lists if isinstance(fixed, list) for item in fixed]
    return [int(item) for item in items if _is_whole(item) or (isinstance(item, str) and item.isdecimal())]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
