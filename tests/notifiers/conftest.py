"""Provide receivers on loopback: a mail server, and a Mattermost server's webhooks."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from receivers import TOKEN, Mattermost, kept_port, mattermost

from faser_align.notifiers.mailbox import Mailbox


@pytest.fixture
def smtp_server(tmp_path: Path) -> Iterator[Mailbox]:
    """Provide a mail server that refuses nobody@example.org."""
    with Mailbox(tmp_path / "mail", refused={"nobody@example.org"}) as mailbox:
        yield mailbox


@pytest.fixture
def mattermost_server() -> Iterator[Mattermost]:
    """Provide a server for Mattermost's webhook payload, with Mattermost's answers."""
    with mattermost() as received:
        yield received


@pytest.fixture
def web_page() -> Iterator[str]:
    """Provide the apprise address of a server that answers every request with a page."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Log in</title>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"mmost://127.0.0.1:{server.server_address[1]}/{TOKEN}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Provide a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Provide a port without a listener."""
    with kept_port() as port:
        yield port


@pytest.fixture
def facts() -> dict[str, Any]:
    """Return the full payload of a campaign that converged in its fourth iteration."""
    rows = [
        {
            "stage": 1,
            "iteration": i,
            "files_used": 6 if i < 3 else 5,
            "files_expected": 6,
            "tracks": 17000 - i,
            "chi2_per_ndf": chi2,
            "effect_um": effect,
            "significance": effect / 10,
            "largest": {"dof": "module.y", "where": "003", "value": effect * 13, "unit": "um"},
            "verdict": "go_on",
            "solver": "0 Ended normally",
        }
        for i, (chi2, effect) in enumerate([(1.31, 9.1), (1.05, 1.2), (1.004, 0.41), (1.003, 0.2)], 1)
    ]
    return {
        "campaign": "Y2023_R011705_F400-450",
        "folder": "/eos/align/Y2023_R011705_F400-450",
        "event": "converged",
        "state": "converged",
        "reason": "the effect of 0.20 um is below 0.5 um for 2 iterations",
        "utc": "2026-11-24T07:30:00Z",
        "stage": 1,
        "stages": 1,
        "iteration": 4,
        "iterations": 10,
        "rows": rows,
        "files_lost": [{"file": 417, "node": "reco_s1_i03_00417", "why": "raw file missing or unreadable"}],
        "held": [],
        "failed": [],
        "solver": "1 Ended with warnings (bad measurements)",
        "wall_s": 192.3,
        "constants": "/eos/align/Y2023_R011705_F400-450/iter04/3millepede/inputforalign.txt",
        "steps": [("next", "faser-align history Y2023_R011705_F400-450")],
        "key": "Y2023_R011705_F400-450/17",
        "thread": "Y2023_R011705_F400-450",
    }
