"""Data only: the DAG, submit descriptions and messages."""
