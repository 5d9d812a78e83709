"""Run a real mail server on loopback that stores mail in a folder, for the demonstration and the tests."""

import asyncio
import os
import threading
from collections.abc import Collection
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from faser_align.system.atomic import write_bytes

HOST = "127.0.0.1"
_START_S = 60  # enough for a busy machine


class Mailbox:
    """An SMTP server on an ephemeral port of 127.0.0.1 while the context is open.

    Each accepted mail is stored atomically as ``<number>.eml`` in ``folder`` before the sender is notified, with
    ``Return-Path`` and one ``Delivered-To`` per recipient as additional headers. Recipients in ``refused`` are answered
    550. Existing mail is kept.
    """

    def __init__(self, folder: str | os.PathLike[str], *, refused: Collection[str] = ()) -> None:
        self.folder = Path(folder)
        self.port = 0
        self._refused = frozenset(refused)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailbox", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_S)
        except BaseException:
            self._stop()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_START_S)
        self._stop()

    def url(self, recipient: str, sender: str = "faser-align@localhost.localdomain") -> str:
        """Return the apprise address of a target that delivers to this mailbox."""
        return f"mailto://{HOST}:{self.port}?from={sender}&to={recipient}"

    def files(self) -> list[Path]:
        """Return the paths of the mails, oldest first."""
        return sorted(self.folder.glob("*.eml"))

    def messages(self) -> list[EmailMessage]:
        """Return the parsed mails, oldest first."""
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in self.files()]

    # aiosmtpd defines the names of the next two methods.
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept or refuse a recipient."""
        if address in self._refused:
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Store a mail."""
        try:
            self._keep(envelope)
        except OSError as error:
            return f"452 4.3.1 the mailbox cannot keep it: {error.strerror}"
        return "250 OK"

    def _keep(self, envelope: Envelope) -> None:
        header = f"Return-Path: <{envelope.mail_from}>\r\n"
        header += "".join(f"Delivered-To: {address}\r\n" for address in envelope.rcpt_tos)
        content = envelope.content
        received = content.encode() if isinstance(content, str) else bytes(content or b"")
        last = self.files()[-1:]
        name = f"{int(last[0].stem) + 1 if last else 1:06d}.eml"
        write_bytes(self.folder / name, header.encode() + received)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: SMTP(self, hostname=HOST, loop=self._loop), HOST, 0)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        others: set[asyncio.Task[Any]] = asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()
