"""Test deliveries to real receivers on loopback, and the reasons for refusals."""

import logging
import smtplib
import time
from pathlib import Path
from typing import Any

import pytest
from receivers import Mattermost, words_of
from sending import deliver

from faser_align.notifiers.mailbox import Mailbox
from faser_align.notifiers.message import Message, compose
from faser_align.notifiers.send import ask
from faser_align.notifiers.targets import Target
from faser_align.system.bounded import Worker

THREAD = "Y2023_R011705_F400-450"
PASSWORD = "s3cr3t-Pa55"
SOON_S = 20.0  # seconds for a time limit of 0.5 s, on a busy machine; the servers would never answer


@pytest.fixture
def message(facts: dict[str, Any]) -> Message:
    """Return the message of a converged campaign with a non-ASCII name."""
    return compose(facts | {"reason": "Überprüft von Łukasz"})


def _deliver(url: str, message: Message, key: str = f"{THREAD}/17") -> str | None:
    return deliver(Target("me", url), message, key=key, thread=THREAD)


def _ask(url: str, message: Message, wait_s: float) -> str:
    with Worker() as worker:
        return ask(worker, Target("me", url), message, key=f"{THREAD}/17", thread=THREAD, wait_s=wait_s).words


def test_mail_arrives_once_with_both_parts(smtp_server: Mailbox, message: Message) -> None:
    """A mail has our text and our HTML as alternatives, sender, recipients, subject and key."""
    people = "from=align@example.org&to=a@example.org,b@example.org&cc=c@example.org"
    assert _deliver(f"mailto://127.0.0.1:{smtp_server.port}?{people}", message) is None
    (letter,) = smtp_server.messages()
    assert letter["From"] == "faser-align <align@example.org>"
    assert letter["To"] == "a@example.org, b@example.org"
    assert letter["Cc"] == "c@example.org"
    assert letter.get_all("Delivered-To") == ["a@example.org", "b@example.org", "c@example.org"]
    assert letter["Return-Path"] == "<align@example.org>"
    # Python 3.11 keeps the space of a folded line when it parses.
    assert letter["Subject"] == message.subject
    assert letter["X-Faser-Align-Key"] == f"{THREAD}/17"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter.get_content_type() == "multipart/alternative"
    text, html = letter.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert text.get_content().replace("\r\n", "\n") == message.text
    assert html.get_content_type() == "text/html"
    assert html.get_content().replace("\r\n", "\n") == message.html
    assert max(map(len, smtp_server.files()[0].read_bytes().splitlines())) <= 998


def test_letters_of_a_campaign_are_one_thread(smtp_server: Mailbox, message: Message) -> None:
    """All mails refer to the campaign's thread; a repeated mail has the same Message-ID, another one does not."""
    url = smtp_server.url("me@example.org")
    for key in ("C/1", "C/2", "C/2"):
        assert _deliver(url, message, key) is None
    assert deliver(Target("me", url), message, key="C/1", thread="another") is None
    one, two, again, other = smtp_server.messages()
    assert one["References"] == two["References"] == one["In-Reply-To"] != other["References"]
    assert one["Message-ID"] != two["Message-ID"] == again["Message-ID"]
    assert other["Message-ID"] != one["Message-ID"]


def test_headers_of_the_address_are_kept(smtp_server: Mailbox, message: Message) -> None:
    """Headers requested in the address are in the mail; ours cannot be replaced."""
    headers = "&+X-List=align&+X-Faser-Align-Key=other&name=Alignment&reply=r@example.org"
    assert _deliver(smtp_server.url("me@example.org") + headers, message) is None
    (letter,) = smtp_server.messages()
    assert letter["X-List"] == "align"
    assert letter.get_all("X-Faser-Align-Key") == [f"{THREAD}/17"]
    assert letter["Reply-To"] == "r@example.org"
    assert letter["From"].addresses[0].display_name == "Alignment"


def test_refused_recipient(smtp_server: Mailbox, message: Message) -> None:
    """A refused recipient is named with the server's answer, also if another one was accepted."""
    said = _deliver(smtp_server.url("nobody@example.org"), message)
    assert said == "target 'me': the mail server refused nobody@example.org: 550 5.1.1 no such user here"
    assert smtp_server.messages() == []
    assert _deliver(smtp_server.url("nobody@example.org,me@example.org"), message) == said
    assert len(smtp_server.messages()) == 1


