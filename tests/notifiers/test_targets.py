"""Test the user's file of targets: accepted and rejected content, and secrecy."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faser_align.fsm.errors import UserError
from faser_align.notifiers import targets as module
from faser_align.notifiers.services import open_service
from faser_align.notifiers.targets import Target, access_note, check_target, load_targets, redact

SECRET = "s3cr3t-Pa55"
MAIL = f"mailtos://anna:{SECRET}@example.org?from=anna@example.org&to=team@example.org"


def _write(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "targets.toml"
    file.write_text(text, encoding="utf-8", newline="")
    file.chmod(mode)
    return file


def test_targets_are_read_in_both_forms(tmp_path: Path) -> None:
    """A target is an address, or a table with an address and its events."""
    text = f'[targets]\nme = "{MAIL}"\n[targets.shift]\nurl = "mmost://host/token"\nevents = ["held", "end"]\n'
    file = _write(tmp_path, text)
    assert load_targets(file) == {
        "me": Target("me", MAIL, (), str(file)),
        "shift": Target("shift", "mmost://host/token", ("held", "end"), str(file)),
    }


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    """A byte order mark and Windows line ends are removed from the file's text."""
    file = _write(tmp_path, f'\ufeff[targets]\r\nme = "{MAIL}"\r\n')
    assert load_targets(file) == {"me": Target("me", MAIL, (), str(file))}


@pytest.mark.parametrize(
    "address",
    [
        *[MAIL, "MAILTO://u:p@h.org/b@h.org?verify=no", "mailto://127.0.0.1:2525?from=a@b.org&to=c@d.org", "mailto://"],
        *["mmost://h/token", "mmosts://bot@h.org:80/token/?channels=#a,b", "mmost://h:1/token/#c", "mmost://"],
    ],
)
def test_a_service_is_what_apprise_makes_of_its_address(address: str) -> None:
    """The classes of mail and Mattermost, loaded alone, read an address as apprise does with all services loaded."""
    import apprise  # slow to load, for all workers that collect tests

    expected, found = apprise.Apprise.instantiate(address), open_service(address)
    assert type(found) is type(expected)
    assert found is None or found.url() == expected.url()


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured path of the file may begin with ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    _write(tmp_path, "")
    assert load_targets("~/targets.toml") == {}


@pytest.mark.parametrize(
    ("event", "wanted"), [("held", True), ("converged", True), ("failed", True), ("iteration", False), ("test", True)]
)
def test_events_of_a_target(event: str, wanted: bool) -> None:
    """A target with its own events receives these and every test message; "end" means every end state."""
    assert Target("a", "x://y", ("held", "end")).wants(event) is wanted
    assert Target("a", "x://y").wants(event)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Credentials that others can read or change are not used; the sentence names the fix."""
    file = _write(tmp_path, f'[targets]\nme = "{MAIL}"\n', mode)
    with pytest.raises(UserError, match=rf"chmod 600 {file}"):
        load_targets(file)


def test_afs_gets_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On AFS, which ignores mode bits, the file is read and a note names the ACL."""
    file = _write(tmp_path, "", 0o644)
    assert access_note(file) is None
    monkeypatch.setattr(module.os.path, "realpath", lambda path: f"/afs/cern.ch{path}")
    assert load_targets(file) == {}
    assert "fs listacl" in str(access_note(file))


@pytest.mark.parametrize(
    "text",
    [
        *(f"[targets]\n{line}\n" for line in (f'me = "{MAIL}', MAIL, f'me = ["{MAIL}"]', f'"{MAIL}" = "x"', "me = 3")),
        *(f'[targets]\nme = "{SECRET}"\n', f'"{MAIL}" = 1\n', f'targets = "{MAIL}"\n'),
        f'[targets.me]\nurl = "{MAIL}"\nevents = ["{MAIL}"]\n',
        f'[targets.me]\nurl = "{MAIL}"\nevents = "{SECRET}"\n',
        f'[targets.me]\nurl = "{MAIL}"\n"{SECRET} x" = 1\n',
        "[targets.me]\nevents = []\n",
        '[targets]\nme = "a://b"\nme = "c://d"\n',
        "[unknown]\n",
    ],
)
def test_mistakes_are_told_without_secrets(tmp_path: Path, text: str) -> None:
    """Every error is one sentence that names the file, without secrets from it."""
    file = _write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_targets(file)
    said = str(caught.value)
    assert str(file) in said
    assert "\n" not in said
    assert SECRET not in said
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    """A missing file and one that is not text raise UserError."""
    file = tmp_path / "targets.toml"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(UserError, match=str(file)):
        load_targets(file)
    with pytest.raises(UserError, match="cannot be read"):
        load_targets(tmp_path)


