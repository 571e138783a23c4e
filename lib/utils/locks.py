"""Locks on files, which the system releases however their process ends."""

import datetime
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class HeldElsewhereError(ValueError):
    """Another process holds the lock; the message says which."""


def take_lock(path: Path) -> BaseFileLock:
    """Lock a file for this process, until it releases or drops the lock, or ends.

    The lock file remains, and names the process that locked it last. Forked processes
    inherit no lock, so a data loader that outlives a killed run does not block the next
    run. Two calls in one process return the same lock.

    Raises:
        HeldElsewhereError: another process holds the lock.
        OSError: the file cannot be opened for writing.
    """
    lock = FileLock(path, thread_local=False, is_singleton=True)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = ""
        with suppress(OSError):  # Windows does not let others read a locked file
            holder = path.read_text(encoding="utf-8").strip()
        raise HeldElsewhereError(holder or "another process") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s cannot be locked (%s): start no second run", path, error)
        return lock
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    with suppress(OSError):
        path.write_text(
            f"process {os.getpid()} on {socket.gethostname()}, since {now}\n",
            encoding="utf-8",
        )
    return lock


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the ``.lock`` of a folder during a block; the folder is made if missing.

    On file systems without locks this has no effect.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("waiting for another process that works in %s", folder)
        lock.acquire()
    except OSError as error:
        logger.debug("%s cannot be locked (%s)", folder, error)
    try:
        yield
    finally:
        lock.release()
