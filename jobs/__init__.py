"""The programs that run on execute nodes."""
