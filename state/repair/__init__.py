"""Rebuild a state database from the redo log, the snapshot, DAGMan's logs and metrics files (``faser-align repair``)."""
