"""Compute the metrics of an iteration, and what they say about the constants."""
