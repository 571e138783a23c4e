"""Signals that ask a run to save and stop."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

_DEFAULT: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], str]]:
    """Turn the first SIGINT or SIGTERM into a request; the second acts at once.

    Afterwards the handlers are those from before.
    """
    received: list[str] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def act_at_once() -> None:
        restore()
        for number, handler in before.items():
            # Scripts start background jobs with SIGINT ignored; whoever has sent one
            # signal by hand and sends another wants this process to end all the same.
            if handler == signal.SIG_IGN:
                signal.signal(number, _DEFAULT[number])

    def request(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        logger.warning(
            "%s: saving after this iteration; once more to stop at once", received[0]
        )
        act_at_once()

    for number in _DEFAULT:
        before[number] = signal.signal(number, request)
    try:
        yield lambda: received[0] if received else ""
    finally:
        restore()
