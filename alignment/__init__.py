"""Align: labels, constants, fix rules, Mille conversion, pede's formats and the built-in solver."""
