"""The campaign's machine, made from the table with the library ``transitions``.

The hooks of reconstruction nodes ask the table itself, which costs nothing to import; whatever moves
a campaign as a whole, and the diagram, goes through this machine. A test holds the two together.
"""

from typing import Any

from transitions import Machine, MachineError

from faser_align.fsm import table


class CampaignMachine:
    """A campaign's state, moved by the events of the table and by nothing else.

    Callbacks of the library are not used: an exception in one of them leaves the new state in place.
    What a transition brings about is done by the caller, in the transaction that records it.
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
        """Take ``event``; return the new state, or None (and stay) where the table does not allow it."""
        trigger: Any = getattr(self, event, None)
        if trigger is None or event not in self._machine.events:
            return None
        try:
            trigger()
        except MachineError:
            return None
        return self.state

    def allowed(self) -> list[str]:
        """Events that the present state allows, in the table's order."""
        return [event for event in self._machine.events if self._machine.get_transitions(event, source=self.state)]


def campaign_after(state: str, event: str) -> str | None:
    """State of a campaign after ``event``, asked of the machine (see ``table.campaign_after``)."""
    return CampaignMachine(state).send(event)
