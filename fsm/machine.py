"""Build the campaign's state machine from the table with the library ``transitions``.

Scripts of reconstruction nodes use the table itself, which costs nothing to import; whatever moves a campaign as a whole
goes through this machine. A test checks that both are equal.
"""

from functools import cache

from transitions import Machine

from faser_align.fsm import table


@cache
def _machine() -> Machine:
    """Return the machine without a model: the state is in the database, and callbacks of the library are not used."""
    transitions = [[event, source, destination] for source, event, destination in table.CAMPAIGN]
    return Machine(None, list(table.STATES), table.INITIAL, transitions, auto_transitions=False)


def campaign_after(state: str, event: str) -> str | None:
    """Return a campaign's state after ``event`` according to the machine (see ``table.campaign_after``)."""
    return next((str(found.dest) for found in _machine().get_transitions(event, state)), None)
