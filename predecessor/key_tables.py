"""Generate the tables of ``docs/from-faser-alignment-script.md`` from the import rules."""

from faser_align.predecessor.rules import FIRST, FIRST_TABLES, NEWEST, WORDS, WORKFLOW, No, Rule, Template

_ORDER = ("raw", "workflow", "set", "dag", "data", "tpl", "src", "env", "discarded", *FIRST_TABLES)


def key_tables() -> str:
    """Return what becomes of each key, by generation, and of each word."""
    lines = []
    for title, rules in (("The newest generation", {**NEWEST, **WORKFLOW}), ("That of its README", FIRST)):
        lines += [f"### {title}", "", "| there | here |", "|---|---|"]
        for key, rule in sorted(rules.items(), key=lambda item: _ORDER.index(item[0].partition(".")[0])):
            lines.append(f"| `{key}` | {_here(rule)} |")
        lines.append("")
    lines += ["### Fixed parameters of a step", "", "| there | fixed parameters | here |", "|---|---|---|"]
    lines += [f"| {there} | {what} | {here} |" for there, what, here in WORDS]
    return "\n".join([*lines, ""])


def _here(rule: Rule) -> str:
    if isinstance(rule, No):
        return f"{', '.join(f'`{key}`' for key in rule.read)}: {rule.why}" if rule.read else rule.why
    if isinstance(rule, Template):
        return (
            f"`htcondor.{rule.kind}.*`: its lines are imported if the file exists "
            "(JobFlavour or MaxRuntime, request_cpus, request_memory, request_disk, requirements, AccountingGroup); the others are listed"
        )
    keys: dict[str, list[str]] = {}
    for to in rule:
        keys.setdefault(to.note, []).extend(f"`{key}`" for key in to.keys)
    return "; ".join(", ".join(names) + (f" ({note})" if note else "") for note, names in keys.items())
