"""Getting one file over the network, checking it, and unpacking it.

What is stopped midway goes on from there the next time, and no file has its final name
before it is whole.
"""

import gzip
import hashlib
import http.client
import logging
import os
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from .records import MissingDataError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18  # bytes
_TIMEOUT = 20.0  # seconds without a byte
_ROUNDS = 4  # over all addresses without a new byte, before giving up
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass
# Encrypted or unknown zip entries are a RuntimeError.
_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile),
    *(zlib.error, EOFError, RuntimeError),
)


class DownloadError(MissingDataError):
    """A file could not be fetched; the message tells why and what to do."""


class _Rejected(Exception):
    """What an address gives is of no use, now or later."""


class _Interrupted(Exception):
    """An address was reached but did not give everything; it may later."""


def fetch(
    url: str,
    target: Path,
    *,
    mirrors: Sequence[str] = (),
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    pause: float = 1.0,
) -> None:
    """Fetch a file, going on where an earlier attempt stopped.

    The bytes gather in `target` with .part added to its name, which becomes `target`
    once all have come and agree with what is expected. The addresses are tried in
    turn, and again as long as they give new bytes; if none of them can be reached at
    all, there is no second round.

    Args:
        url: http or https.
        target: the file to write; its folder is made.
        mirrors: other addresses of the same bytes.
        size: bytes, if known.
        md5: hexadecimal, if known.
        sha256: hexadecimal, if known. With neither, nothing is taken over from an
            earlier call, since it could be of another file.
        pause: seconds before the second round; doubled after each.

    Raises:
        DownloadError: no address gave the file, or the disk is too full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if md5 is None and sha256 is None:
        part.unlink(missing_ok=True)
    reasons: dict[str, str] = {}
    urls = [url, *mirrors]
    pardoned: set[str] = set()
    rounds = 0
    while urls and rounds < _ROUNDS:
        before = _length(part)
        reached = False
        for address in tuple(urls):
            resumed = _length(part) > 0
            try:
                _receive(address, part, size)
                fault = mismatch(part, size=size, md5=md5, sha256=sha256)
                if fault is None:
                    os.replace(part, target)
                    return
                part.unlink()
                reached = True
                reasons[address] = fault
                if resumed and address not in pardoned:
                    pardoned.add(address)  # the earlier bytes may be to blame
                else:
                    urls.remove(address)
            except _Rejected as error:
                reasons[address] = str(error)
                urls.remove(address)
            except _Interrupted as error:
                reached = True
                reasons[address] = str(error)
            except OSError as error:
                reasons[address] = str(getattr(error, "reason", error)) or repr(error)
        if not reached:
            break
        rounds = 0 if _length(part) > before else rounds + 1
        if urls and rounds < _ROUNDS:
            time.sleep(pause * 2**rounds)
    told = "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
    raise DownloadError(f"could not fetch {target.name} ({told})")


def _receive(url: str, part: Path, size: int | None) -> None:
    """Append to `part` what is missing of the file at `url`."""
    start = _length(part)
    if size is not None and start >= size:
        return  # all there; the check that follows judges it
    headers = {"User-Agent": "faster-rcnn", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing beyond `start`: as much as there is
            return
        kind = _Interrupted if error.code in _BUSY else _Rejected
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except (ConnectionError, http.client.HTTPException) as error:
        raise _Interrupted(f"the connection broke ({error!r})") from error
    with response:
        if response.status != 206:
            start = 0  # the server sends the whole file instead of the rest
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else size
        if size is not None and total != size:
            raise _Rejected(f"expected {size} bytes, the server offers {total}")
        _expect_space(part.parent, (total or 0) - start)
        logger.info("fetching %s", url)
        with (
            part.open("ab" if start else "wb") as file,
            tqdm(
                desc=part.stem,
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                disable=None,  # where there is no terminal
            ) as bar,
        ):
            try:
                while block := response.read(_CHUNK):
                    file.write(block)
                    bar.update(len(block))
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                raise _Interrupted(f"the connection broke ({error!r})") from error
    if total is not None and _length(part) < total:
        raise _Interrupted(f"the connection ended at {_length(part)} of {total} bytes")


def _expect_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: expected {needed / 1e9:.1f} GB of free space, found "
            f"{free / 1e9:.1f} GB; make room or give a data root on another disk"
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def mismatch(
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
) -> str | None:
    """Say how a file differs from what is expected; None if it does not."""
    found = _length(path)
    if size is not None and found != size:
        return f"expected {size} bytes, found {found}"
    for kind, expected in (("md5", md5), ("sha256", sha256)):
        if expected is not None:
            digest = hashlib.new(kind, usedforsecurity=False)
            with path.open("rb") as file:
                while block := file.read(_CHUNK):
                    digest.update(block)
            if digest.hexdigest() != expected.lower():
                return f"expected {kind} {expected}, found {digest.hexdigest()}"
    return None


def extract(archive: Path, folder: Path) -> None:
    """Unpack the files of a tar, tar.gz or zip archive.

    Links and devices are left out: no data set needs them, and a link could lead a
    later file out of the folder.

    Raises:
        ValueError: the archive is damaged, or names a path outside `folder`.
    """
    left_out = 0
    try:
        # Tar first: one that ends in a zip archive passes for that, too.
        members = _tar_files if tarfile.is_tarfile(archive) else _zip_files
        with tqdm(desc=f"unpacking {archive.name}", unit=" files", disable=None) as bar:
            for name, content in members(archive):
                path = PurePosixPath(name.replace("\\", "/"))
                drive = PureWindowsPath(name).drive
                if drive or path.is_absolute() or ".." in path.parts:
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
                bar.update()
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
