"""Write files atomically: a file is complete or does not exist.

A process can be killed, and a disk can fill up, in the middle of a save. So every file
that a run must be able to read back is written under a temporary name, flushed to disk,
and only then renamed, which file systems do in one step.
"""

import csv
import errno
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STALE_SECONDS = 3600.0
_FULL_BYTES = 1 << 16
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "files may not become so large here (ulimit -f)",
}
_TEMPORARY = re.compile(
    r"\..+\.(?P<host>[^.]+)-(?P<pid>\d+)-(?P<key>[0-9a-f]{32})\.tmp"
)
_NAME_BYTES = 143
"""Longest name of a temporary file: what eCryptfs leaves of the usual 255 bytes."""
_HOST_BYTES = 32  # of the machine's name, which is a part of temporary names
_ALL_FILES = {
    *_FULL,
    *(errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE),
}
_in_progress: set[Path] = set()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file in one step: readers see the old content or the new, never a part.

    Text is stored as UTF-8 with unchanged newlines. Missing parent folders are made.

    Raises:
        OSError: see ``atomic_path``.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table in one step; its first row are the heads."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file).writerows(rows)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, renamed to it if the block succeeds.

    If the block raises, even by Ctrl-C, the temporary file is removed and the file at
    ``path`` is unchanged. A killed process leaves its temporary file behind, for
    ``remove_stale``. Missing parent folders are made.

    Raises:
        OSError: the disk, the quota or the limit on file size is exhausted, also if the
            block got this error as the RuntimeError of ``torch.save``; the message
            names the file. Other errors are unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    _in_progress.add(temporary)
    try:
        yield temporary
        _sync_file(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        # Measure before the temporary file's space is freed.
        number = _failed_write(error, temporary)
        temporary.unlink(missing_ok=True)
        if number in _FULL:
            kept = "the previous version is intact"
            state = kept if path.exists() else "there is no previous version"
            raise OSError(
                number,
                f"{_FULL[number]}, so {path.name} could not be written ({state}); "
                f"make room in {path.parent} and try again",
                str(path),
            ) from error
        raise
    finally:
        _in_progress.discard(temporary)
    _sync_folder(path.parent)


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files of dead processes in a folder, and return them.

    A temporary file is stale if the process in its name no longer runs on this machine,
    or if it was not written to for an hour: a container gets a new host name, and
    process ids start over, at each start.

    Args:
        folder: searched without its sub-folders. A missing folder counts as empty.
    """
    removed: list[Path] = []
    if not folder.is_dir():
        return removed
    for path in sorted(folder.iterdir()):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or path in _in_progress:
            continue
        here = match["host"] == _host()
        try:
            age = time.time() - path.stat().st_mtime
            if age > _STALE_SECONDS or (here and not _alive(int(match["pid"]))):
                path.unlink()
                removed.append(path)
        except FileNotFoundError:
            continue  # its process has just finished with it
    return removed


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def concerns_one_file(error: OSError) -> bool:
    """Return whether a write failed for a reason that concerns this file alone.

    A name that is too long or a folder in the file's place is such a reason; a full or
    broken disk is not.
    """
    return error.errno not in _ALL_FILES


def shorten_name(name: str, most: int) -> str:
    """Shorten a file's name at its end to at most ``most`` bytes."""
    data = os.fsencode(name)
    # Do not cut within a character, which some file systems refuse.
    return name if len(data) <= most else data[:most].decode(errors="ignore")


def _temporary_sibling(path: Path) -> Path:
    """Return a unique name beside ``path``, short enough however long that is."""
    end = f".{_host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
    name = shorten_name(path.name, _NAME_BYTES - 1 - len(end))
    return path.with_name(f".{name}{end}")


def _host() -> str:
    """Return this machine's name without dots, which separate the name's parts."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname()) or "host"
    return name[:_HOST_BYTES]


def _alive(pid: int) -> bool:
    """Return whether another process of this id runs here; if in doubt, True."""
    if pid == os.getpid():
        return False  # not among the writes in progress: from an earlier process
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C on Windows; the age decides instead
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _failed_write(error: BaseException, temporary: Path) -> int | None:
    """Return the errno that caused ``error``; None for other errors."""
    if isinstance(error, OSError):
        return error.errno
    if not isinstance(error, RuntimeError):
        return None
    # torch.save hides the cause of a failed write: test by writing again.
    if shutil.disk_usage(temporary.parent).free < _FULL_BYTES:
        return errno.ENOSPC
    try:
        with temporary.open("ab", buffering=0) as file:
            for _ in range(2):  # the first may be written in part
                file.write(bytes(_FULL_BYTES))
    except OSError as cause:
        return cause.errno
    return None


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Flush the rename to disk, if the system supports it."""
    if os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse this, and flush on their own.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
