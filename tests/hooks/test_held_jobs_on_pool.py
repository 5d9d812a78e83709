"""Test held jobs on a real pool, counted by a mail server and a webhook on loopback."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from poolcampaigns import PoolCampaign
from properties import SOAK
from receivers import Mattermost, mattermost, notify, text_of, words_of
from stored import seen

from faser_align.campaign import layout
from faser_align.notifiers.mailbox import Mailbox
from faser_align.pool.personal import Pool
from faser_align.state import queries

SCRIPTS = 25  # for HOLD scripts, which DAGMan runs one at a time
CAUSE = "quota of /eos/faser exceeded"


class World(NamedTuple):
    """A campaign whose jobs stay idle, and the receivers of its messages."""

    campaign: PoolCampaign
    mailbox: Mailbox
    chat: Mattermost

    def hold(self, constraint: str = "") -> None:
        """Hold the campaign's jobs with one condor_hold."""
        chosen = f'FaserCampaign == "{self.campaign.name}" && JobUniverse == 5{constraint}'
        words = ["condor_hold", "-reason", CAUSE, "-constraint", chosen]
        subprocess.run(words, check=True, capture_output=True)

    def scripts(self) -> int:
        """Return how many HOLD scripts have ended."""
        try:
            return len(re.findall("Type=HOLD", (self.campaign.folder / layout.SCRIPTS_LOG).read_text()))
        except FileNotFoundError:
            return 0

    def subjects(self) -> list[str]:
        """Return the subjects of the mails, without their common part."""
        return [str(letter["Subject"]).partition(self.campaign.name)[2].strip() for letter in self.mailbox.messages()]


@contextmanager
def world(folder: Path, files: int) -> Iterator[World]:
    """Submit a campaign with this many files, and wait until all its jobs are idle."""
    with Mailbox(folder / "mail") as mailbox, mattermost() as chat:
        table = notify(folder, mailbox, "held", "end", group=chat.url(), targets=["me", "group"])
        campaign = PoolCampaign(
            folder / f"held{files}",
            files=files,
            iterations=1,
            config={"notify": table, "htcondor": {"retries": 0, "reco": {"requirements": "false"}}},
        )
        campaign.submit()
        campaign.wait(lambda: len(campaign.jobs(status=1)) == files)
        yield World(campaign, mailbox, chat)


def held(campaign: PoolCampaign) -> list[str]:
    """Return the held nodes in `status`."""
    said = campaign.command("status", "--json")
    return [row["node"] for row in json.loads(said.stdout)["held"]]


@pytest.mark.parametrize("files", [9, 200] if SOAK else [30])
def test_one_cause_is_one_message(pool: Pool, workdir: Path, files: int) -> None:
    """Jobs held by one condor_hold are one mail and one post with their number, and `status` shows all of them."""
    with world(workdir, files) as w:
        w.hold()
        w.campaign.wait(lambda: w.mailbox.messages() and w.chat.posts)
        assert len(held(w.campaign)) == files
        w.campaign.wait(lambda: w.scripts() >= min(files, SCRIPTS))
        assert w.subjects() == [f"has {files} held jobs in iteration 1 of 1"]
        (post,) = w.chat.posts
        for words in (text_of(w.mailbox.messages()[0]), words_of(post)):
            assert f"HTCondor put {files} jobs of the campaign on hold" in words
            assert words.count(CAUSE) == 1
        assert w.campaign.command("stop", "--yes").returncode == 0
        assert w.campaign.wait_end() == "removed"
        assert w.subjects()[1:] == ["removed in iteration 1 of 1"]
        assert len(w.chat.posts) == 2
        assert w.campaign.unsound() == []
        outbox = seen(w.campaign.folder, queries.outbox)
        rows = [(row["node"], row["state"]) for row in outbox if row["kind"] == "held"]
        nodes = [layout.reco_node(1, 1, file) for file in w.campaign.record["files"]]
        assert sorted(rows) == sorted((node, "sent") for node in nodes * 2)
