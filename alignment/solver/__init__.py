"""Solve with numpy: a drop-in for pede."""
