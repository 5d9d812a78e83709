"""Deliver a message to a target through apprise, which reports failures instead of raising them.

Nothing remains afterwards: no process, no connection, and no thread except one that asks silent name servers
(``notifiers.dns``).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from faser_align.notifiers.formats import line
from faser_align.notifiers.message import Message
from faser_align.notifiers.targets import Target, redact

if TYPE_CHECKING:
    from faser_align.notifiers.services import Answer

_REASON_MAX = 300
_INSIST_S = 0.5  # repeats the alarm's exception after this time if a library swallowed it


def deliver(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> str | None:
    """Send a message to a target; return None if it was accepted, else the reason as ``ask`` gives it."""
    answer = ask(target, message, key=key, thread=thread, reached=reached)
    return None if answer.accepted else answer.words


def ask(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> "Answer":
    """Send a message to a target and wait for the answer.

    ``key`` identifies this message; a repeated one has the same key. ``thread`` is common to all messages of a
    campaign. ``reached`` lists the target's recipients or channels that already received this message in an earlier
    attempt: they are skipped, and new ones are added whatever happens afterwards. Returns the server's answer if it
    accepted, else one sentence with the reason; neither contains a credential.

    The caller bounds the time with SIGALRM and a handler that raises. Its exception ends here: the answer is then a
    timeout. A delivery that some of several recipients refused counts as refused.
    """
    from faser_align.notifiers.dns import interruptible
    from faser_align.notifiers.services import Answer

    with _watched_alarm() as alarm, interruptible():
        try:
            answer = _send(target, message, key, thread, [] if reached is None else reached)
        except BaseException as error:
            if not alarm.rang and not isinstance(error, Exception):
                raise
            answer = Answer(False, f"{type(error).__name__}: {error}")
    if answer.accepted:
        return Answer(True, line(redact(answer.words, [target]), _REASON_MAX))
    if alarm.rang:
        return Answer(False, f"target {target.name!r} timed out: its server did not answer in time")
    return Answer(False, line(f"target {target.name!r}: {redact(answer.words, [target])}", _REASON_MAX))


def _send(target: Target, message: Message, key: str, thread: str, reached: list[str]) -> "Answer":
    """Send through the transport of the target; return the unredacted answer."""
    from faser_align.notifiers.services import Answer, complaint, heard, http_statuses, open_service

    service = open_service(target.url)
    if service is None:
        return Answer(False, "apprise cannot use its address: write it as https://appriseit.com/services/ shows")
    if target.is_mail and not _is_encrypted(service):
        from faser_align.notifiers.mail import send_mail

        return send_mail(service, message, key=key, thread=thread, reached=reached)
    if target.is_mattermost:
        from faser_align.notifiers.mattermost import is_webhook, send_post

        if is_webhook(service):
            return send_post(service, message, reached)
    with heard() as records, http_statuses() as statuses:
        accepted = service.notify(notify_type=message.tone, **_content(target, service, message))
    if not accepted:
        return Answer(False, complaint(records))
    return Answer(True, f"HTTP status {statuses[-1]}" if statuses else "")


def _content(target: Target, service: Any, message: Message) -> dict[str, str]:
    """Return apprise's arguments: Markdown for a Mattermost bot, HTML for encrypted mail, else text."""
    if target.is_mattermost:
        return {"title": "", "body": message.markdown}
    if target.is_mail:
        return {"title": message.subject, "body": message.html, "body_format": "html"}
    content = {"title": message.subject, "body": message.text, "body_format": "text"}
    # By default apprise passes on texts that are too long, and the service refuses them.
    return content if "overflow=" in target.url else {**content, "overflow": "split"}


def _is_encrypted(service: Any) -> bool:
    """Return whether the mail is to be signed or encrypted with PGP, which only apprise can do."""
    return str(getattr(service, "pgp_mode", "no")) not in {"no", "none"}


@dataclass
class _Alarm:
    rang: bool = False


@contextmanager
def _watched_alarm() -> Iterator[_Alarm]:
    """Watch the caller's alarm and repeat it until the delivery has returned.

    apprise, smtplib and requests catch exceptions of their sockets, including TimeoutError, and some continue with the
    next recipient.
    """
    alarm = _Alarm()
    handler = signal.getsignal(signal.SIGALRM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield alarm
        return

    def ring(number: int, frame: FrameType | None) -> None:
        alarm.rang = True
        signal.setitimer(signal.ITIMER_REAL, _INSIST_S)
        handler(number, frame)

    signal.signal(signal.SIGALRM, ring)
    try:
        yield alarm
    finally:
        if alarm.rang:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
