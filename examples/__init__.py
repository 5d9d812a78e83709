"""Hold the FASER constants that the demonstration uses as truth (data files only)."""
