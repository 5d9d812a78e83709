"""Write pede's steering, run it, and read its results and logs."""
