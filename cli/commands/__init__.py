"""The commands, one module for each group: their words, options and help."""
