"""Define the errors of the project, by origin: the user, a job, the state database.

One place, ``faser_align.cli.main``, turns them into a sentence and an exit status.
"""


class CampaignError(Exception):
    """Anything that the program itself reports, in one sentence for each thing that is wrong."""

    exit_status = 1

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = list(sentences)

    def __reduce__(self) -> tuple[object, ...]:
        """Let another process raise it: by default pickle calls a subclass with the sentence alone."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class UserError(CampaignError):
    """The user's mistake: the sentence says what is wrong and what to do about it."""

    exit_status = 2


class NodeError(CampaignError):
    """A job cannot do its work; ``exit_status`` is one of ``faser_align.fsm.exit_codes``."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StoreError(CampaignError):
    """The campaign's state database, manifest or event queue cannot be read or written."""
