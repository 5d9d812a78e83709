"""Define the commands, one module per group: names, options and help."""
