"""States, events, the transition table, the machine and the verdicts. Pure: no I/O."""
