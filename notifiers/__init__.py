"""Compose messages and deliver them."""

LATE = "target {!r} timed out: its server did not answer in time"  # scripts say it without loading a library
