"""Provide receivers on loopback: a mail server, and a Mattermost server's webhooks."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from receivers import Mattermost, kept_port, mattermost

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
            "solver": "end code 0, Ended normally",
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
        "solver": "end code 1, Ended with warnings (bad measurements)",
        "wall_s": 192.3,
        "constants": "/eos/align/Y2023_R011705_F400-450/iter04/3millepede/inputforalign.txt",
        "steps": [("next", "faser-align history Y2023_R011705_F400-450")],
        "key": "Y2023_R011705_F400-450/17",
        "thread": "Y2023_R011705_F400-450",
    }
