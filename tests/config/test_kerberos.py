"""Test the credential that HTCondor keeps for scripts and jobs."""

import os
from pathlib import Path

import pytest

from faser_align.fsm.errors import CampaignError
from faser_align.pool import ticket
from faser_align.system import credential, kerberos

NOW = 1_800_000_000
VALID = kerberos.Ticket("ann@STAND.IN", NOW - 60, NOW + 3600, NOW + 86400)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a valid credential, in the environment of a DAGMan script."""
    path = tmp_path / "ann.cc"
    ticket.write(str(path), VALID)
    monkeypatch.setenv(credential.VARIABLE, str(path))
    monkeypatch.setenv(kerberos.MARK, kerberos.MARKED)
    monkeypatch.setenv(credential.CACHE, "")  # so that it is restored
    monkeypatch.delenv(credential.CACHE)
    return path


def test_a_ticket_is_read_as_it_was_written(stored: Path) -> None:
    """A credential cache of MIT's format 4 gives the ticket's owner and end; only its owner can read it."""
    assert kerberos.read(str(stored)) == VALID
    assert stored.stat().st_mode & 0o777 == 0o600


def test_what_is_no_credential_cache(tmp_path: Path) -> None:
    """A foreign file, or one that is truncated anywhere, is reported by name and raises no other error."""
    path = tmp_path / "ann.cc"
    ticket.write(str(path), VALID)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found: object
        try:
            found = kerberos.read(str(path))
        except ValueError as problem:
            found = str(problem).startswith(str(path))
        assert found in (True, None, VALID), size  # no ticket, or all of its times


def test_scripts_use_the_stored_credential(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script passes the credential to its children, unless it has another one or cannot read it."""
    credential.adopt()
    assert os.environ[credential.CACHE] == f"FILE:{stored}"
    monkeypatch.setenv(credential.CACHE, "KCM:")
    credential.adopt()
    assert os.environ[credential.CACHE] == "KCM:"
    monkeypatch.delenv(credential.CACHE)
    monkeypatch.setenv(credential.VARIABLE, "/nonexistent/ann.cc")
    credential.adopt()
    assert credential.CACHE not in os.environ


def test_an_expired_credential_is_named(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired credential is reported with the time; a valid or unknown one is not."""
    assert kerberos.expired(NOW) == ""
    credential.adopt()
    assert kerberos.expired(NOW) == ""
    said = "the credential that HTCondor stores for the campaign expired at 2027-01-15 09:00 UTC"
    assert kerberos.expired(VALID.end) == said
    stored.write_text("no cache")
    assert kerberos.expired(VALID.end) == ""
    monkeypatch.delenv(credential.VARIABLE)
    assert kerberos.expired(VALID.end) == ""


def test_what_the_probe_reports(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe reports how long a credential is valid; a missing or expired one is a failure."""
    assert kerberos.stored(NOW) == "valid for 1.0 h, renewable for 24.0 h"
    with pytest.raises(CampaignError, match="KRB5CCNAME is not set"):
        kerberos.received(NOW)
    monkeypatch.setenv(credential.CACHE, str(stored))
    assert kerberos.received(NOW) == kerberos.stored(NOW)
    with pytest.raises(CampaignError, match="has no valid ticket; run `kinit`"):
        kerberos.received(VALID.end)
    monkeypatch.setenv(credential.VARIABLE, "/nonexistent/ann.cc")
    assert kerberos.stored(NOW) == "stored by HTCondor; /nonexistent/ann.cc cannot be read here"
    monkeypatch.delenv(kerberos.MARK)
    with pytest.raises(CampaignError, match="SendCredential of its job is not true"):
        kerberos.stored(NOW)


def test_renewal() -> None:
    """A renewed ticket lasts as long as the previous one, within its renewable life; an expired one is not renewed."""
    later = ticket.renewed(VALID, VALID.end - 1)
    assert later is not None
    assert later.end - later.start == VALID.end - VALID.start
    last = ticket.renewed(VALID._replace(renew_until=VALID.end + 10), VALID.end - 1)
    assert last is not None
    assert last.end == VALID.end + 10
    assert ticket.renewed(last, last.end - 1) is None
    assert ticket.renewed(VALID, VALID.end) is None
