"""Getting one file over the network, and checking it.

What is stopped midway goes on from there the next time, and no file has its final name
before it is whole.
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
from .receive import FAILURES, Interrupted, Rejected, receive, received

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20  # bytes
_LARGE = 1 << 27  # bytes; checking less takes no time to speak of
_ROUNDS = 6  # over all addresses without a new byte, before giving up


class DownloadError(MissingDataError):
    """A file could not be fetched; the message tells why and what to do."""


def part_of(target: Path) -> Path:
    """Where the bytes of a file gather before it has its name."""
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
    """Fetch a file, going on where an earlier attempt stopped.

    The bytes gather in `target` with .part added to its name, which becomes `target`
    once all have come and agree with what is expected.

    Args:
        url: http or https.
        target: the file to write; its folder is made.
        mirrors: other addresses of the same bytes.
        size: bytes, if known.
        md5: hexadecimal, if known.
        sha256: hexadecimal, or its first digits, if known. With neither, nothing is
            taken over from an earlier call, since it could be of another file.
        pause: seconds before the second round; doubled after each.

    Raises:
        DownloadError: no address gave the file, or the disk is too full.
    """
    gather(
        [url, *mirrors],
        part_of(target),
        size=size,
        md5=md5,
        sha256=sha256,
        pause=pause,
    )
    os.replace(part_of(target), target)


def gather(
    urls: Sequence[str],
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    pause: float = 1.0,
) -> None:
    """Fetch a file to where its bytes gather, and check it.

    The addresses are tried in turn, and again as long as they give new bytes; if none
    of them can be reached from the start, there is no second round. Should bytes of
    several addresses, or of an earlier call, make a wrong file, the next one is taken
    from one address alone.

    Args:
        urls: of the same bytes, the first one preferred.
        path: the file to write; its folder is made. If it is whole already, it is only
            checked.
        size: as for `fetch`.
        md5: as for `fetch`.
        sha256: as for `fetch`.
        pause: as for `fetch`.

    Raises:
        DownloadError: as for `fetch`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    addresses = list(urls)
    reasons: dict[str, str] = {}
    try:
        if md5 is None and sha256 is None:
            path.unlink(missing_ok=True)
        givers = {"an earlier call"} if received(path) else set()
        mixing, any_came, rounds = True, False, 0
        while addresses and rounds < _ROUNDS:
            at_start, reached = received(path), False
            for url in tuple(addresses):
                if not mixing and givers - {url}:
                    path.unlink(missing_ok=True)
                    givers.clear()
                had = received(path)
                failure = _turn(url, path, size, stay=not mixing, pause=pause)
                if received(path) > had:
                    any_came = True
                    givers.add(url)
                if failure is not None:
                    reasons[url] = str(failure)
                    reached |= isinstance(failure, Interrupted)
                    if isinstance(failure, Rejected):
                        addresses.remove(url)
                    continue
                fault = mismatch(path, size=size, md5=md5, sha256=sha256)
                if fault is None:
                    return
                reasons[url], reached = fault, True
                if givers <= {url}:
                    addresses.remove(url)
                else:
                    mixing = False
                path.unlink(missing_ok=True)
                givers.clear()
            if not reached and not any_came:
                break
            rounds = 0 if mixing and received(path) > at_start else rounds + 1
            if addresses and rounds < _ROUNDS:
                time.sleep(pause * 2**rounds)
    except OSError as error:
        raise DownloadError(
            f"{path}: expected to write it, cannot ({error}); make room or see to the "
            "permissions, and run this again: what has come is kept"
        ) from error
    told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise DownloadError(f"could not fetch {path.name.removesuffix('.part')} ({told})")


def _turn(
    url: str, path: Path, size: int | None, *, stay: bool, pause: float
) -> Exception | None:
    """Fetch from one address; give what stopped that, None if all has come.

    Args:
        url: the address.
        path: where the bytes gather.
        size: bytes of the whole file, if known.
        stay: go on as long as new bytes come; else stop at the first interruption.
        pause: seconds before going on.
    """
    logger.info("fetching %s", url)
    name = path.name.removesuffix(".part")
    with ByteProgress(name, size, start=received(path)) as bar:

        def before(total: int | None) -> None:
            bar.expect(total)
            expect_space(path.parent, (total or 0) - received(path))

        while True:
            had = received(path)
            try:
                receive(url, path, size, before=before, progress=bar.show)
                return None
            except FAILURES as error:
                logger.info("%s: %s", url, error)
                if not stay or received(path) == had:
                    return error
            time.sleep(pause)


def expect_space(folder: Path, needed: float) -> None:
    """Raise early rather than fill the disk that a folder is on, or is to be on.

    Raises:
        DownloadError: there is less than `needed` bytes.
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
    """Say how a file differs from what is expected; None if it does not."""
    found = path.stat().st_size if path.is_file() else 0
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
