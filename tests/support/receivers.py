"""A receiver on loopback: the part of a Mattermost server that takes webhooks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "yobjmukpaw3r3urc5h6i369yima"


@dataclass
class Mattermost:
    """What a webhook received; ``token`` is the only one that is accepted."""

    port: int
    token: str = TOKEN
    posts: list[dict[str, Any]] = field(default_factory=list)

    def url(self, token: str = TOKEN) -> str:
        """The apprise address of the webhook."""
        return f"mmost://127.0.0.1:{self.port}/{token}"


def words_of(post: dict[str, Any]) -> str:
    """All words of a post, those of its attachments too."""
    return "\n\n".join([post["text"], *(part["text"] for part in post["attachments"])])


@contextmanager
def mattermost(port: int = 0) -> Iterator[Mattermost]:
    """A server that takes Mattermost's webhook payload, with Mattermost's answers; at ``port``, or at any that is free."""
    received = Mattermost(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != f"/hooks/{received.token}":
                self._answer(403, f'{{"message": "Invalid webhook {self.path}"}}', "application/json")
                return
            post = json.loads(body)
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
            """Tests stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
