"""Make the campaigns of the documentation's pictures that did not go well, with the real hooks and without HTCondor."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import markdown
from campaigns import hook, make_campaign, run_iteration
from receivers import mattermost, notify

from faser_align.campaign import layout
from faser_align.fsm import exit_codes
from faser_align.notifiers.mailbox import Mailbox
from faser_align.state import registry

MAIL, POST = "failed.mail", "post.html"
LOOK = """body { margin: 0; padding: 10px 16px; width: 680px; background: #fff; color: #3f4350; font: 14px/1.45 system-ui, sans-serif }
h4, p { margin: .4em 0 } span { float: left; color: #d24b4e; margin-right: .5em } div { border: 1px solid #ddd; border-left: 4px solid; border-radius: 4px; padding: 2px 12px; margin: 6px 0 }
table { border-collapse: collapse } td, th { border: 1px solid #ddd; padding: 3px 8px } pre { overflow: hidden; font-size: 11px }
pre, code { background: #f4f4f6 } ul { padding-left: 1.4em; margin: .3em 0 }"""

EVENT = "AthenaEventLoopMgr              INFO   ===>>>  done processing event #{at}, run #11705 <<<==="
# The end of the output of a Calypso job whose database has no constants for the run.
PRINTED = [
    *(EVENT.format(at=at) for at in range(40)),
    "Acts::KalmanFitter            WARNING  propagation failed for 3 tracks",
    "IOVDbSvc                        ERROR  no object of folder /Tracker/Align is valid for run 11705",
    "CKF2Alignment                   FATAL  no alignment constants for run 11705",
    "ApplicationMgr                   INFO  Application Manager Terminated with error code 1",
]
ERRORS = {"003": [1.7, 41.0, 0.0, 0.0, 0.0, 0.0], "004": [0.0, 0.0, 0.0, 0.0, 0.0, 48.0]}  # um, urad
HELD = "Job has gone over cgroup memory limit of 4000 megabytes. Last measured usage: 3998 megabytes."


def failed(root: Path) -> str:
    """Make a campaign whose third iteration has two kinds of failure; return its folder.

    Its message is in ``root``: a mail in ``MAIL``, and the post for Mattermost as a page, ``POST``.
    """
    with Mailbox(root / MAIL) as mailbox, mattermost() as chat:
        table = notify(root, mailbox, "end", group=chat.url(), targets=["me", "group"])
        folder = _failed(root, table)
    (root / POST).write_text(_drawn(chat.posts[-1]), encoding="utf-8")
    return folder


def _drawn(post: dict[str, Any]) -> str:
    """Draw a post as Mattermost does: the text, and each attachment beside a bar of its colour."""
    sign, _, headline = post["text"].partition(" ")
    assert sign == "🔴", "a coloured circle, which few fonts of a server have"
    parts = [f"<span>●</span>{_html(headline)}"] + [
        f"<div style='border-left-color: {part['color']}'>{_html(part['text'])}</div>" for part in post["attachments"]
    ]
    return f"<!doctype html><meta charset='utf-8'><style>{LOOK}</style><h4>faser-align</h4>{''.join(parts)}"


def _html(text: str) -> str:
    return str(markdown.markdown(text, extensions=["tables", "fenced_code", "sane_lists", "nl2br"]))


def _failed(root: Path, notification: dict[str, Any]) -> str:
    record = _made(root, "Y2023_R011705_F400-405", files=6, notify=notification)
    folder = str(record["folder"])
    for iteration in (1, 2):
        run_iteration(record, iteration, constant_errors=ERRORS)
    for file in (401, 402, 404):
        node = layout.reco_node(1, 3, file)
        log = layout.job_log(folder, node, "log")
        Path(log).write_text("\n".join(PRINTED) + "\n")
        _fails(folder, node, exit_codes.CRASHED, f"reconstruction: it ended with status 1 (log: {log})")
    raw = "/eos/experiment/faser/raw/2023/011705/Faser-Physics-011705-00405.raw"
    _fails(folder, layout.reco_node(1, 3, 405), exit_codes.RAW_MISSING, f"inputs: {raw} cannot be read")
    hook("final", folder, "final", 2, 1)
    return folder


def held(root: Path) -> str:
    """Make a campaign with a job on hold; return its folder."""
    record = _made(root, "Y2023_R011705_F100-101", files=2, first=100)
    folder, node = str(record["folder"]), layout.reco_node(1, 2, 100)
    run_iteration(record, 1)
    Path(folder, layout.NODES_LOG).write_text(
        f"012 (031.000.000) 2026-11-24 07:31:00 Job was held.\n\t{HELD}\n\tCode 34 Subcode 0\n...\n"
    )
    hook("pre", folder, node, 0, 2)
    hook("hold", folder, node, "31.0", 0)
    return folder


def exhausted(root: Path) -> str:
    """Make a campaign that used its iterations; return its folder."""
    record = _made(root, "Y2023_R011705_F50-52", files=3, first=50)
    for iteration in range(1, 5):
        run_iteration(record, iteration, effect_um=9.0 / iteration, significance=5.0 / iteration)
    hook("final", record["folder"], "final", 0, 0)
    return str(record["folder"])


def _made(root: Path, name: str, *, notify: dict[str, Any] | None = None, **size: int) -> dict[str, Any]:
    config = {"htcondor": {"pool": "system", "reco": {"memory_mb": 4000}}, "notify": notify or {}}
    record = make_campaign(root / name, name=name, config=config, **size)
    registry.add(name, record["folder"])
    return record


def _fails(folder: str, node: str, status: int, said: str) -> None:
    """Let a node's last attempt fail with what its job has written to standard error."""
    Path(layout.job_log(folder, node, "err")).write_text(f"{said}\n")
    hook("pre", folder, node, 2, 2)
    hook("post", folder, node, 2, 2, status, f"3{node[-3:]}.0", 0)
