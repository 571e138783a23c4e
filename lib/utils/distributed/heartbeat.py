"""Detect that a process of a run has failed or vanished, and end the others.

A process that waits for another inside a reduction waits in C, where no signal and no
exception reaches it. So a thread of each process reports every second that it lives,
through the store in which the processes met, and reads the reports of the others.
"""

import json
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)

LAUNCHED = "FRCNN_LAUNCHED"
"""Set by `launch.py`, which itself reports which process was killed, and by what."""

_EVERY_SECONDS = 1.0
_SILENT_SECONDS = 20.0  # without a report, after which a process counts as dead
# A failure is reported before its process closes its connections.
_EXPLANATION_SECONDS = 1.0
# Launchers kill all processes once one has ended, so the main process logs first.
_SHOWN_SECONDS = 5.0
_LEAVE_SECONDS = 2.0  # that the main process waits for the others to read a failure


class Failure(NamedTuple):
    """The reason why a process ends."""

    status: int
    text: str
    level: int = logging.ERROR


class Heartbeat:
    """The thread that reports and watches, by a connection of its own to the store."""

    def __init__(self, store: "Store", rank: int, processes: int) -> None:
        self._store = store
        self._rank = rank
        self._processes = processes
        self._stopped = threading.Event()
        self._ending = threading.Lock()
        self._beats = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start reporting and watching."""
        self._thread.start()
        threading.Thread(target=self._watch_connection, daemon=True).start()

    def stop(self) -> None:
        """Stop, before the process ends normally."""
        self._stopped.set()
        self._thread.join()

    def end(self, failure: Failure, *, consequence: bool = False) -> NoReturn:
        """Report a failure to all processes, and end this one.

        The main process logs only the first failure of all. A `consequence` may only
        follow from another process's failure.
        """
        # If the thread is already ending the process, this never returns.
        self._ending.acquire()
        self._stopped.set()
        first = None
        try:
            if consequence:
                failure = _vanished("another process")
                # If there is an explanation, show it.
                consequence = not self._wait_for("failure", _EXPLANATION_SECONDS)
            first = self._publish(failure)
            self._show(first, silent=consequence and LAUNCHED in os.environ)
        except RuntimeError:
            if first is None:
                self._end_without_store(failure)
        _exit((first or failure).status)

    def _run(self) -> None:
        try:
            self._watch()
        except RuntimeError:
            if self._stopped.is_set():
                return
            if self._ending.acquire(blocking=False):
                self._end_without_store(_vanished("the main process or its launcher"))

    def _watch_connection(self) -> None:
        """End this process if the store is silent: a cut link closes no connection."""
        seen = silent = 0
        while not self._stopped.wait(_EVERY_SECONDS):
            # Counted, not timed: a process that was suspended has not been silent.
            silent = silent + 1 if self._beats == seen else 0
            seen = self._beats
            if silent * _EVERY_SECONDS > _SILENT_SECONDS:
                if self._ending.acquire(blocking=False):
                    self._end_without_store(_vanished("the main process or the link"))
                return

    def _watch(self) -> None:
        # The main process watches all others; they watch only the main process.
        others = range(1, self._processes) if self._rank == 0 else range(1)
        beats = dict.fromkeys(others, 0)
        heard = dict.fromkeys(others, time.monotonic())
        while not self._stopped.is_set():
            self._store.add(f"beat/{self._rank}", 1)
            now = time.monotonic()
            for other in others:
                beat = self._store.add(f"beat/{other}", 0)
                # A process that has not started yet is waited for elsewhere.
                if beat != beats[other] or beat == 0:
                    beats[other], heard[other] = beat, now
            self._beats += 1
            silent = [o for o in others if now - heard[o] > _SILENT_SECONDS]
            if silent:
                self._publish(_vanished(f"process {silent[0]}"))
            if self._store.check(["failure"]):
                if not self._ending.acquire(blocking=False):
                    return
                first = _read(self._store.get("failure"))
                self._show(first, silent=False)
                _exit(first.status)
            self._stopped.wait(_EVERY_SECONDS)

    def _publish(self, failure: Failure) -> Failure:
        """Publish a failure if it is the first, and return the first."""
        return _read(self._store.compare_set("failure", "", json.dumps(failure)))

    def _show(self, failure: Failure, *, silent: bool) -> None:
        if self._rank == 0:
            if not silent:
                logger.log(failure.level, "%s", failure.text)
            self._store.set("shown", "")
            # The store may end with this process.
            limit = time.monotonic() + _LEAVE_SECONDS
            while self._store.add("left", 0) < self._processes - 1:
                if time.monotonic() > limit:
                    break
                time.sleep(0.05)
        else:
            self._wait_for("shown", _SHOWN_SECONDS)
            self._store.add("left", 1)

    def _end_without_store(self, failure: Failure) -> NoReturn:
        """End when the main process, or the host of the store, has gone."""
        if self._rank == 1 and LAUNCHED not in os.environ:
            logger.log(failure.level, "%s", failure.text)
        _exit(failure.status)

    def _wait_for(self, key: str, seconds: float) -> bool:
        limit = time.monotonic() + seconds
        while not self._store.check([key]):
            if time.monotonic() > limit:
                return False
            time.sleep(0.05)
        return True


def _vanished(who: str) -> Failure:
    return Failure(
        1,
        f"{who} ended without a message: killed (out of memory?), or its machine is "
        "gone. The same command resumes from the newest checkpoint.",
    )


def _read(message: bytes) -> Failure:
    return Failure(*json.loads(message))


def _exit(status: int) -> NoReturn:
    # Not sys.exit: destroying a group that has lost a process may never finish.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
