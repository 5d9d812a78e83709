"""Provide a working folder: configuration, targets received here, and commands."""

import contextlib
import json
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import forking
import htcondor2
from nowhere import no_dagman, until
from receivers import Mattermost, notify, text_of
from stored import seen

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import joblogs, queries

EXAMPLES = Path(__file__).parents[2] / "examples"
IFT_LOCAL_TOML = """
[[stages]]
name = "IFT local"
[[stages.steps]]
name = "IFT fix layer"
fix = ["layer", "3ST"]
"""
# With misplaced modules; braces are for ``Desk.configure``.
MISPLACED = f'{IFT_LOCAL_TOML}[campaign]\nconstants = "{{examples}}/ift_misplaced.txt"\n'
NOTIFY = """
[notify]
targets = ["me"]
file = "targets.toml"
events = ["end"]
"""
END_S = 600  # time limit of a test's campaign on a busy machine


def simulation(tracks: int) -> str:
    """Return the configuration of a simulated campaign with misplaced modules."""
    return f'{MISPLACED}[simulation]\ntruth = "{{examples}}/align_2025.txt"\ntracks = {tracks}\n'


SIMULATION = simulation(400)
COMMAND = [sys.executable, "-m", "faser_align.cli"]


class Desk:
    """Commands about the campaign ``name`` in ``folder``; messages go to ``mailbox`` and ``channel``."""

    def __init__(self, folder: Path, name: str, mailbox: Mailbox, channel: Mattermost | None = None) -> None:
        self.folder, self.name, self.mailbox, self.channel = folder, name, mailbox, channel
        self.campaign = folder / name
        notify(folder, mailbox, group=channel.url() if channel else "")

    def configure(self, text: str, file: str = "faser-align.toml", **values: object) -> None:
        """Write a configuration; it may use ``examples`` and other given names."""
        (self.folder / file).write_text(text.format(examples=EXAMPLES, **values))

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command; return its standard output if it ended as expected."""
        done = forking.run(list(words), folder=self.folder, timeout_s=END_S + 60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def wait(self, name: str, status: int = 0) -> None:
        """Wait until a campaign has ended according to ``status``."""
        self.run("wait", name, "--timeout", str(END_S), status=status)

    def read(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def history(self) -> list[dict[str, Any]]:
        return seen(self.campaign, queries.history)

    def events(self) -> list[str]:
        """Return the campaign's own transitions, in order."""
        return [row["event"] for row in self.history() if row["subject"] == "campaign" and not row["ignored"]]

    def dagman(self, cluster: int) -> Any:
        """Return the schedd's history of a DAGMan job that has left the queue."""

        def ads() -> Any:
            with contextlib.suppress(htcondor2.HTCondorException):  # it is busy
                return htcondor2.Schedd().history(f"ClusterId == {cluster}", ["ExitCode", "ExitBySignal"], 1)

        return until(ads)[0]

    def jobs(self) -> set[str]:
        """Return the nodes whose job was submitted, from HTCondor's own log."""
        log = (self.campaign / layout.JOB_LOG).read_text()
        return {event.node for event in joblogs.job_events(log.splitlines(), (joblogs.SUBMITTED,))}

    def letters(self, subject: str) -> str:
        """Wait for mails with ``subject`` in their subjects and return their texts; the message of an end may arrive after `status` shows the end."""

        def found() -> list[EmailMessage]:
            return [one for one in self.mailbox.messages() if subject in one["Subject"]]

        return "\n".join(map(text_of, until(found)))

    def kinds(self) -> list[str]:
        """Return the subject of each mail, once no script is left to send more."""
        until(no_dagman)
        return [str(letter["Subject"]).split()[2] for letter in self.mailbox.messages()]


def cluster_of(said: str) -> int:
    """Return the job id printed by submit or resume."""
    return int(said.partition("as job ")[2].partition(";")[0].partition(".")[0])
