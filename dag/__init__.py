"""Rendering and submission of a campaign's DAG."""
