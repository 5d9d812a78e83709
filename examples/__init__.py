"""Data only: real FASER constants that the demonstration takes for the truth."""
