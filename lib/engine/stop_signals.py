"""Signals that ask a run to save and stop, and processes that stop together."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from ..utils.distributed import collectives

logger = logging.getLogger(__name__)

_DEFAULT: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Interrupted(Exception):
    """The run was stopped by a signal, and its state is saved."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], str]]:
    """Turn the first SIGINT or SIGTERM into a request; the second acts at once.

    Afterwards the previous handlers are restored. Only the main thread of a program can
    take signals; in another thread there are none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield str
        return
    received: list[str] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def act_at_once() -> None:
        restore()
        for number, handler in before.items():
            # Scripts start background jobs with SIGINT ignored; a user who sends a
            # second signal by hand wants this process to end in spite of that.
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


def heed(signal_here: str, *, told: bool) -> str:
    """Return the reason to stop after an update; "" to continue.

    A single process acts on a signal at once. Several act once all know of it.

    Args:
        signal_here: signal that this process received, or "".
        told: whether any process reported a signal in the update.
    """
    if not collectives.is_distributed():
        return signal_here
    return (signal_here or "another process") if told else ""


def agree_to_stop(signal_here: str) -> str:
    """Return the reason to stop if any process received a signal; "" to continue."""
    if not collectives.is_distributed():
        return signal_here
    stopped = collectives.all_sum(torch.tensor(float(bool(signal_here))))
    return heed(signal_here, told=bool(stopped))


def stop_if(cause: str, done: int) -> None:
    """End a run whose state is saved, if there is a reason to stop.

    Raises:
        Interrupted: after ``done`` updates, once all processes have arrived here.
    """
    if not cause:
        return
    collectives.barrier()  # launchers end all processes once one has ended
    raise Interrupted(
        f"stopped by {cause} after iteration {done}; the same command resumes there"
    )
