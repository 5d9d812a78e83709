"""The files and texts of pede: steering texts, results, logs, and running the program itself."""
