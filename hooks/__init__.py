"""Implement the PRE, POST, HOLD and FINAL scripts that DAGMan runs."""
