"""What the site does with pages that are written to be read on GitHub, too (a hook of mkdocs, see ``mkdocs.yml``)."""

import re
from typing import Any

# Pages of the repository that are not in docs/; there a site has no place for them.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
_DIAGRAM = re.compile(r"```mermaid\nstateDiagram.*?\[\*\] --> (\w+)\n.*?```", re.DOTALL)
_PICTURES = {"created": "campaign", "waiting": "node"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show a diagram as the picture that `make refresh` has drawn, since drawing it in the browser asks another server."""
    markdown = _OUTSIDE.sub(r"\1", markdown)
    return _DIAGRAM.sub(lambda found: _picture(_PICTURES[found[1]]), markdown)


def _picture(name: str) -> str:
    return f"[![The states of a {name}, and the events between them](images/{name}.svg)](images/{name}.svg)"