def test_a_goodbye_that_fails_loses_no_letter(
    smtp_server: Mailbox, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail that was accepted before the server disconnects counts as delivered and is not sent again."""
    put = smtplib.SMTP.putcmd

    def hung_up(server: smtplib.SMTP, command: str, words: str = "") -> None:
        if command == "QUIT":
            raise ConnectionResetError
        put(server, command, words)

    monkeypatch.setattr(smtplib.SMTP, "putcmd", hung_up)
    reached: list[str] = []
    target = Target("me", smtp_server.url("me@example.org"))
    assert deliver(target, message, key="C/1", thread=THREAD, reached=reached) is None
    assert reached == ["me@example.org"]
    assert len(smtp_server.messages()) == 1


def test_no_other_log_hears_of_an_address(
    mattermost_server: Mattermost, message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal of any other service is reported, and its token does not reach other logs, whatever their level."""
    caplog.set_level(logging.DEBUG)
    said = _deliver(f"json://127.0.0.1:{mattermost_server.port}/{PASSWORD}", message)
    assert "403" in str(said)
    assert PASSWORD not in f"{said}{caplog.text}"


def test_refused_recipients_are_counted(tmp_path: Path, message: Message) -> None:
    """Of several refused recipients one is named and the others are counted."""
    with Mailbox(tmp_path / "mail", refused={"a@example.org", "b@example.org", "c@example.org"}) as mailbox:
        for recipients, more in (("a", ""), ("a,b", " and 1 more"), ("a,b,c", " and 2 more")):
            to = ",".join(f"{name}@example.org" for name in recipients.split(","))
            assert f"@example.org{more}: 550" in str(_deliver(mailbox.url(to), message))
        assert mailbox.messages() == []


def test_no_recipient_is_written_to_twice(tmp_path: Path, message: Message) -> None:
    """After a partial refusal, the next attempt sends the mail to the refused recipient only."""
    reached: list[str] = []
    for refused in ({"nobody@example.org"}, set[str]()):
        with Mailbox(tmp_path / "mail", refused=refused) as mailbox:
            target = Target("me", mailbox.url("nobody@example.org,me@example.org"))
            said = deliver(target, message, key="C/1", thread=THREAD, reached=reached)
            assert bool(said) == bool(refused)
    letters = mailbox.messages()
    assert [letter.get_all("Delivered-To") for letter in letters] == [["me@example.org"], ["nobody@example.org"]]
    assert len({str(letter["Message-ID"]) for letter in letters}) == 1


def test_a_recipient_that_apprise_drops_is_named(smtp_server: Mailbox, message: Message) -> None:
    """A mail reaches the valid recipients of an address; the others are named, and count as refused."""
    said = _deliver(smtp_server.url("a@example.org;b@example.org"), message)
    assert "no mail goes to b@example.org: write recipients as" in str(said)
    (letter,) = smtp_server.messages()
    assert letter.get_all("Delivered-To") == ["a@example.org"]
    assert _deliver(smtp_server.url("a@example.org,b@example.org,a@example.org"), message) is None
    assert smtp_server.messages()[1].get_all("Delivered-To") == ["a@example.org", "b@example.org"]


def test_login_where_there_is_none(smtp_server: Mailbox, message: Message) -> None:
    """A server without login gets no password, and the reason does not contain it."""
    url = f"mailto://anna:{PASSWORD}@127.0.0.1:{smtp_server.port}?from=a@example.org&to=b@example.org"
    said = str(_deliver(url, message))
    assert "AUTH" in said
    assert PASSWORD not in said


def test_mattermost_gets_markdown(mattermost_server: Any, message: Message) -> None:
    """The webhook gets the whole Markdown in one post, under our name and without an external picture."""
    assert _deliver(mattermost_server.url(), message) is None
    (post,) = mattermost_server.posts
    assert set(post) == {"text", "username", "attachments"}
    assert post["username"] == "faser-align"
    assert words_of(post) == message.markdown.strip()


def test_mattermost_is_told_name_channels_and_picture_of_the_address(mattermost_server: Any, message: Message) -> None:
    """A post goes to each channel of the address, with its name and picture."""
    icon = "https://align.example.org/i.png"
    url = mattermost_server.url().replace("://", "://shift@")
    assert _deliver(f"{url}/?channels=a,b&icon_url={icon}", message) is None
    posts = [(post["channel"], post["username"], post["icon_url"]) for post in mattermost_server.posts]
    assert posts == [("a", "shift", icon), ("b", "shift", icon)]


def test_no_channel_is_told_twice(mattermost_server: Any, message: Message) -> None:
    """A refused channel does not affect others; the next attempt is for channels without the message."""
    target = Target("group", f"{mattermost_server.url()}/?channels=a,gone,b,gone")
    mattermost_server.closed = {"gone"}
    reached: list[str] = []
    said = deliver(target, message, key="C/1", thread=THREAD, reached=reached)
    why = "the Mattermost server answered 404 Not Found: Couldn't find the channel."
    assert said == f"target 'group': channel gone: {why}"
    assert reached == ["a", "b"]
    mattermost_server.closed = set()
    assert deliver(target, message, key="C/1", thread=THREAD, reached=reached) is None
    assert [post["channel"] for post in mattermost_server.posts] == ["a", "b", "gone"]
    assert deliver(target, message, key="C/1", thread=THREAD, reached=reached) is None
    assert mattermost_server.received() == 3


def test_a_bot_of_mattermost_gets_markdown(message: Message, silent_port: int) -> None:
    """A bot account is served by apprise, and nothing goes to a webhook."""
    said = _deliver(f"mmost://127.0.0.1:{silent_port}/{PASSWORD}?mode=bot&to=a&cto=0.3&rto=0.3", message)
    assert "timed out" in str(said)
    assert PASSWORD not in str(said)


def test_mattermost_refuses_the_token(mattermost_server: Any, message: Message) -> None:
    """A wrong token is reported with the server's status and without the token."""
    said = str(_deliver(mattermost_server.url("wr0ngt0kenwr0ngt0ken"), message))
    assert "403" in said
    assert "wr0ngt0ken" not in said
    assert mattermost_server.posts == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mailto://anna:{password}@127.0.0.1:{port}?from=a@example.org&to=b@example.org", "Connection refused"),
        ("mmost://127.0.0.1:{port}/{password}", "Connection refused"),
        ("json://anna:{password}@127.0.0.1:{port}/hook/{password}", "Connection refused"),
        ("nonsense://{password}", "apprise cannot use its address"),
    ],
)
def test_server_is_down(
    url: str, reason: str, closed_port: int, message: Message, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unreachable server or unusable address is reported in one sentence; nothing is raised, logged or printed."""
    said = str(_deliver(url.format(port=closed_port, password=PASSWORD), message))
    assert reason in said
    assert PASSWORD not in said
    assert "\n" not in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "url",
    [
        "mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org",
        "mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org&pgp=sign",
        "mmost://127.0.0.1:{port}/token123/?channels=a,b,c,d&rto=30",
        "json://127.0.0.1:{port}/?rto=30",
    ],
    ids=["mail", "encrypted mail", "mattermost", "other"],
)
def test_a_silent_server_is_given_up(url: str, silent_port: int, message: Message) -> None:
    """Whichever library waits for a silent server, the delivery ends at its time limit and reports a timeout."""
    started = time.monotonic()
    said = _ask(url.format(port=silent_port), message, 0.5)
    assert said == "target 'me' timed out: its server did not answer in time"
    assert time.monotonic() - started < SOON_S


def test_a_killable_delivery_answers_as_any(smtp_server: Mailbox, message: Message, closed_port: int) -> None:
    """The process that sends returns the server's answer, and a refusal without the password."""
    assert _ask(smtp_server.url("me@example.org"), message, 120.0).startswith("250")
    assert len(smtp_server.messages()) == 1
    said = _ask(f"mmost://127.0.0.1:{closed_port}/{PASSWORD}", message, 120.0)
    assert "Connection refused" in said
    assert PASSWORD not in said


def test_another_service_answers_with_its_status(mattermost_server: Mattermost, message: Message) -> None:
    """A service of apprise's that is neither mail nor Mattermost answers with the status of its server."""
    mattermost_server.page = True
    assert _ask(f"json://127.0.0.1:{mattermost_server.port}/", message, 120.0) == "HTTP status 200"


def test_the_time_limit_of_the_address(silent_port: int, message: Message) -> None:
    """The time limit of the address ends the wait."""
    said = str(_deliver(f"mailto://127.0.0.1:{silent_port}?from=a@example.org&to=b@example.org&cto=0.3", message))
    assert "timed out" in said
