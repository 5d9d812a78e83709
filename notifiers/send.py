"""Deliver a message to a target through apprise, which reports failures instead of raising them."""

from collections.abc import Collection, Generator, Iterator

from faser_align.notifiers import LATE
from faser_align.notifiers.formats import line
from faser_align.notifiers.message import Message
from faser_align.notifiers.services import APPRISE, REQUESTS, Answer, complaint, heard, http_status, open_service
from faser_align.notifiers.targets import Target, redact
from faser_align.system.bounded import Worker

_REASON_MAX = 300


def ask(worker: Worker, target: Target, message: Message, *, key: str, thread: str, wait_s: float) -> Answer:
    """Send a message as ``send`` does, in a process that is killed after ``wait_s``; return the answer."""
    ended = worker.call(__name__, "send", target, message, key, thread, wait_s=wait_s)
    if ended.found and isinstance(ended.found[-1], Answer):
        return ended.found[-1]
    return Answer(False, LATE.format(target.name) if ended.late else f"target {target.name!r}: {ended.problem}")


def send(
    target: Target, message: Message, key: str, thread: str, reached: Collection[str] = ()
) -> Iterator[str | Answer]:
    """Send a message to a target and wait for the answer; the caller bounds the time by killing the process.

    Args:
        target, message: the message, and its target.
        key: identifies this message; a repeated one has the same key.
        thread: common to all messages of a campaign.
        reached: recipients or channels of the target that received this message in an earlier attempt; they are skipped.

    Yields:
        Each recipient or channel as soon as it has the message, and at last the answer: the server's if it accepted, else one
        sentence with the reason; neither contains a credential. A delivery that some recipients refused counts as refused.
    """
    try:
        answer = yield from _send(target, message, key, thread, reached)
    except Exception as error:  # noqa: BLE001 - a library's failure is the answer
        answer = Answer(False, f"{type(error).__name__}: {error}")
    words = redact(answer.words, [target])
    yield Answer(answer.accepted, line(words if answer.accepted else f"target {target.name!r}: {words}", _REASON_MAX))


def _send(
    target: Target, message: Message, key: str, thread: str, reached: Collection[str]
) -> Generator[str, None, Answer]:
    """Send through the transport of the target; return the unredacted answer."""
    service = open_service(target.url)
    if service is None:
        return Answer(False, "apprise cannot use its address: write it as https://appriseit.com/services/ shows")
    # Only apprise can sign or encrypt with PGP.
    if target.is_mail and str(service.pgp_mode) in {"no", "none"}:
        from faser_align.notifiers.mail import left_out, send_mail

        answer = yield from send_mail(service, message, key=key, thread=thread, reached=reached)
        why = left_out(service, target.recipients)
        return Answer(False, why) if answer.accepted and why else answer
    if target.is_mattermost and service.mode == "webhook":  # not as a bot
        from faser_align.notifiers.mattermost import send_post

        return (yield from send_post(service, message, reached))
    with heard(APPRISE) as records, heard(REQUESTS) as requests:
        accepted = service.notify(notify_type=message.tone, **_content(target, message))
    return Answer(True, http_status(requests)) if accepted else Answer(False, complaint(records))


def _content(target: Target, message: Message) -> dict[str, str]:
    """Return apprise's arguments: Markdown for a Mattermost bot, HTML for encrypted mail, else text."""
    if target.is_mattermost:
        return {"title": "", "body": message.markdown}
    if target.is_mail:
        return {"title": message.subject, "body": message.html, "body_format": "html"}
    content = {"title": message.subject, "body": message.text, "body_format": "text"}
    # By default apprise passes on texts that are too long, and the service refuses them.
    return content if "overflow=" in target.url else {**content, "overflow": "split"}
