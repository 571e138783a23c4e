"""Files that only one process holds, until it ends in whatever way."""

import datetime
import errno
import logging
import os
import socket
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_HELD = (errno.EACCES, errno.EAGAIN)


class HeldElsewhereError(ValueError):
    """Another process holds the lock; the text tells which."""


def take_lock(path: Path) -> IO[str]:
    """Lock a file for this process until it closes the file or ends.

    The system takes the lock away with the process, also from one that was killed; the
    file itself stays, and means nothing. It is a POSIX lock, which forked processes do
    not inherit: a loader that outlives its run holds nothing back. It is seen by other
    machines where the file system is shared.

    Args:
        path: the file, made if missing; its folder is there.

    Returns:
        What to keep.

    Raises:
        HeldElsewhereError: another process has it.
        OSError: the file cannot be opened for writing.
    """
    file = path.open("a+", encoding="utf-8")
    if fcntl is None:
        return file
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        if error.errno in _HELD:
            file.close()
            raise HeldElsewhereError(holder or "another process") from error
        logger.warning("%s cannot be locked (%s): start no second run", path, error)
        return file
    file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
    file.flush()
    return file
