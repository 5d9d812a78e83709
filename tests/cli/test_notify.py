"""Test ``notify test`` with real receivers on loopback, and refusals."""

import json
from pathlib import Path

import pytest
from commandline import Command, says
from receivers import text_of, write_targets

from faser_align.notifiers.mailbox import Mailbox
from faser_align.operations import samples


@pytest.fixture
def mailbox(tmp_path: Path) -> "Mailbox":
    """Provide a mail server that refuses nobody@example.org."""
    return Mailbox(tmp_path / "mail", refused={"nobody@example.org"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a home folder, and a folder without a configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / ".config" / "faser-align").mkdir(parents=True)
    return tmp_path


def _targets(home: Path, port: int) -> Path:
    path = home / ".config" / "faser-align" / "targets.toml"
    address = f"mailto://127.0.0.1:{port}?from=me@example.org&to="
    return write_targets(path, good=f"{address}me@example.org", bad=f"{address}nobody@example.org")


def test_every_target_is_told(plain_command: Command, home: Path, mailbox: Mailbox) -> None:
    """Each target's answer is on its own line; one refusal gives exit status 1."""
    with mailbox:
        path = _targets(home, mailbox.port)
        left = plain_command("notify", "test")
        one = plain_command("notify", "test", "good")
    assert left.status == 1
    assert left.out.startswith(f"targets of {path} (the default)\ngood: accepted (250 OK)\nbad: refused: ")
    assert one == (0, f"targets of {path} (the default)\ngood: accepted (250 OK)\n", "")
    assert len(mailbox.messages()) == 2
    assert "[faser-align] example test message" in str(mailbox.messages()[0]["Subject"])


def test_targets_of_a_configuration(plain_command: Command, home: Path, mailbox: Mailbox, tmp_path: Path) -> None:
    """With --config only that configuration's targets get a sample, from the file that it names."""
    with mailbox:
        path = _targets(home, mailbox.port)
        config = tmp_path / "a.toml"
        config.write_text(f'[notify]\ntargets = ["good"]\nfile = "{path}"\n')
        told = f"targets of {path} (from {config})\ngood: accepted (250 OK)\n"
        assert plain_command("notify", "test", "--config", str(config)) == (0, told, "")
        config.write_text("[notify]\ntargets = []\n")
        nobody = plain_command("notify", "test", "--config", str(config))
    assert nobody.status == 2
    assert "notify.targets is empty" in nobody.err


def test_the_configuration_that_is_here(plain_command: Command, home: Path, mailbox: Mailbox) -> None:
    """Without --config this folder's configuration is used; one without targets is an error."""
    with mailbox:
        path = _targets(home, mailbox.port).rename(home / "other.toml")
        Path("faser-align.toml").write_text(f'[notify]\ntargets = ["good"]\nfile = "{path}"\n')
        told = f"targets of {path} (from faser-align.toml)\ngood: accepted (250 OK)\n"
        assert plain_command("notify", "test") == (0, told, "")
        Path("faser-align.toml").write_text(f'[notify]\nfile = "{path}"\n')
        assert plain_command("notify", "test", "good") == (0, told, "")
        nobody = plain_command("notify", "test")
    assert (nobody.status, nobody.out) == (2, "")
    assert nobody.err.startswith("error: faser-align.toml: notify.targets is empty; add targets of ")


def test_targets_that_are_not_there(plain_command: Command, home: Path) -> None:
    """A missing file, an empty one and an unknown name are usage errors."""
    assert "targets.toml does not exist" in plain_command("notify", "test", status=2).err
    path = _targets(home, 1)
    assert "has no target 'god'; the nearest is 'good'" in plain_command("notify", "test", "god", status=2).err
    path.write_text("[targets]\n")
    assert "has no target" in plain_command("notify", "test").err


def test_a_server_that_is_silent(plain_command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`notify test` gives up a silent server after a time limit."""
    import socket

    monkeypatch.setattr(samples, "ANSWER_S_MAX", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _targets(home, listener.getsockname()[1])
        left = plain_command("notify", "test", "good")
    assert left.status == 1
    assert "good: refused: target 'good' timed out" in left.out


def test_a_sample_of_every_event(plain_command: Command, home: Path, mailbox: Mailbox) -> None:
    """--event all sends every event once, each with its own subject, and shows the server's answers."""
    with mailbox:
        _targets(home, mailbox.port)
        left = plain_command("notify", "test", "good", "--event", "all")
    assert left.status == 0
    said = left.out.splitlines()[1:]
    assert len(said) == 14
    assert all(line.endswith(": accepted (250 OK)") for line in said)
    assert "good: converged: accepted (250 OK)" in said
    subjects = {str(letter["Subject"]) for letter in mailbox.messages()}
    assert len(subjects) == 14
    assert "[faser-align] example converged after 3 of 10 iterations" in subjects
    failed = text_of(next(letter for letter in mailbox.messages() if " failed " in letter["Subject"]))
    assert "reconstruction crashed: RuntimeError: no geometry" in failed
    assert "Fix: read the job's log" in failed


def test_a_sample_by_templates_of_the_user(plain_command: Command, home: Path, mailbox: Mailbox) -> None:
    """A sample uses the user's templates; a broken one is a usage error, and nothing is sent."""
    (home / "mine").mkdir()
    mine = home / "mine" / "converged.j2"
    mine.write_text('{% set subject = "Hurra, " ~ campaign %}')
    with mailbox:
        _targets(home, mailbox.port)
        words = ("notify", "test", "good", "--event", "converged", "--templates", str(home / "mine"))
        assert plain_command(*words).status == 0
        assert [letter["Subject"] for letter in mailbox.messages()] == ["[faser-align] Hurra, example"]
        mine.write_text("{% set subject = %}")
        broken = plain_command(*words)
    assert broken.status == 2
    assert f"{mine} cannot be used: line 1: TemplateSyntaxError" in broken.err
    assert len(mailbox.messages()) == 1


def test_an_event_that_is_not_known(plain_command: Command, home: Path) -> None:
    """An unknown event is a usage error, with the most similar one."""
    _targets(home, 1)
    unknown = plain_command("notify", "test", "--event", "converge", status=2)
    assert "--event converge: no such event; did you mean converged?" in unknown.err


def test_check_looks_at_templates(plain_command: Command, home: Path) -> None:
    """check names a template that cannot be used."""
    (home / "mine").mkdir()
    mine = home / "mine" / "held.md.j2"
    mine.write_text("{{ nonsense }}")
    _targets(home, 1)
    Path("faser-align.toml").write_text(f'[notify]\ntargets = ["good"]\ntemplates = "{home / "mine"}"\n')
    found = {one["name"]: one for one in json.loads(plain_command("check", "--json").out)}
    says(found["notification"], "failed", f"{mine} cannot be used: UndefinedError: 'nonsense' is undefined")
    mine.write_text("{{ view.headline }}")
    found = {one["name"]: one for one in json.loads(plain_command("check", "--json").out)}
    assert found["notification"]["text"] == "good"
