"""Build the campaign's state machine from the table with the library ``transitions``.

Scripts of reconstruction nodes use the table itself, which costs nothing to import; whatever moves a campaign as a whole
goes through this machine. A test checks that both are equal.
"""

from functools import cache

from transitions import Machine, MachineError

from faser_align.fsm import table


@cache
def campaign_after(state: str, event: str) -> str | None:
    """Return a campaign's state after ``event`` according to the machine (see ``table.campaign_after``).

    Callbacks of the library are not used, because an exception in one of them leaves the new state in place.
    """
    machine = Machine(
        states=list(table.STATES),
        transitions=[[event, source, destination] for source, event, destination in table.CAMPAIGN],
        initial=state,
        auto_transitions=False,
    )
    if event not in machine.events:
        return None
    try:
        machine.trigger(event)
    except MachineError:
        return None
    return str(machine.state)
