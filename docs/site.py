"""Adapt pages that are also read on GitHub to the site (a hook of mkdocs, see ``mkdocs.yml``)."""

import re
from typing import Any

# Pages of the repository that are not in docs/ and so not on the site.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show links out of ``docs/`` as text."""
    return _OUTSIDE.sub(r"\1", markdown)