@pytest.mark.parametrize("url", [MAIL, "mmosts://chat.example.org/abcdefgh", "json://localhost/path"])
def test_addresses_that_apprise_knows(url: str) -> None:
    """Checking an address sends nothing and accepts what apprise accepts."""
    check_target(Target("me", url))


@pytest.mark.parametrize(
    "url", [f"nonsense://{SECRET}@host", f"mmost://u:{SECRET}@host", f"{SECRET}://host", "mailto://"]
)
def test_addresses_that_apprise_does_not_know(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An address that apprise cannot use is reported by the target's name, and written nowhere."""
    with pytest.raises(UserError, match="target 'me'") as caught:
        check_target(Target("me", url, source="/home/u/targets.toml"))
    assert SECRET.lower() not in str(caught.value).lower()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("to", "lost"),
    [
        ("a@x.org;b@x.org", "b@x.org"),
        ("a@x.org&to=b@x.org", "a@x.org"),
        ("a@x.org,b@localhost", "b@localhost"),
        ("a@x.org,%C3%BC@x.org", "ü@x.org"),
        ("a+b@X.org,C%20D%20%3Cc%40x.org%3E&bcc=d@x.org", ""),
        ("'a@x.org',mailto:b@x.org,c@x.org.", ""),
        ("Ann@CERN<a@x.org>,%22Bob@x.y%22%20%3Cb@x.org%3E", ""),
    ],
)
def test_recipients_that_get_no_mail_are_named(to: str, lost: str) -> None:
    """Checking an address names the first recipient that apprise would drop silently."""
    target = Target("me", f"mailto://localhost?from=me@x.org&to={to}")
    with pytest.raises(UserError, match=f"no mail goes to {lost}:") if lost else contextlib.nullcontext():
        check_target(target)


@pytest.mark.parametrize(
    ("url", "secrets", "kept"),
    [
        (MAIL, [MAIL, SECRET, f"anna:{SECRET}", "AGFubmEAczNjcjN0LVBhNTU="], ["example.org", "team@example.org"]),
        ("mailto://u:a%2Fb%40c@h.org", ["a%2Fb%40c", "a/b@c"], ["h.org"]),
        ("mailto://u:p#ss[w@h.org", ["p#ss[w"], ["h.org"]),
        ("mmosts://bot@chat.example.org/path/tok3ntok3n", ["tok3ntok3n", "TOK3NTOK3N"], ["chat.example.org", "bot"]),
        ("slack://TokenA123/TokenB456/Token789abc/#channel", ["TokenA123", "TokenB456", "Token789abc"], []),
        ("tgram://123456789:abcdefg_hij/12315544/", ["123456789:abcdefg_hij", "abcdefg_hij"], []),
        ("jsons://u:pw@web.example.org/hook/longsecret1?key=val99", ["pw", "longsecret1", "val99"], ["hook"]),
    ],
)
def test_redaction(url: str, secrets: list[str], kept: list[str]) -> None:
    """Addresses, passwords and tokens are redacted in every spelling; servers and recipients stay readable."""
    text = redact(" ".join([*secrets, *kept]), [Target("a", url)])
    for secret in secrets:
        assert secret not in text
    for word in kept:
        assert word in text
    assert repr(Target("a", url)).count("***") == 0
    assert url not in repr(Target("a", url))


@given(password=st.text(st.characters(codec="utf-8", exclude_characters="/?@:"), min_size=4), around=st.text())
@example(password="1000", around="0010")  # the surrounding text contains it, too
def test_no_password_survives(password: str, around: str) -> None:
    """A redacted text contains no password."""
    target = Target("a", f"mailto://user:{password}@example.org")
    parts = redact(f"{around}{password}{around}", [target]).split("***")  # a password may consist of these, too
    assert not any(password in part for part in parts)


def test_a_secret_that_begins_another_hides_no_half_of_it() -> None:
    """Of overlapping secrets the longest is redacted first, and no part of it is left."""
    targets = [Target("a", "json://server/secret1234"), Target("b", "json://server/secret1234-and-more")]
    for order in (targets, targets[::-1]):
        assert redact("secret1234-and-more, secret1234", order) == "***, ***"


@pytest.mark.parametrize(("password", "told"), [("abi", "cabins, ***, abiter"), ("abit", "cabins, abi, ***er")])
def test_a_short_secret_is_hidden_where_it_stands_alone(password: str, told: str) -> None:
    """A password of three letters is redacted only as a whole word, one of four everywhere."""
    target = Target("a", f"mailto://me:{password}@server?from=a@b.ch&to=c@d.ch")
    assert redact("cabins, abi, abiter", [target]) == told
