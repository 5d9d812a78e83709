"""Writing files so that a reader sees the old content or the whole new one: ``config.atomic``, by its older name."""

from faser_align.config.atomic import replacing, write_text

__all__ = ["replacing", "write_text"]
