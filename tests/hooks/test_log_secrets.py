"""Test that messages hide secrets of the user's targets in a job's output."""

from pathlib import Path

from campaigns import hook, make_campaign

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox

TOKEN = "yobjmukpaw3r3urc5h6i369yima"


def test_a_log_with_a_token_is_told_without_it(tmp_path: Path) -> None:
    """The end of a failed job's log, and the reason taken from it, hide a token."""
    with Mailbox(tmp_path / "mail") as mailbox:
        targets = tmp_path / "targets.toml"
        targets.write_text(
            f'[targets]\nme = "{mailbox.url("me@example.org")}"\ngroup = "mmost://127.0.0.1:1/{TOKEN}"\n'
        )
        targets.chmod(0o600)
        notify = {"targets": ["me"], "events": ["end"], "file": str(targets)}
        record = make_campaign(tmp_path / "campaign", files=1, config={"notify": notify})
        folder, node = record["folder"], layout.reco_node(1, 1, 400)
        Path(layout.job_log(folder, node, "err")).write_text(f"curl https://chat/{TOKEN}\nthe token was {TOKEN}\n")
        hook("pre", folder, node, 0, 2)
        hook("post", folder, node, 0, 2, exit_codes.RAW_MISSING, "13.0", 0)
        hook("final", folder, "final", 2, 1)
        (letter,) = mailbox.messages()
    for part in ("plain", "html"):
        body = letter.get_body((part,))
        assert body is not None
        text = body.get_content()
        assert TOKEN not in text
        assert "curl https://chat/***" in text
        assert "the token was ***" in text
