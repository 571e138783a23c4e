"""Download one file and verify it.

An interrupted download resumes at the next call, and no file has its final name before
it is complete.
"""

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ..errors import MissingDataError
from .byte_progress import ByteProgress
from .disk import amount, free_space
from .receive import Interrupted, Rejected, Unreachable, receive, received

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20  # bytes
_LARGE = 1 << 27  # bytes; a smaller file is verified in no time
_TRIES = 6  # of an address without a new byte, before the next one


class DownloadError(MissingDataError):
    """A file could not be downloaded; the message says why and what to do."""


def part_of(target: Path) -> Path:
    """Return the file that collects the bytes of a download."""
    return target.with_name(target.name + ".part")


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
    """Download a file, resuming where an earlier attempt stopped.

    The bytes are collected in `target` with .part added to its name, which is renamed
    once the file is complete and verified.

    Args:
        url: http or https.
        target: the file to write; its folder is made.
        mirrors: other addresses of the same bytes.
        size: bytes, if known.
        md5: hexadecimal, if known.
        sha256: hexadecimal, or its first digits, if known. Without md5 and sha256, the
            bytes of an earlier call are deleted, for they could be of another file.
        pause: seconds before the second try; doubled after each.

    Raises:
        DownloadError: no address sent the file, or the disk is too full.
    """
    part = part_of(target)
    gather([url, *mirrors], part, size=size, md5=md5, sha256=sha256, pause=pause)
    os.replace(part, target)


def gather(
    urls: Sequence[str],
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    pause: float = 1.0,
) -> None:
    """Download a file to the path that collects its bytes, and verify it.

    The addresses are tried in order; each continues what came before, from the one
    before or from an earlier call. If that makes a wrong file, the address is tried
    once more from the start.

    Args:
        urls: of the same bytes, the preferred one first.
        path: the file to write; its folder is made. A complete file is only verified.

    Raises:
        DownloadError: see `fetch`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".part")
    reasons: dict[str, str] = {}
    try:
        if md5 is None and sha256 is None:
            path.unlink(missing_ok=True)
        for url in urls:
            inherited = received(path) > 0
            while True:
                fault = _receive_patiently(url, path, size, pause)
                if fault is None:
                    fault = mismatch(path, size=size, md5=md5, sha256=sha256)
                    if fault is None:
                        return
                    path.unlink(missing_ok=True)
                    if inherited:
                        inherited = False
                        continue
                reasons[url] = fault
                break
    except OSError as error:
        raise DownloadError(
            f"{path}: cannot be written ({error}); make room or change the "
            "permissions, and run this again: the bytes so far are kept"
        ) from error
    causes = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise DownloadError(f"could not fetch {name} ({causes})")


def _receive_patiently(
    url: str, path: Path, size: int | None, pause: float
) -> str | None:
    """Receive from one address until no new bytes come; return what stopped it."""
    logger.info("downloading %s", url)
    name = path.name.removesuffix(".part")
    with ByteProgress(name, size, start=received(path)) as bar:

        def before(total: int | None) -> None:
            bar.expect(total)
            expect_space(path.parent, (total or 0) - received(path))

        tries = 0
        while True:
            had = received(path)
            try:
                receive(url, path, size, before=before, progress=bar.show)
                return None
            except Rejected as error:
                return str(error)
            except (Interrupted, Unreachable) as error:
                logger.info("%s: %s", url, error)
                tries = 0 if received(path) > had else tries + 1
                never_reached = isinstance(error, Unreachable) and not received(path)
                if tries == _TRIES or never_reached:
                    return str(error)
            time.sleep(pause * 2**tries)


def expect_space(folder: Path, needed: float) -> None:
    """Check that the disk of a folder, which may not exist yet, has enough space.

    Raises:
        DownloadError: fewer than `needed` bytes are free.
    """
    free = free_space(folder)
    if needed > free:
        raise DownloadError(
            f"{folder}: expected {amount(needed)} of free space, found {amount(free)}; "
            "make room or give a folder on another disk"
        )


def mismatch(
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
) -> str | None:
    """Describe how a file differs from what is expected; None if it does not."""
    found = received(path)
    if size is not None and found != size:
        return f"expected {size} bytes, found {found}"
    for kind, expected in (("md5", md5), ("sha256", sha256)):
        if expected is not None:
            digest = hashlib.new(kind, usedforsecurity=False)
            name = f"checking {path.name.removesuffix('.part')}"
            large = found > _LARGE
            with (
                path.open("rb") as file,
                ByteProgress(name, found) if large else nullcontext() as bar,
            ):
                while block := file.read(_CHUNK):
                    digest.update(block)
                    if bar is not None:
                        bar.show(file.tell())
            if not digest.hexdigest().startswith(expected.lower()):
                return f"expected {kind} {expected}, found {digest.hexdigest()}"
    return None
