"""The files that the built-in solver writes beside its result, in pede's formats."""
