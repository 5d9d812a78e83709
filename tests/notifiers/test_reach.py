"""Test whether a target's server is reachable, without sending anything, and the mail server on loopback."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from receivers import AUTHORITY, SecureMailbox, mattermost

from faser_align.fsm.errors import UserError
from faser_align.notifiers.mailbox import HOST, Mailbox
from faser_align.notifiers.reach import Server, reach, server_of
from faser_align.notifiers.targets import Target


def seen(url: str) -> str:
    """Return what is seen of the server of an address."""
    server = server_of(Target("me", url))
    assert server is not None
    return reach(server)


@contextmanager
def saying(words: bytes) -> Iterator[int]:
    """Start a server that greets its first client with these words; return its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(words)
                with suppress(OSError):  # the client may disconnect before it has read the greeting
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def test_servers_that_answer(tmp_path: Path) -> None:
    """A mail server must greet, a web server only accept the connection; nothing is delivered."""
    with Mailbox(tmp_path / "mail") as mailbox, mattermost() as chat:
        assert seen(mailbox.url("me@example.org")) == f"127.0.0.1:{mailbox.port} answers and greets"
        assert seen(chat.url()) == f"127.0.0.1:{chat.port} answers"
        assert (mailbox.messages(), chat.received()) == ([], 0)


@pytest.mark.parametrize("words", [b"554 no service\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_what_is_no_mail_server(words: bytes) -> None:
    """A server that does not greet like a mail server is rejected."""
    with saying(words) as port, pytest.raises(UserError, match="is not a mail server: it does not greet like one"):
        seen(f"mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org")


def test_nobody_is_there(closed_port: int) -> None:
    """A port without a listener is reported with the system's message."""
    with pytest.raises(UserError, match=f"^127.0.0.1:{closed_port} cannot be reached: Connection refused$"):
        seen(f"mmost://127.0.0.1:{closed_port}/token")


def test_certificates_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid certificate is rejected, unless the address disables the check."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    with SecureMailbox(tmp_path / "good", "good", "ssl") as good:
        assert seen(good.url()).endswith(", and greets)")
    with SecureMailbox(tmp_path / "other", "self_signed", "ssl") as doubtful:
        with pytest.raises(UserError, match="failed in the TLS handshake"):
            seen(doubtful.url())
        assert seen(f"{doubtful.url()}&verify=no").endswith(", and greets)")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mailto://mail.example.org?from=a@b.ch&to=c@d.ch", Server("mail.example.org", 25, False, True, True)),
        ("mmosts://chat.example.org/token?verify=no", Server("chat.example.org", 443, True, False, False)),
        ("mmost://chat.example.org/token", Server("chat.example.org", 80, False, False, True)),
        ("jsons://web.example.org:8443/hook", Server("web.example.org", 8443, True, False, True)),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", None),
    ],
)
def test_the_server_of_an_address(url: str, server: Server | None) -> None:
    """The server follows from the address, or is unknown."""
    assert server_of(Target("me", url)) == server


def _send(port: int, text: str) -> None:
    with smtplib.SMTP(HOST, port, "localhost", timeout=60) as server:
        server.sendmail("a@example.org", ["b@example.org"], text)


def test_letters_are_kept_in_order(tmp_path: Path) -> None:
    """Mails are numbered files, also over two runs of the mailbox, and no partial file is left."""
    for part in ("one", "two"):
        with Mailbox(tmp_path / "new" / "mail") as mailbox:
            _send(mailbox.port, f"Subject: {part}\r\n\r\nText\r\n")
            assert [str(letter["Subject"]) for letter in mailbox.messages()][-1] == part
    assert [file.name for file in mailbox.files()] == ["000001.eml", "000002.eml"]
    assert len(list(mailbox.folder.iterdir())) == 2


def test_mailbox_leaves_nothing_behind(tmp_path: Path) -> None:
    """After the context no thread runs and no socket listens, even if a client is still connected."""
    threads = set(threading.enumerate())
    with Mailbox(tmp_path) as mailbox:
        client = socket.create_connection((HOST, mailbox.port), timeout=60)
        assert client.recv(3) == b"220"
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, mailbox.port), timeout=60)
    client.close()


def test_full_disk_is_a_temporary_refusal(tmp_path: Path) -> None:
    """A mail that cannot be stored is not accepted."""
    with Mailbox(tmp_path / "mail") as mailbox:
        mailbox.folder.rmdir()
        with pytest.raises(smtplib.SMTPDataError, match="452"):
            _send(mailbox.port, "Subject: x\r\n\r\n")
