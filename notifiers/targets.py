"""Read the user's file of targets, and redact its secrets.

The file is TOML. A target is an address that apprise understands, or a table with the events it receives::

    [targets]
    me = "mailtos://user:password@example.org?to=me@example.org"

    [targets.shift]
    url = "mmosts://mattermost.example.org/token"
    events = ["held", "failed"]

No text that this module returns contains an address or a credential.
"""

import base64
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from faser_align.fsm import table
from faser_align.fsm.errors import UserError
from faser_align.system.permissions import READING, refuse_everybody

DEFAULT_FILE = "~/.config/faser-align/targets.toml"

# Events of a campaign, as in a message's payload; "end" covers END_EVENTS and "stuck".
END_EVENTS = frozenset(table.ENDS)
EVENTS = END_EVENTS | {"end", "stuck", "held", "lost", "submitted", "iteration", "test"}

HIDDEN = "***"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAIL_SCHEMES = frozenset({"mailto", "mailtos"})
_MATTERMOST_SCHEMES = frozenset({"mmost", "mmosts"})
# Schemes whose host and user are a server and a display name; elsewhere both may be parts of a token.
_WEB_SCHEMES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "http", "https"})
_SERVER_SCHEMES = _MAIL_SCHEMES | _WEB_SCHEMES | _MATTERMOST_SCHEMES
_WEB_TOKEN_MIN = 8  # in plain web addresses: a shorter part of the path is a word, not a token
# Arguments of an address that contain no secret and may occur in a reason.
_OPEN_ARGUMENTS = frozenset(
    {"bcc", "cc", "channel", "channels", "cto", "format", "from", "image", "mode", "name", "overflow", "reply", "rto"}
    | {"smtp", "to", "verify"},
)
_WHOLE_WORD_MAX = 3  # replace a shorter secret only as a whole word, or texts become unreadable


@dataclass(frozen=True)
class Target:
    """One destination."""

    name: str
    url: str = field(repr=False)  # contains credentials
    events: tuple[str, ...] = ()  # that it receives; empty: all notified events
    source: str = ""

    @property
    def scheme(self) -> str:
        """Name of the service in the address: ``mailto``, ``mmosts``."""
        return self.url.partition("://")[0].lower()

    @property
    def is_mail(self) -> bool:
        """Whether messages are sent by SMTP."""
        return self.scheme in _MAIL_SCHEMES

    @property
    def is_mattermost(self) -> bool:
        """Whether messages are sent to a Mattermost server."""
        return self.scheme in _MATTERMOST_SCHEMES

    @property
    def forms(self) -> Collection[str]:
        """The forms of a message that its service shows, by the names of ``notifiers.message.FORMS``."""
        return ("md",) if self.is_mattermost else ("txt", "html") if self.is_mail else ("txt",)

    @property
    def recipients(self) -> list[str]:
        """The mail addresses after the server and in ``to``, ``cc`` and ``bcc``, also those that apprise drops silently."""
        _, path, query = _parts(self.url.partition("://")[2])
        arguments = [pair.partition("=") for pair in query.split("&")]
        named = [path, *(value for key, _, value in arguments if key.lower() in ("to", "cc", "bcc"))]
        # Before <, as in Ann@CERN <ann@x.org>, is a display name.
        return re.findall(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*(?![\w\s\".-]*<)", unquote(" ".join(named)))

    def wants(self, event: str) -> bool:
        """Return whether this target receives an event; it always receives test messages."""
        if not self.events or event == "test":
            return True
        return event in self.events or ("end" in self.events and event in END_EVENTS | {"stuck"})


def load_targets(path: str | os.PathLike[str]) -> dict[str, Target]:
    """Read the targets file; ``~`` is the user's home.

    Raises UserError if it is missing, readable by others, not TOML, or contains an unknown key.
    """
    file = Path(os.path.expanduser(path))
    table = _read(file)
    unknown = sorted(set(table) - {"targets"})
    if unknown:
        raise UserError(f"{file}: key {_shown(unknown[0])} is unknown; all keys must be below [targets]")
    entries = table.get("targets", {})
    if not isinstance(entries, dict):
        raise UserError(f'{file}: targets must be a table; write [targets], then name = "address" below it')
    return {name: _target(file, name, value) for name, value in entries.items()}


def access_note(path: str | os.PathLike[str]) -> str | None:
    """Return a warning about the file's protection on AFS, which ignores mode bits; empty elsewhere."""
    file = Path(os.path.expanduser(path))
    if not _on_afs(file):
        return None
    return f"{file} is on AFS, where the folder's access list decides who reads it: check it with `fs listacl`"


def check_readers(path: str | os.PathLike[str]) -> None:
    """Raise UserError if an AFS ACL lets everybody, or every account, read the file; starts a program on AFS."""
    file = os.path.realpath(os.path.expanduser(path))
    refuse_everybody(os.path.dirname(file), READING, "the file with the targets")


def check_target(target: Target) -> None:
    """Raise UserError if apprise does not understand the address, or drops a recipient; imports apprise."""
    from faser_align.notifiers.mail import left_out
    from faser_align.notifiers.services import open_service

    service = open_service(target.url)
    where = f"{target.source}: " if target.source else ""
    if service is None:
        raise UserError(
            f"{where}apprise cannot use the address of target {target.name!r}: "
            "write it as https://appriseit.com/services/ shows"
        )
    if target.is_mail and (why := left_out(service, target.recipients)):
        raise UserError(f"{where}target {target.name!r}: {why}")


def redact(text: str, targets: Iterable[Target]) -> str:
    """Return ``text`` without the addresses, passwords and tokens of ``targets``."""
    secrets = {secret for target in targets for secret in _secrets(target)}
    for secret in sorted(secrets, key=lambda value: (-len(value), value)):
        pattern = re.escape(secret)
        if len(secret) <= _WHOLE_WORD_MAX:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)
    return text


def redact_all(value: Any, targets: Collection[Target]) -> Any:
    """Return ``value`` with every string in nested lists and mappings redacted."""
    if isinstance(value, str):
        return redact(value, targets)
    if isinstance(value, Mapping):
        return {key: redact_all(inner, targets) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner, targets) for inner in value]
    return value


