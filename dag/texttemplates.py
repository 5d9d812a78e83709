"""The templates of text that is made from a campaign's record: the DAG, and the job wrapper."""

import os
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import faser_align.templates


def environment(**options: Any) -> Environment:
    """Templates in which nothing is escaped and a value that is missing is an error.

    Args:
        options: further ones of :class:`jinja2.Environment`.
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
