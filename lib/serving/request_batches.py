"""Collect the pictures of concurrent requests into batches for one thread.

One thread owns the detector: passes that run side by side on the same cores only slow
each other down, and a batch costs less than its pictures one by one.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from ..detector import Detector, Result
from ..detector.batching import Prepared, of_like_shape
from ..utils.shared_cores import adapt_threads

logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """More pictures wait than the queue may hold; try again later."""


class _Waiting(NamedTuple):
    picture: Prepared
    answer: "Future[Result]"


class RequestBatches:
    """A bounded queue of pictures, and the thread that detects objects in them.

    Args:
        detector: called from one thread only.
        max_batch: pictures in one pass, at most.
        wait_seconds: time for which the first picture of a batch waits for others.
        limit: pictures that may wait, without those being detected.
        on_batch: called with the number of pictures of each pass.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        score_threshold: float,
        max_batch: int = 8,
        wait_seconds: float = 0.005,
        limit: int = 32,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._detector = detector
        self._threshold = score_threshold
        self._max_batch = max_batch
        self._wait = wait_seconds
        self._limit = limit
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of pictures that wait."""
        return len(self._queue)

    @property
    def lives(self) -> bool:
        """Return whether the thread lives."""
        return self._thread.is_alive()

    @property
    def accepts(self) -> bool:
        """Return whether pictures are accepted and detected."""
        return self.lives and not self._closed

    def submit(self, pictures: Sequence[Prepared]) -> "list[Future[Result]]":
        """Queue all pictures of a request, or none.

        A future that is cancelled before its turn costs nothing.

        Raises:
            QueueFullError: they do not fit, or the server is stopping.
        """
        entries = [_Waiting(picture, Future()) for picture in pictures]
        with self._changed:
            if self._closed or len(self._queue) + len(entries) > self._limit:
                raise QueueFullError(f"{len(self._queue)} pictures are waiting")
            self._queue.extend(entries)
            self._changed.notify()
        return [entry.answer for entry in entries]

    def close(self) -> None:
        """Accept no more, finish what is queued, and wait for the end of it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            for group in of_like_shape(
                (
                    entry.picture._replace(number=number)
                    for number, entry in enumerate(batch)
                ),
                self._max_batch,
            ):
                self._detect([batch[picture.number] for picture in group])

    def _next(self) -> list[_Waiting]:
        """Wait for pictures; an empty list is the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._closed)
                deadline = time.monotonic() + self._wait
                while len(self._queue) < self._max_batch and not self._closed:
                    if not self._changed.wait(deadline - time.monotonic()):
                        break
                taken = [
                    self._queue.popleft()
                    for _ in range(min(self._max_batch, len(self._queue)))
                ]
                kept = [e for e in taken if e.answer.set_running_or_notify_cancel()]
                if kept or (self._closed and not self._queue):
                    return kept

    def _detect(self, batch: Sequence[_Waiting]) -> None:
        """Answer one batch; where it fails, each picture alone."""
        self._on_batch(len(batch))
        adapt_threads()
        try:
            results = self._detector.detect_prepared(
                [entry.picture for entry in batch], score_threshold=self._threshold
            )
        except Exception as error:
            if len(batch) > 1:  # so that one picture does not spoil the others
                for entry in batch:
                    self._detect([entry])
                return
            if not isinstance(error, ValueError):
                logger.exception("the detector failed")
            batch[0].answer.set_exception(error)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.answer.set_result(result)
