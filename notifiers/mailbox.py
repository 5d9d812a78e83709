"""Run a real mail server on loopback that stores mail in a folder, for the demonstration and the tests."""

import asyncio
import os
import threading
from collections.abc import Collection
from concurrent.futures import Future
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

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
        self._began: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="mailbox", daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self.port = self._began.result(_START_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_START_S)

    def url(self, recipient: str) -> str:
        """Return the apprise address of a target that delivers to this mailbox."""
        return f"mailto://{HOST}:{self.port}?from=faser-align@localhost.localdomain&to={recipient}"

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

    async def _serve(self) -> None:
        """Serve until the context ends; then ``asyncio.run`` cancels the open sessions."""
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await self._listen()
        except Exception as error:  # noqa: BLE001 - the thread that waits raises it
            self._began.set_exception(error)
            return
        self._began.set_result(server.sockets[0].getsockname()[1])
        await self._end.wait()
        server.close()
