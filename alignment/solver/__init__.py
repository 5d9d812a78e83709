"""The built-in solver, a drop-in for pede."""
