"""Test the mail server on loopback."""

import smtplib
import socket
import threading
from pathlib import Path

import pytest

from faser_align.notifiers.mailbox import HOST, Mailbox


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
