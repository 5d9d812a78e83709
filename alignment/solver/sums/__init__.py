"""Solve from normal equations that the reconstruction jobs summed, file by file, instead of from the records."""
