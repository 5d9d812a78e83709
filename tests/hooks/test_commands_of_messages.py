"""Test the commands in messages: pasted into a shell from text, HTML, Markdown, page and terminal."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import faser_align

from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.hooks.message import message_facts
from faser_align.notifiers.message import compose
from faser_align.state import database, outbox, registry

pytestmark = pytest.mark.slow

NAME = "it's mine"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Provide a campaign whose name needs quotes in a shell, and a folder with the programs."""
    notify = {"targets": ["me"], "events": ["end", "held"]}
    config = {"notify": notify, "campaign": {"iterations": 1}, "convergence": {"patience": 1}}
    record = make_campaign(tmp_path / NAME, files=1, config=config, name=NAME)
    registry.add(NAME, record["folder"])
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "faser-align").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m faser_align.cli "$@"\n')
    for tool in ("condor_release", "condor_qedit"):
        (programs / tool).write_text('#!/bin/sh\nprintf "%s|" "$CONDOR_CONFIG" "${0##*/}" "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return str(record["folder"])


def forms(folder: str) -> dict[str, list[str]]:
    """Return the commands of the campaign's last message as each form shows them, and those of page and terminal."""
    database.transact(folder, lambda db: db.execute("UPDATE outbox SET state = 'pending', next_utc = ''").rowcount)
    kinds = ("held", "converged", "exhausted", "failed")
    claimed = [outbox.claim(folder, final=True, seen=range(at)) for at in range(1, 5)]
    last = max((one for one in claimed if one is not None and one.kind in kinds), key=lambda one: one.ids)
    message = compose(message_facts(folder, last))
    assert faser_align("report", folder, "-o", "page.html", "--force").status == 0
    page = Path("page.html").read_text().partition("<dt>next</dt>")[2].partition("</dd>")[0]
    return {
        "text": re.findall(r"(?m)^  (\S+ (?!\|).*)$", message.text.rpartition("Folder: ")[2]),
        "html": [html.unescape(one) for one in re.findall(r'<pre class="command">(.*?)</pre>', message.html)],
        "markdown": re.findall(r":(?:\*\*)? `([^`\n]+)`\n", message.markdown.rpartition("- Folder: ")[2]),
        "page": [html.unescape(one) for one in re.findall(r"<code>(.*?)</code>", page)],
        "terminal": re.findall(r"(?m):\n +(\S.*)$", faser_align("status", folder).out),
    }


def run(command: str) -> str:
    """Paste a command into a shell; return its output."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.mark.parametrize("converges", [True, False])
def test_the_commands_of_an_end_run(converges: bool, folder: str) -> None:
    """A message has the next command, page and terminal also what follows; each is alone on its line, and works."""
    record = read_record(folder)
    numbers = {"significance": 0.001} if converges else {"effect_um": 9.0, "significance": 9.0}
    run_iteration(record, 1, residual_max_final=True, **numbers)
    Path(layout.result_file(folder, 1, 1)).write_text('"00": [0.1, 0.0, 0.0, 0.0, 0.0, 0.0]\n')
    found = forms(folder)
    first, second = found["terminal"]
    assert found["html"] == found["markdown"] == found["text"] == [first]
    assert found["page"] == ([second] if converges else [first, second])  # a reader of the page has the report
    for command in (first, second):
        if " extend " not in command:  # needs a pool
            run(command)


def test_the_commands_about_a_held_job_run(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Message and `status` have the same HTCondor commands, with the pool's configuration, and a shell accepts them."""
    node = layout.reco_node(1, 1, 400)
    hook("pre", folder, node, 0, 2)
    log = Path(folder, layout.NODES_LOG)
    log.write_text(
        f"000 (013.000.000) 2026-11-24 08:00:00 Job submitted\n    DAG Node: {node}\n...\n"
        "012 (013.000.000) 2026-11-24 08:00:01 Job was held.\n\tmemory usage exceeded\n\tCode 34 Subcode 0\n...\n"
    )
    hook("hold", folder, node, "13.0", 0)
    found = forms(folder)
    memory, release = found["text"]
    assert found["html"] == found["markdown"] == found["text"]
    assert found["terminal"][:2] == [memory, release]
    config = Path(os.environ["FASER_ALIGN_POOL"], "condor_config")
    assert run(memory) == f"{config}|condor_qedit|13.0|RequestMemory|2000|"
    assert run(release) == f"{config}|condor_release|13.0|"
