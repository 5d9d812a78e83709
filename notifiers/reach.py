"""Check that a target's server is reachable, without sending anything: connect, with TLS if the server uses it."""

import socket
import ssl
from typing import Any, NamedTuple

from faser_align.fsm.errors import UserError
from faser_align.notifiers.services import open_service, secured
from faser_align.notifiers.targets import Target

WAIT_S = 10.0
# Schemes of addresses that name the server.
_SERVERS = frozenset({"mmost", "mmosts", "json", "jsons", "xml", "xmls", "form", "forms"})


class Server(NamedTuple):
    """The server that receives a target's messages; ``tls`` from the first byte, ``greets`` if it speaks first."""

    host: str
    port: int
    tls: bool
    greets: bool
    verified: bool


def server_of(target: Target) -> Server | None:
    """Return the server of a target, or None if its address does not name one.

    Raises UserError if the address cannot be used.
    """
    service: Any = open_service(target.url)
    if service is None:
        raise UserError(f"the address of target {target.name!r} cannot be used; see `faser-align notify test`")
    verified = bool(service.verify_certificate)
    if target.is_mail:
        tls = service.secure_mode == "ssl"
        return Server(service.smtp_host, service.port or (465 if tls else 25), tls, True, verified)
    if target.scheme in _SERVERS:
        tls = bool(service.secure)
        return Server(service.host, service.port or (443 if tls else 80), tls, False, verified)
    return None


def reach(server: Server) -> str:
    """Connect to a server and disconnect; return a sentence about it, or raise UserError if it is unreachable."""
    where = f"{server.host}:{server.port}"
    try:
        with socket.create_connection((server.host, server.port), timeout=WAIT_S) as plain:
            if server.tls:
                with secured(verified=server.verified).wrap_socket(plain, server_hostname=server.host) as secure:
                    return f"{where} answers ({secure.version()}{', and greets' if _greeted(secure, server) else ''})"
            return f"{where} answers{' and greets' if _greeted(plain, server) else ''}"
    except ssl.SSLError as error:
        raise UserError(f"{where} failed in the TLS handshake: {error.reason or error}") from None
    except OSError as error:
        raise UserError(f"{where} cannot be reached: {error.strerror or error}") from None


def _greeted(connection: socket.socket, server: Server) -> bool:
    if not server.greets:
        return False
    greeting = connection.recv(4)
    if not greeting.startswith(b"220"):
        raise UserError(f"{server.host}:{server.port} is not a mail server: it does not greet like one")
    return True
