"""Write an event to the state database: load the rows that it concerns, decide in ``fsm.reduce``, save the changes."""
