"""How an event is written to the state database: load the rows that it concerns, decide in ``fsm.reduce``, save the changes."""