def _read(file: Path) -> Mapping[str, object]:
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077 and not _on_afs(file):
                raise UserError(f"{file} holds credentials and is open to others (mode {mode:o}): chmod 600 {file}")
            return tomllib.loads(stream.read().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f'{file} does not exist: write it with [targets], name = "address", and chmod 600 it') from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # The rest of the parser's message may quote the file.
        place = re.search(r"at line \d+, column \d+|at end of document", str(error))
        raise UserError(
            f'{file} is not TOML {place[0] if place else ""}: a target is written name = "address"'
        ) from None


def _target(file: Path, name: str, value: object) -> Target:
    if not _NAME.fullmatch(name):
        raise UserError(f"{file}: a target's name is made of letters, digits, '.', '_' and '-'; rename the target")
    key = f"{file}: targets.{name}"
    if isinstance(value, dict):
        unknown = sorted(set(value) - {"url", "events"})
        if unknown:
            raise UserError(f"{key} has the unknown key {_shown(unknown[0])}; allowed are url and events")
        return Target(name, _url(key, value.get("url")), _events(key, value.get("events", [])), str(file))
    return Target(name, _url(key, value), (), str(file))


def _url(key: str, value: object) -> str:
    if not isinstance(value, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", value):
        raise UserError(f'{key} has no address; write one such as "mailto://server?from=...&to=..." as its value')
    return value


def _events(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(event, str) for event in value):
        raise UserError(f'{key}.events must be a list of words such as ["held", "end"]')
    unknown = [event for event in value if event not in EVENTS]
    if unknown:
        raise UserError(f"{key}.events has the unknown {_shown(unknown[0])}; allowed are {', '.join(sorted(EVENTS))}")
    return tuple(value)


def _shown(word: str) -> str:
    """Return a word of the file for an error message, unless it may be an address in the wrong place."""
    return repr(word) if _NAME.fullmatch(word) and len(word) <= 20 else "that is not shown here"


def _on_afs(file: Path) -> bool:
    return os.path.realpath(file).startswith("/afs/")


def _secrets(target: Target) -> set[str]:
    """Return all spellings of an address's secrets: the address, its password, tokens in host, path and arguments."""
    rest = target.url.partition("://")[2]
    authority, path, query = _parts(rest)
    account, _, server = authority.rpartition("@")
    user, _, password = account.partition(":")
    secrets = {password, account if password else ""}
    if target.scheme not in _MAIL_SCHEMES:
        shortest = _WEB_TOKEN_MIN if target.scheme in _WEB_SCHEMES else 1
        secrets.update(piece for piece in path.split("/") if len(piece) >= shortest)
    if target.scheme not in _SERVER_SCHEMES:
        secrets.update([user, *(piece for piece in server.split(":") if "." not in piece and not piece.isdecimal())])
        secrets.add(server if "." not in server else "")
    secrets.update(value for key, value in parse_qsl(query) if key.lower() not in _OPEN_ARGUMENTS)
    secrets |= {spelled for value in secrets for spelled in (unquote(value), quote(unquote(value), safe=""))}
    if password:
        plain = unquote(password)
        for login in (f"\0{unquote(user)}\0{plain}", plain):  # as in SMTP's AUTH PLAIN and LOGIN
            secrets.add(base64.b64encode(login.encode()).decode())
    return (secrets | {target.url, rest}) - {""}


def _parts(rest: str) -> tuple[str, str, str]:
    """Split an address into server, path and arguments; unlike urlsplit, accept '#' and '[' in a password."""
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, path, query
