"""Run the site's tools for quotas and tickets, found by PATH, and parse their output."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from faser_align.fsm.errors import CampaignError

ANSWER_S_MAX = 15
KB = 1024


class AbsentError(Exception):
    """The tool is not on this machine, or the check does not apply; the text says why."""


class Quota(NamedTuple):
    """Used and allowed bytes; None: no limit."""

    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Bytes that may still be written; None: no limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


def run(tool: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the output of a tool, which is looked up in PATH; ``environment`` adds to the variables of this process.

    Raises:
        AbsentError: there is no such tool.
        CampaignError: it fails or does not end in time; the sentence ends with its last output.
    """
    program = shutil.which(tool)
    if program is None:
        raise AbsentError
    shown = " ".join([tool, *arguments])
    try:
        done = subprocess.run(
            [program, *arguments],
            # Dates are parsed, so the language must be known.
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CampaignError(f"`{shown}` gave no answer within {ANSWER_S_MAX} s; try again") from None
    except OSError as error:
        raise CampaignError(f"`{shown}` cannot run: {error.strerror}") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-200:] or "no output"
        raise CampaignError(f"`{shown}` failed with exit status {done.returncode}: {words}")
    return done.stdout


def parse_afs_quota(text: str) -> Quota | None:
    """Parse ``fs listquota PATH`` (kB): name, quota or ``no limit``, used, %, partition."""
    found = re.search(r"^\S+\s+(no limit|\d+)\s+(\d+)\s+\d+%", text, re.MULTILINE)
    if found is None:
        return None
    return Quota(int(found[2]) * KB, None if found[1] == "no limit" else int(found[1]) * KB)


def parse_eos_quota(text: str) -> Quota | None:
    """Parse the user's quota from ``eos quota ls -m -p PATH``: lines of ``key=value`` in logical bytes.

    A limit of 0 with the status ``ignored`` means none. Of several quotas (user's, group's) the tightest counts.
    """
    found = []
    for line in text.splitlines():
        said = dict(word.partition("=")[::2] for word in line.split())
        if said.get("quota") != "node":
            continue
        kind = "logicalbytes" if said.get("maxlogicalbytes", "").isdecimal() else "bytes"
        used, limit = said.get(f"used{kind}", ""), said.get(f"max{kind}", "")
        if used.isdecimal() and limit.isdecimal():
            found.append(Quota(int(used), int(limit) or None))
    limited = [quota for quota in found if quota.left is not None]
    return min(limited, key=lambda quota: quota.left or 0) if limited else next(iter(found), None)


_MIT = r"\d\d/\d\d/\d\d(?:\d\d)? \d\d:\d\d:\d\d"
_HEIMDAL = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"
_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d"
_DATE = f"(?:{_MIT}|{_HEIMDAL}|{_ISO})"
_TICKET = re.compile(rf"^\s*{_DATE}\s+({_DATE}|>>>Expired<<<)\s+krbtgt/", re.MULTILINE)
_FORMS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%y %H:%M:%S", "%b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")


def parse_klist(text: str, now: datetime) -> float | None:
    """Return for how long (s) the ticket in ``klist``'s output (MIT, Heimdal) is valid; None without one.

    It is the ticket-granting ticket. ``now`` is local time without a zone, as are the dates.
    """
    ends = [_seconds(found, now) for found in _TICKET.findall(text)]
    return max((end for end in ends if end is not None), default=None)


def parse_tokens(text: str, now: datetime) -> float | None:
    """Return for how long (s) the longest AFS token in the output of ``tokens`` is valid; None without one.

    The result is at most 0 if it has expired. Dates have no year: the end is taken as the date nearest to ``now``, local
    time without a zone.
    """
    ends = []
    for line in text.splitlines():
        if "okens for" not in line:
            continue
        found = re.search(r"\[Expires ([A-Z][a-z]{2}) +(\d+) (\d\d:\d\d)\]", line)
        if found:
            dates = [
                datetime.strptime(f"{year} {found[1]} {found[2]} {found[3]}", "%Y %b %d %H:%M")
                for year in (now.year - 1, now.year, now.year + 1)
                if not (found[1] == "Feb" and found[2] == "29" and year % 4)
            ]
            ends.append(min(((date - now).total_seconds() for date in dates), key=abs))
        else:
            ends.append(0.0)  # [>> Expired <<]
    return max(ends, default=None)


def _seconds(text: str, now: datetime) -> float | None:
    if text.startswith(">>>"):
        return 0.0
    for form in _FORMS:
        try:
            return (datetime.strptime(" ".join(text.split()), form) - now).total_seconds()
        except ValueError:
            continue
    return None


def local_now() -> datetime:
    """Return local time without a zone, as the tools print it."""
    return datetime.now(UTC).astimezone().replace(tzinfo=None)


def ticket(tool: str) -> str:
    """Return how long the ticket of ``klist``, or the token of ``tokens``, is valid.

    Raises AbsentError without the tool, CampaignError without a valid ticket or token.
    """
    text = run(tool)
    left_s = (parse_klist if tool == "klist" else parse_tokens)(text, local_now())
    if left_s is None or left_s <= 0:
        raise CampaignError(f"`{tool}` shows no valid token")
    return f"valid for {left_s / 3600:.1f} h"
