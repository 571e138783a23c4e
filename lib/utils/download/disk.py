"""Room on the disk, and who may write there."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


def free_space(folder: Path) -> int:
    """Bytes to be had where a folder is, or is to be made."""
    return shutil.disk_usage(nearest(folder)).free


def amount(count: float) -> str:
    """Write a number of bytes for people."""
    power = 0
    while count >= 1000 and power < 3:
        count /= 1000
        power += 1
    digits = 1 if power and count < 100 else 0
    return f"{count:.{digits}f} {('bytes', 'kB', 'MB', 'GB')[power]}"


def nearest(path: Path) -> Path:
    """The path itself, or the first one above it that exists."""
    path = path.absolute()
    return path if path.exists() else nearest(path.parent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes that fetch into a folder waiting until the block ends.

    Without effect on Windows, and on file systems that cannot lock a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that fetches into %s", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            logger.debug("%s cannot be locked", folder)
        yield
    finally:
        os.close(descriptor)
