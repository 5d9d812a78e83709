"""Generate the tables of ``docs/from-faser-alignment-script.md`` from the import rules."""

from faser_align.predecessor.rules import FIRST, NEWEST, No, Rule, Script, Template, To

_ORDER = dict.fromkeys(
    (
        *("raw", "workflow", "set", "dag", "data", "tpl", "src", "env", "discarded"),
        *("paths", "htcondor", "alignment", "storage"),
    )
)
_WORKFLOW: dict[str, Rule] = {
    "workflow.setN.comment": To(("stages[N].name",)),
    "workflow.setN.iters": To(("stages[N].iterations",)),
    "workflow.setN.pede.stepK": To(("stages[N].steps[K].fix",), note="the table below explains each word"),
    "set.steps[N].comment": To(("stages[N].name",)),
    "set.steps[N].iters": To(("stages[N].iterations",)),
    "set.steps[N].reco": To(("stages[N].stations",), note="3 or 4, of this set's tracks"),
    "set.steps[N].pedes[K]": To(("stages[N].steps[K].fix",), note="the table below explains each word"),
}
# A fix word of theirs, what it fixes, and our word for it.
WORDS = (
    ("`IFT`", "all parameters of the IFT", '`"IFT"`'),
    ("`3ST`", "all parameters of the other three stations", '`"3ST"`'),
    ("`layer`, `layers`, `global`", "the parameters of all layers: x, y, rx, ry, rz", 'the same word; `"layer"`'),
    (
        "`side`, `modules`, `local`",
        "the parameters of all modules: x of each side, rz of each module",
        'the same word; `"module"`',
    ),
    ("`IFT_local`, `3ST_global`, ...", "the intersection of a part and a depth", "the same word"),
    ("`tracker_local`, ...", "the same as `local`, ...", '`"local"`, ...'),
    ("`IFT_all`, ...", "the same as `IFT`, ...", '`"IFT"`, ...'),
    ("`21` (`workflow`)", "layer 1 of station 1 with its modules: the first digit is the station + 1", "`21`"),
    ("`210` (`set.steps`)", "the same: newer versions append a 0 to a component", "`21`"),
    ("`10` (`set.steps`)", "the IFT", '`"IFT"`'),
    ("`20`, `30`, `40` (`set.steps`)", "a station with its layers and modules", "its three layers: `20, 21, 22`"),
    (
        "`2130`, `21310` (`set.steps`)",
        "a module, a side",
        "refused, naming the layer; a file of parameters can fix it",
    ),
)


def key_tables() -> str:
    """Return what becomes of each key, by generation, and of each word."""
    lines = []
    for title, rules in (("The newest generation", NEWEST), ("That of its README", FIRST)):
        lines += [f"### {title}", "", "| there | here |", "|---|---|"]
        if rules is NEWEST:
            rules = {**rules, **_WORKFLOW}
        for key, rule in sorted(rules.items(), key=lambda item: list(_ORDER).index(item[0].partition(".")[0])):
            lines.append(f"| `{key}` | {_here(rule)} |")
        lines.append("")
    lines += ["### Fixed parameters of a step", "", "| there | fixed parameters | here |", "|---|---|---|"]
    lines += [f"| {there} | {what} | {here} |" for there, what, here in WORDS]
    return "\n".join([*lines, ""])


def _here(rule: Rule) -> str:
    if isinstance(rule, No):
        return rule.why
    if isinstance(rule, Template):
        return (
            f"`htcondor.{rule.kind}.*`: its lines are imported if the file exists "
            "(JobFlavour or MaxRuntime, request_cpus, request_memory, request_disk, requirements, AccountingGroup); the others are listed"
        )
    if isinstance(rule, Script):
        return f"{', '.join(f'`{key}`' for key in rule.keys)}: {rule.why}"
    keys: dict[str, list[str]] = {}
    for to in (rule,) if isinstance(rule, To) else rule:
        keys.setdefault(to.note, []).extend(f"`{key}`" for key in to.keys)
    return "; ".join(", ".join(names) + (f" ({note})" if note else "") for note, names in keys.items())


if __name__ == "__main__":
    import sys

    sys.stdout.write(key_tables())
