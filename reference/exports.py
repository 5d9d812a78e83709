"""List the tables and formats of ``export``; the command line needs the names at start-up."""

EXPORT_FORMATS = ("json", "csv")
EXPORTED = ("history", "iterations", "nodes")  # tables
