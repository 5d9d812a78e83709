"""Load the templates that render a manifest to text: the DAG, and the job wrapper."""

import os
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import faser_align.templates


def environment(**options: Any) -> Environment:
    """Return an environment without escaping, in which a missing value is an error.

    Args:
        options: further options of :class:`jinja2.Environment`.
    """
    return Environment(
        loader=FileSystemLoader(os.path.dirname(faser_align.templates.__file__)),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
