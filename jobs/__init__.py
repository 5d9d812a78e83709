"""Run on execute nodes: reconstruct, convert, solve, validate and probe."""
