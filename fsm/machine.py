"""Build the campaign's state machine from the table with the library ``transitions``.

Scripts of reconstruction nodes use the table itself, which costs nothing to import; whatever moves a campaign as a whole
goes through this machine. A test checks that both are equal.
"""

from functools import cache
from typing import Any

from transitions import Machine, MachineError

from faser_align.fsm import table


class CampaignMachine:
    """A campaign's state, moved by the events of the table and by nothing else.

    Callbacks of the library are not used, because an exception in one of them leaves the new state in place.
    """

    state: str

    def __init__(self, state: str = table.INITIAL) -> None:
        self._machine = Machine(
            model=self,
            states=list(table.STATES),
            transitions=[[event, source, destination] for source, event, destination in table.CAMPAIGN],
            initial=state,
            auto_transitions=False,
            send_event=False,
        )

    def send(self, event: str) -> str | None:
        """Apply ``event``; return the new state, or None if the table does not allow it."""
        trigger: Any = getattr(self, event, None)
        if trigger is None or event not in self._machine.events:
            return None
        try:
            trigger()
        except MachineError:
            return None
        return self.state


@cache
def campaign_after(state: str, event: str) -> str | None:
    """Return a campaign's state after ``event`` according to the machine (see ``table.campaign_after``)."""
    return CampaignMachine(state).send(event)
