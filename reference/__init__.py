"""Tables from which the documentation is generated."""
