"""Test the signals that end a command."""

import os
import signal
import threading

import pytest

from faser_align.system import interrupts


@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_is_delayed(fails: bool) -> None:
    """Ctrl-C in the block raises its exception after it, even if the block fails; the previous handlers are restored."""
    before = [signal.getsignal(number) for number in interrupts.INTERRUPTS]
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.delayed():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done.append("in the block")
        if fails:
            raise OSError
    assert done == ["in the block"]
    assert [signal.getsignal(number) for number in interrupts.INTERRUPTS] == before


def test_an_interrupt_has_what_was_done() -> None:
    """The KeyboardInterrupt after the block has as arguments the sentences that the block has added."""
    with pytest.raises(KeyboardInterrupt) as interrupt, interrupts.delayed() as done:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done.append("it runs")
    assert interrupt.value.args == ("it runs",)


def test_nohup_keeps_a_command_running() -> None:
    """A signal that the caller ignores, as nohup does, does not interrupt the block; SIGTERM does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    done = ""
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.raised():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGHUP)
            done = "after SIGHUP"
            os.kill(os.getpid(), signal.SIGTERM)
        assert done == "after SIGHUP"
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_is_never_interrupted() -> None:
    """In a thread the block changes no handler."""
    found: list[object] = []

    def run() -> None:
        with interrupts.delayed():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
