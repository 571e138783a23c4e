"""Receive a file from one address, in one stream that resumes where it broke."""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

_CHUNK = 1 << 18  # bytes
_TIMEOUT = 20.0  # seconds without a byte
_SLOWEST = 1000  # bytes per second over that time
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass


class Rejected(Exception):
    """The content of an address cannot be used, now or later."""


class Interrupted(Exception):
    """An address was reached but did not send everything; it may later."""


class Unreachable(Exception):
    """There is no connection to an address."""


def received(path: Path) -> int:
    """Return the number of bytes of a file that have arrived."""
    return path.stat().st_size if path.is_file() else 0


def receive(
    url: str,
    path: Path,
    size: int | None = None,
    *,
    before: Callable[[int | None], object] = lambda total: None,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Append the missing bytes to a file.

    If a server does not support ranges, it sends the file from its start, and the bytes
    that are in the file already are skipped.

    Args:
        url: http or https.
        size: bytes of the whole file, if known.
        before: called before bytes arrive, with the whole file's bytes, or None.
        progress: called after every block, with the bytes in the file.

    Raises:
        Rejected, Interrupted, Unreachable: the file is still incomplete.
        OSError: the file could not be written.
    """
    count = received(path)
    if size is not None and count >= size:
        return
    response = _ask(url, count)
    if response is None:
        if size is not None:
            raise Rejected(
                f"expected {size} bytes, the server has no more than {count}"
            )
        return
    with response:
        offered = _offered(response, count)
        if size is not None and offered not in (None, size):
            raise Rejected(f"expected {size} bytes, the server offers {offered}")
        total = offered if size is None else size
        before(total)
        skip = count if response.status == 200 else 0
        limit = None if total is None else total - count + skip
        with path.open("ab") as file:
            for block in _blocks(response, limit):
                count += file.write(block[skip:])
                file.flush()
                skip = max(skip - len(block), 0)
                progress(count)
    if total is not None and count < total:
        raise Interrupted(f"the connection ended at {count} of {total} bytes")


def _ask(url: str, start: int) -> http.client.HTTPResponse | None:
    """Request a file from a byte on; None if the server says that no more follow."""
    headers = {"User-Agent": "faster-rcnn", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response: http.client.HTTPResponse = urllib.request.urlopen(
            request, timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        kind = Interrupted if error.code in _BUSY else Rejected
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise Unreachable(str(error.reason) or repr(error.reason)) from error
    except ValueError as error:  # an invalid address
        raise Rejected(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection broke ({error!r})") from error
    if not isinstance(response, http.client.HTTPResponse):
        raise Rejected("expected an address of http or https")
    return response


def _offered(response: http.client.HTTPResponse, start: int) -> int | None:
    """Return the whole file's bytes by the server's header; None without a length."""
    if response.status == 206:
        given = response.headers.get("Content-Range", "nothing")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", given)
        if match is None or int(match[1]) != start:
            raise Rejected(f"expected bytes from {start}, the server gives {given}")
        return int(match[2])
    if response.status != 200:
        raise Rejected(f"HTTP {response.status} {response.reason}")
    return response.length


def _blocks(response: http.client.HTTPResponse, limit: int | None) -> Iterator[bytes]:
    """Yield bytes, `limit` at most, until they stop or arrive too slowly."""
    since, count = time.monotonic(), 0
    while limit is None or limit > 0:
        try:
            block = response.read1(_CHUNK if limit is None else min(_CHUNK, limit))
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the connection broke ({error!r})") from error
        if not block:
            return
        yield block
        count += len(block)
        if limit is not None:
            limit -= len(block)
        passed = time.monotonic() - since
        if passed > _TIMEOUT:
            if count < _SLOWEST * passed:
                raise Interrupted(f"{count} bytes in {passed:.0f} s are too slow")
            since, count = time.monotonic(), 0
