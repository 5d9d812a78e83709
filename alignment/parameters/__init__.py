"""Define what is aligned: parameter labels, constants and their arithmetic, fix rules."""
