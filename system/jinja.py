"""Load the templates of DAGs, pages and messages."""

from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined

import faser_align.templates

TEMPLATES = Path(faser_align.templates.__file__).parent


def environment(kind: type[Environment] = Environment, loader: BaseLoader | None = None, **options: Any) -> Environment:
    """Return an environment in which a missing value is an error and only HTML is escaped, with further options of jinja2's.

    Its templates are ours unless there is another ``loader``.
    """
    return kind(
        loader=loader or FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
