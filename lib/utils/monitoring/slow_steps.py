"""Lines in the log for what takes longer than a moment."""

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

SECONDS = 2.0
"""Time after which a step is announced."""


@contextmanager
def named_step(text: str) -> Iterator[None]:
    """Log what a block does, and its seconds at the end."""
    logger.info("%s ...", text)
    begun = time.monotonic()
    yield
    logger.info("%s: %.1f s", text, time.monotonic() - begun)


@contextmanager
def slow_step(text: str) -> Iterator[None]:
    """Do as `named_step` if the block is not done at once, and nothing otherwise."""
    told = threading.Event()

    def tell() -> None:
        told.set()
        logger.info("%s ...", text)

    begun = time.monotonic()
    timer = threading.Timer(SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if told.is_set():
        logger.info("%s: %.1f s", text, time.monotonic() - begun)


def slow_first(text: str, items: Iterable[_T]) -> Iterator[_T]:
    """Yield all items; what a loop does with the first one is a `slow_step`."""
    rest = iter(items)
    for item in itertools.islice(rest, 1):
        with slow_step(text):
            yield item
    yield from rest
