"""Unpack archives that may be damaged or malicious."""

import gzip
import logging
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from .byte_progress import ByteProgress

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18  # bytes
# Encrypted or unknown zip entries are a RuntimeError.
_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile),
    *(zlib.error, EOFError, RuntimeError),
)


def extract(archive: Path, folder: Path) -> None:
    """Unpack the files of a tar, tar.gz or zip archive, without owners and permissions.

    Links and devices are skipped: no data set needs them, and a link could lead a later
    file out of the folder.

    Raises:
        ValueError: the archive is damaged, or names a path outside `folder`.
    """
    left_out = 0
    try:
        # Tar first: one that ends in a zip archive passes for that, too.
        members = _tar_files if tarfile.is_tarfile(archive) else _zip_files
        with ByteProgress(f"unpacking {archive.name}") as bar:
            count = 0
            for name, content in members(archive):
                path = PurePosixPath(name.replace("\\", "/"))
                drive = PureWindowsPath(name).drive
                inside = not drive and not path.is_absolute() and ".." not in path.parts
                if not inside or not path.parts or "\0" in name:
                    raise ValueError(
                        f"{archive}: expected paths inside the archive, found "
                        f"{name!r}; get the archive from its official address"
                    )
                if content is None:
                    left_out += 1
                    continue
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, _CHUNK)
                    count += file.tell()
                bar.show(count)
    except _DAMAGES as error:
        raise ValueError(
            f"{archive}: expected a whole tar or zip archive, cannot unpack it "
            f"({error}); delete and fetch it again"
        ) from error
    if left_out:
        logger.warning("%s: %d links or devices left out", archive, left_out)


def _tar_files(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each entry but folders; no content for links."""
    with tarfile.open(archive) as file:
        for member in file:
            if not member.isdir():
                yield member.name, file.extractfile(member) if member.isreg() else None


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each entry but folders; no content for links."""
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            mode = entry.external_attr >> 16
            if not entry.is_dir():
                yield entry.filename, None if stat.S_ISLNK(mode) else file.open(entry)
