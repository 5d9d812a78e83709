"""Test the name of the user and the folder of the program's data where the environment lacks them."""

import os
import pwd
from pathlib import Path

import pytest

from faser_align.fsm.errors import UserError
from faser_align.pool import personal
from faser_align.state import registry
from faser_align.system import account


def test_one_folder_has_the_pool_and_the_list_of_campaigns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative XDG_STATE_HOME is ignored, so that neither depends on the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASER_ALIGN_POOL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    assert personal.default_folder() == tmp_path / "home/.local/state/faser-align/pool"
    assert registry.home() == tmp_path / "home/.local/state/faser-align/campaigns"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert account.state_folder() == tmp_path / "faser-align"


def test_a_number_without_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user without a name is identified by number, and must set a home folder for the program's data."""
    for name in ("HOME", "XDG_STATE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert account.user() == str(os.getuid())
    with pytest.raises(UserError, match="set HOME to a folder"):
        registry.home()
