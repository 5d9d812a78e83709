"""Test parsing the output of site tools, and finding them by PATH."""

import os
from datetime import datetime
from pathlib import Path

import pytest

from faser_align.fsm.errors import CampaignError
from faser_align.system import site_tools
from faser_align.system.site_tools import Quota

NOW = datetime(2026, 11, 25, 10, 0, 0)
KLIST = """\
Ticket cache: FILE:/tmp/krb5cc_1000_abc
Default principal: somebody@CERN.CH

Valid starting       Expires              Service principal
11/25/{year} 09:00:00  11/26/{year} 10:00:00  krbtgt/CERN.CH@CERN.CH
\trenew until 11/30/{year} 09:00:00
11/25/{year} 09:00:01  11/25/{year} 11:00:00  afs/cern.ch@CERN.CH
"""
HEIMDAL = """\
Credentials cache: FILE:/tmp/krb5cc_1000
        Principal: somebody@CERN.CH

  Issued                Expires               Principal
Nov 25 09:00:00 2026  {end}  krbtgt/CERN.CH@CERN.CH
"""
EOS = (
    "quota=node uid=somebody space=/eos/user/ usedbytes=4000 usedlogicalbytes=2000 usedfiles=3 maxbytes=20000 "
    "maxlogicalbytes=10000 maxfiles=9 percentageusedbytes=20.00 statusbytes=ok statusfiles=ok\n"
)
AFS = "Volume Name                    Quota       Used %Used   Partition\nuser.somebody      {quota}    7300000   73%         40%  \n"


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        (KLIST.format(year="2026"), 24.0),
        (KLIST.format(year="26"), 24.0),
        (HEIMDAL.format(end="Nov 26 10:00:00 2026"), 24.0),
        (HEIMDAL.format(end=">>>Expired<<<       "), 0.0),
        ("klist: No credentials cache found", None),
        (KLIST.format(year="2026").replace("krbtgt/", "host/"), None),
        (KLIST.format(year="2025"), -8736.0),
    ],
)
def test_the_ticket_s_life_is_read(text: str, hours: float | None) -> None:
    """klist of MIT and Heimdal gives the end of the ticket-granting ticket; other tickets do not count."""
    found = site_tools.parse_klist(text, NOW)
    assert (None if found is None else found / 3600) == hours


@pytest.mark.parametrize(
    ("line", "now", "hours"),
    [
        ("User's (AFS ID 1000) tokens for afs@cern.ch [Expires Nov 26 10:00]", NOW, 24.0),
        ("Tokens for afs@cern.ch [Expires Nov 26 10:00]", NOW, 24.0),
        ("User's (AFS ID 1000) tokens for afs@cern.ch [Expires Jan  1 10:00]", datetime(2026, 12, 31, 10, 0), 24.0),
        ("User's (AFS ID 1000) tokens for afs@cern.ch [>> Expired <<]", NOW, 0.0),
        ("", NOW, None),
    ],
)
def test_the_token_s_life_is_read(line: str, now: datetime, hours: float | None) -> None:
    """Dates of tokens without a year mean the nearest one, also across New Year."""
    found = site_tools.parse_tokens(f"\nTokens held by the Cache Manager:\n\n{line}\n   --End of list--\n", now)
    assert (None if found is None else found / 3600) == hours


def test_quotas_are_read() -> None:
    """fs lq prints kilobytes, eos quota bytes; a quota may be unlimited, and of two the tighter one counts."""
    assert site_tools.parse_afs_quota(AFS.format(quota="10000000")) == Quota(7_300_000 * 1024, 10_000_000 * 1024)
    assert site_tools.parse_afs_quota(AFS.format(quota="no limit")) == Quota(7_300_000 * 1024, None)
    assert site_tools.parse_afs_quota("fs: Invalid argument") is None
    assert site_tools.parse_eos_quota(EOS) == Quota(2000, 10_000)
    assert site_tools.parse_eos_quota(EOS.replace("maxlogicalbytes=10000", "maxlogicalbytes=0")) == Quota(2000, None)
    assert site_tools.parse_eos_quota(EOS + EOS.replace("uid=somebody", "gid=zp").replace("=2000 ", "=9990 ")) == Quota(
        9990, 10_000
    )
    assert site_tools.parse_eos_quota("") is None
    assert Quota(5, 3).left == 0


def test_tools_are_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool in PATH runs with a known date language; a failing one gives its reason; a missing one is distinguished."""
    tool = tmp_path / "klist"
    tool.write_text('#!/bin/sh\nif [ "$1" = fail ]; then echo no credentials >&2; exit 1; fi\necho "$LC_ALL $MORE"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert site_tools.run("klist", environment={"MORE": "x"}) == "C x\n"
    with pytest.raises(CampaignError, match=r"`klist fail` failed with exit status 1: no credentials"):
        site_tools.run("klist", "fail")
    with pytest.raises(site_tools.AbsentError):
        site_tools.run("no-such-tool")
