"""Define states, events and the transition table, and decide on events and iterations. Pure: no I/O."""
