"""What ``export`` can write; the command line needs the words at start-up."""

EXPORT_FORMATS = ("json", "csv")
EXPORTED = ("history", "iterations", "nodes")  # tables
