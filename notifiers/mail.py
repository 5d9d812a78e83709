"""Send e-mail: apprise parses the address (providers, security, credentials), this module writes the mail.

apprise would flatten the HTML into the text part, one table cell per line, and give every mail a new Message-ID. Here
each part is written for its readers, and a repeated mail keeps its Message-ID, by which mail systems discard
duplicates.
"""

import hashlib
import smtplib
from collections.abc import Collection, Generator
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from typing import Any

from faser_align.campaign.layout import PLOT
from faser_align.notifiers.formats import line
from faser_align.notifiers.message import Message
from faser_align.notifiers.services import APP, Answer, secured

HEADER_CHARS_MAX = 200  # longer than any subject here; RFC 5322 allows 998
PICTURE = "<!-- picture -->"  # its place in message.html.j2
ALTERNATIVE = "Convergence: χ²/ndf, expected corrections and corrections against the iteration"
_LOOPBACK = ("localhost", "127.", "::1", "[::1]")


def send_mail(
    service: Any, message: Message, *, key: str, thread: str, reached: Collection[str]
) -> Generator[str, None, Answer]:
    """Send one mail to the recipients of an apprise mail service; return the server's answer or the error.

    Recipients in ``reached`` are skipped. Yields those that the server accepts.
    """
    everybody = _everybody(service)
    recipients = [address for address in everybody if address not in reached]
    if not everybody:
        return Answer(False, "its address has no valid recipient: add to=name@server")
    if not recipients:
        return Answer(True, "")
    letter = write_mail(service, message, key=key, thread=thread)
    answer = ""
    try:
        refused, answer = _hand_over(service, letter, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPResponseException as error:
        return Answer(False, f"the mail server answered {_answer(error.smtp_code, error.smtp_error)}")
    except (OSError, smtplib.SMTPException) as error:
        return Answer(False, f"the mail server could not be used: {error}")
    yield from (address for address in recipients if address not in refused)
    if not refused:
        return Answer(True, answer)
    address, (code, reason) = next(iter(refused.items()))
    others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return Answer(False, f"the mail server refused {address}{others}: {_answer(code, reason)}")


def left_out(service: Any, named: Collection[str]) -> str:
    """Return why a mail does not reach an address that the target names; empty if it reaches all of them."""
    known = [address.lower() for address in _everybody(service)]
    lost = [address for address in named if not any(each.endswith(address.lower()) for each in known)]
    return f"no mail goes to {lost[0]}: write recipients as name@server.domain, separated by commas" if lost else ""


def _everybody(service: Any) -> list[str]:
    addresses = [address for _, address in service.targets] + sorted(service.cc) + sorted(service.bcc)
    return list(dict.fromkeys(addresses))


def write_mail(service: Any, message: Message, *, key: str, thread: str) -> EmailMessage:
    """Return the mail: text and HTML as alternatives, the plot inline, one thread per campaign, the key in a header."""
    letter = EmailMessage()
    sender_name, sender = service.from_addr
    domain = sender.rpartition("@")[2]
    root = _message_id("campaign", thread, domain)
    letter["From"] = formataddr((line(sender_name) if sender_name else APP, sender))
    letter["To"] = ", ".join(formataddr((line(name) if name else "", address)) for name, address in service.targets)
    for header, addresses in (("Cc", service.cc), ("Reply-To", service.reply_to)):
        if addresses:
            names = service.names
            letter[header] = ", ".join(formataddr((names.get(a) or "", a)) for a in sorted(addresses))
    letter["Subject"] = message.subject
    letter["Date"] = format_datetime(datetime.now(UTC).astimezone())
    letter["Message-ID"] = _message_id("message", f"{thread}\n{key}", domain)
    letter["In-Reply-To"] = root
    letter["References"] = root
    letter["X-Faser-Align-Key"] = line(key)
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
    for header, value in service.headers.items():
        if header not in letter:
            letter[line(header)] = line(value)
    letter.set_content(message.text, cte="quoted-printable")
    if message.picture and PICTURE in message.html:
        _add_with_picture(letter, message.html, message.picture, domain)
    else:
        letter.add_alternative(message.html, subtype="html", cte="quoted-printable")
        if message.picture:  # the user's own template has no place for it
            letter.add_attachment(message.picture, maintype="image", subtype="png", filename=PLOT)
    # Python folds at 78 characters and would put the subject on the next line, where some readers show a leading blank.
    letter.policy = letter.policy.clone(max_line_length=HEADER_CHARS_MAX)
    return letter


def _add_with_picture(letter: EmailMessage, html: str, picture: bytes, domain: str) -> None:
    """Add the HTML with the picture in its place, which mail programs show without asking another server."""
    name = _message_id("picture", hashlib.sha256(picture).hexdigest(), domain)
    shown = f'<p><img src="cid:{name[1:-1]}" alt="{ALTERNATIVE}" style="max-width: 100%; height: auto"></p>'
    letter.add_alternative(html.replace(PICTURE, shown, 1), subtype="html", cte="quoted-printable")
    *_, part = letter.iter_parts()
    part.add_related(picture, maintype="image", subtype="png", cid=name, filename=PLOT, disposition="inline")


def _message_id(kind: str, text: str, domain: str) -> str:
    digest = hashlib.sha256(f"{kind}\n{text}".encode(errors="backslashreplace")).hexdigest()[:32]
    return f"<{kind}.{digest}@{domain}>"


class _Closing(smtplib.SMTP):
    """SMTP client that closes its socket if the greeting is interrupted; smtplib leaves that to the garbage collector.

    ``said`` is the server's answer to the mail's data, which smtplib does not return.
    """

    said = ""

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        try:
            return super().connect(host, port, source_address)
        except BaseException:
            self.close()
            raise

    def data(self, msg: Any) -> tuple[int, bytes]:
        code, words = super().data(msg)
        self.said = _answer(code, words)
        return code, words


class _ClosingSecured(_Closing, smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""


def _hand_over(service: Any, letter: EmailMessage, recipients: list[str]) -> tuple[dict[str, tuple[int, bytes]], str]:
    """Send the mail; return the refused recipients with the server's answers, and its answer to the data."""
    server = _connect(service)
    try:
        refused = server.send_message(letter, service.from_addr[1], recipients)
        # The server has accepted the mail: an error while closing must not count as a failed delivery.
        with suppress(OSError, smtplib.SMTPException):
            server.putcmd("QUIT")
        return refused, server.said
    finally:
        server.close()


def _connect(service: Any) -> _Closing:
    """Connect, start TLS and log in as the address requires."""
    host, port, timeout_s = service.smtp_host, service.port, service.socket_connect_timeout
    # Otherwise smtplib looks up our own name in the DNS; loopback does not need it.
    own_name = "localhost" if host.lower().startswith(_LOOPBACK) else None
    if service.secure_mode == "ssl":
        tls = secured(verified=service.verify_certificate)
        server: _Closing = _ClosingSecured(host, port, own_name, timeout=timeout_s, context=tls)
    else:
        server = _Closing(host, port, own_name, timeout=timeout_s)
    try:
        if service.secure_mode == "starttls":
            server.starttls(context=secured(verified=service.verify_certificate))
        if service.user and service.password:
            server.login(service.user, service.password)
    except BaseException:
        server.close()
        raise
    return server


def _answer(code: int, reason: bytes | str) -> str:
    words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    return f"{code} {words}".strip()
