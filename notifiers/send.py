"""How a message gets to a target: through apprise, which is asked what became of it, for it does not raise.

Nothing is left behind: no process, no connection, and no thread but one that asks silent name servers (``names``).
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
_INSIST_S = 0.5  # an exception of the alarm that a library swallowed is raised again after this time


def deliver(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> str | None:
    """Send a message to a target and wait for the answer; returns None if it was accepted, else why not, as ``ask`` says it."""
    answer = ask(target, message, key=key, thread=thread, reached=reached)
    return None if answer.accepted else answer.words


def ask(target: Target, message: Message, *, key: str, thread: str, reached: list[str] | None = None) -> "Answer":
    """Send a message to a target and wait for the answer.

    ``key`` tells this message from all others: one that is sent again carries it again. ``thread`` is common to all
    messages of a campaign. ``reached`` are the recipients or channels of the target that have this message already, from
    an earlier try: they are passed over, and those that get it now are added, whatever happens afterwards. Returns the
    answer: the server's words if it accepted, else one sentence that says why not; neither holds a credential.

    The caller bounds the time with SIGALRM and a handler that raises. Whatever that raises ends here: the answer is
    then that it timed out. A delivery to several recipients of which some were refused counts as refused.
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
    """Send by the way that suits the target; returns what was answered, secrets and all."""
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
    """What apprise is given: Markdown as it is for a bot of Mattermost, HTML for encrypted mail, else text."""
    if target.is_mattermost:
        return {"title": "", "body": message.markdown}
    if target.is_mail:
        return {"title": message.subject, "body": message.html, "body_format": "html"}
    content = {"title": message.subject, "body": message.text, "body_format": "text"}
    # Left to itself apprise hands on what is longer than the service takes, and the service refuses it.
    return content if "overflow=" in target.url else {**content, "overflow": "split"}


def _is_encrypted(service: Any) -> bool:
    """Whether the mail is to be signed or encrypted with PGP, which apprise alone can do."""
    return str(getattr(service, "pgp_mode", "no")) not in {"no", "none"}


@dataclass
class _Alarm:
    rang: bool = False


@contextmanager
def _watched_alarm() -> Iterator[_Alarm]:
    """Notice the caller's alarm, and let it insist.

    apprise, smtplib and requests catch the exceptions of their sockets, TimeoutError among them, and some go on with
    the next recipient: so the alarm rings again until the delivery has returned.
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
