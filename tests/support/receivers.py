"""Provide receivers on loopback: Mattermost's webhooks and a mail server, with optional TLS, and a silent server."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from faser_align.notifiers import mailbox

TOKEN = "yobjmukpaw3r3urc5h6i369yima"
CERTIFICATES = Path(__file__).parents[1] / "data" / "tls"
AUTHORITY = CERTIFICATES / "authority.pem"  # clients that trust it accept ``good``
DRIP = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Long: " + b"x" * 1000


def write_targets(path: Path, **addresses: str) -> Path:
    """Write a file of targets, which only its user may read; return its path."""
    path.write_text("[targets]\n" + "".join(f'{name} = "{address}"\n' for name, address in addresses.items()))
    path.chmod(0o600)
    return path


def text_of(letter: EmailMessage, form: str = "plain") -> str:
    """Return the text of a mail, or its HTML."""
    body = letter.get_body((form,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def subjects(received: mailbox.Mailbox) -> list[str]:
    """Return the subjects of the mails that have arrived."""
    return [str(letter["Subject"]) for letter in received.messages()]


def notify(folder: Path, me: mailbox.Mailbox, *events: str, group: str = "", **values: Any) -> dict[str, Any]:
    """Write a targets file with the mail server as ``me``; return the table ``[notify]`` that sends it these events."""
    targets = write_targets(folder / "targets.toml", me=me.url("me@example.org"), **({"group": group} if group else {}))
    return {"targets": ["me"], "file": str(targets), "events": list(events), **values}


def serving(certificate: str) -> ssl.SSLContext:
    """Return the TLS context of a server with one of the ``CERTIFICATES``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return context


class SecureMailbox(mailbox.Mailbox):
    """A mailbox with TLS from the first byte (``mode`` ssl) or on request (starttls); it accepts any password."""

    def __init__(self, folder: Path, certificate: str, mode: str) -> None:
        super().__init__(folder)
        self._tls, self._mode = serving(certificate), mode

    def url(self, recipient: str = "you@example.org", sender: str = "faser-align@localhost.localdomain") -> str:
        """Return the apprise address of this mailbox, with ``TOKEN`` as its password."""
        return f"mailtos://me:{TOKEN}@{mailbox.HOST}:{self.port}?from={sender}&to={recipient}&mode={self._mode}"

    def received(self) -> int:
        """Return how many mails have arrived."""
        return len(self.files())

    async def _listen(self) -> asyncio.Server:
        first = self._mode == "ssl"
        more: dict[str, Any] = {} if first else {"tls_context": self._tls}
        more |= {"authenticator": lambda *_: AuthResult(success=True), "auth_require_tls": not first}
        return await self._loop.create_server(
            lambda: SMTP(self, hostname=mailbox.HOST, loop=self._loop, **more),
            mailbox.HOST,
            0,
            ssl=self._tls if first else None,
        )


@dataclass
class Mattermost:
    """A webhook's requests; it accepts only ``token``, and refuses channels in ``closed``; ``page``: a web page answers."""

    port: int
    secure: bool = False
    token: str = TOKEN
    closed: set[str] = field(default_factory=set)
    page: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)

    def url(self, token: str = TOKEN) -> str:
        """Return the apprise address of the webhook."""
        return f"mmost{'s' * self.secure}://127.0.0.1:{self.port}/{token}"

    def received(self) -> int:
        """Return how many posts have arrived."""
        return len(self.posts)


def words_of(post: dict[str, Any]) -> str:
    """Return all words of a post, including its attachments."""
    return "\n\n".join([post["text"], *(part["text"] for part in post["attachments"])])


@contextmanager
def kept_port() -> Iterator[int]:
    """Reserve a port while the context is open; nobody listens there until a server is started on it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like each of our servers
        holder.bind((mailbox.HOST, 0))
        yield int(holder.getsockname()[1])


@contextmanager
def mattermost(port: int = 0, *, certificate: str = "") -> Iterator[Mattermost]:
    """Provide a server for Mattermost's webhook payload, with Mattermost's answers, at ``port`` or any free one.

    With one of the ``CERTIFICATES`` it uses TLS.
    """
    received = Mattermost(0, secure=bool(certificate))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if received.page:
                self._answer(200, "<!doctype html><title>Log in</title>", "text/html; charset=utf-8")
                return
            if self.path != f"/hooks/{received.token}":
                self._answer(403, f'{{"message": "Invalid webhook {self.path}"}}', "application/json")
                return
            post = json.loads(body)
            if post.get("channel") in received.closed:
                self._answer(404, '{"message": "Couldn\'t find the channel."}', "application/json")
                return
            if len(post["text"]) > 16383 or len(json.dumps(post["attachments"], ensure_ascii=False)) > 760_000:
                self._answer(400, '{"message": "Post too long"}', "application/json")
                return
            received.posts.append(post)
            self._answer(200, "ok", "text/plain")

        def _answer(self, status: int, text: str, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if certificate:
        server.socket = serving(certificate).wrap_socket(server.socket, server_side=True)
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def listening(port: int = 0, *, drip: bool) -> Iterator[int]:
    """Return the port of a server that accepts connections and is silent, or sends one byte per second forever."""
    over = threading.Event()

    def serve() -> None:
        known: list[tuple[socket.socket, Iterator[int]]] = []
        while not over.wait(1.0):
            try:
                while True:
                    known.append((server.accept()[0], iter(DRIP)))
            except BlockingIOError:
                pass
            for connection, rest in known if drip else []:
                try:
                    connection.send(bytes([next(rest)]))
                except (OSError, StopIteration):
                    continue
        for connection, _ in known:
            connection.close()  # a later server must find the port free

    with socket.create_server((mailbox.HOST, port), backlog=64) as server:
        server.setblocking(False)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()
