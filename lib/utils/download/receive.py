"""Bytes of one file from one address, in one stream that goes on where it broke."""

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
    """An address was reached but did not give everything; it may later."""


class Unreachable(Exception):
    """There is no connection to an address."""


FAILURES = (Interrupted, Unreachable, Rejected)


def received(path: Path) -> int:
    """Count the bytes of a file that have come: it grows from its start."""
    return path.stat().st_size if path.is_file() else 0


def receive(
    url: str,
    path: Path,
    size: int | None = None,
    *,
    before: Callable[[int | None], object] = lambda total: None,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Append to a file what is missing of it.

    A server that gives no ranges sends the file from its start; the bytes that are
    there already are skipped.

    Args:
        url: http or https.
        path: the file to write.
        size: bytes of the whole file, if known.
        before: called before bytes come, with the whole file's bytes, or None.
        progress: called after every block, with the bytes that are there.

    Raises:
        Rejected, Interrupted, Unreachable: something is still missing.
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
        with path.open("ab", buffering=0) as file:
            for block in _blocks(response, limit):
                kept = block[skip:]
                skip -= len(block) - len(kept)
                while kept:
                    written = file.write(kept)
                    kept, count = kept[written:], count + written
                progress(count)
    if total is not None and count < total:
        raise Interrupted(f"the connection ended at {count} of {total} bytes")


def _ask(url: str, start: int) -> http.client.HTTPResponse | None:
    """Ask for a file from a byte on; None if the server says that no more follow."""
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
    except ValueError as error:  # an address that makes no sense
        raise Rejected(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error
    if not isinstance(response, http.client.HTTPResponse):
        raise Rejected("expected an answer by HTTP, was led elsewhere")
    return response


def _offered(response: http.client.HTTPResponse, start: int) -> int | None:
    """Return the whole file's bytes as the server tells them, None if it does not."""
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
    """Yield bytes as they come, `limit` at most, as long as they come fast enough."""
    since, come = time.monotonic(), 0
    while limit is None or limit > 0:
        try:
            block = response.read1(_CHUNK if limit is None else min(_CHUNK, limit))
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from error
        if not block:
            return
        yield block
        come += len(block)
        if limit is not None:
            limit -= len(block)
        passed = time.monotonic() - since
        if passed > _TIMEOUT:
            if come < _SLOWEST * passed:
                raise Interrupted(f"{come} bytes in {passed:.0f} s are too slow")
            since, come = time.monotonic(), 0


def _broken(error: Exception) -> Interrupted:
    return Interrupted(f"the connection broke ({error!r})")
