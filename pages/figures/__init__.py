"""Figures that show how good constants are: data, drawing and files. matplotlib is imported inside functions only."""
