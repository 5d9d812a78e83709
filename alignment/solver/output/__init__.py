"""Write the built-in solver's files besides its result, in pede's formats."""
