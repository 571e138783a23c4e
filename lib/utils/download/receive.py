"""Bytes of one file from one address, in pieces over several connections."""

import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

from .part_file import PIECE, Gap, PartFile

CONNECTIONS = 4  # to one address, where it gives single pieces
_CHUNK = 1 << 18  # bytes
_TIMEOUT = 20.0  # seconds without a byte
_SLOWEST = 1000  # bytes per second over that time
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass


class Rejected(Exception):
    """What an address gives is of no use, now or later."""


class Interrupted(Exception):
    """An address was reached but did not give everything; it may later."""


class Unreachable(Exception):
    """There is no connection to an address."""


FAILURES = (Interrupted, Unreachable, Rejected)


def receive(
    url: str,
    part: PartFile,
    *,
    before: Callable[[], object] = lambda: None,
    progress: Callable[[], object] = lambda: None,
    connections: int = CONNECTIONS,
) -> None:
    """Fetch what is missing of a file.

    The first answer shows whether the server gives single pieces. If so, other
    connections fetch further ones at the same time; a connection that fails ends, and
    the others take over its piece. Else the file comes from its start in one stream, of
    which only missing bytes are kept.

    Args:
        url: http or https.
        part: where the bytes go.
        before: called when the file's size is known, before bytes come.
        progress: called after every block, by one thread at a time.
        connections: how many at most.

    Raises:
        Rejected, Interrupted, Unreachable: something is still missing.
        OSError: a file could not be written.
    """
    first = part.take()
    if first is None:
        return
    lanes = _Lanes(url, part, progress)
    try:
        try:
            _begin(lanes, first, before, connections)
        except FAILURES as error:
            lanes.failures.append(error)
        else:
            lanes.run()
        lanes.finish()
    except BaseException:  # Ctrl-C, or a full disk
        lanes.stop()
        raise


class _Lanes:
    """Connections that fetch a file's pieces until none is left."""

    def __init__(
        self, url: str, part: PartFile, progress: Callable[[], object]
    ) -> None:
        self.url = url
        self.part = part
        self.failures: list[Exception] = []
        self._progress = progress
        self._showing = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Open further connections."""
        for _ in range(count):
            # Of a daemon, so that Ctrl-C does not wait for a server that stalls.
            thread = threading.Thread(target=self.run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def run(self) -> None:
        """Fetch one piece after the other."""
        try:
            while not self._stopped.is_set():
                gap = self.part.take()
                if gap is None:
                    return
                try:
                    with _ask(self.url, self.part, gap) as response:
                        if response.status != 206:
                            raise Interrupted("expected a piece, found the whole file")
                        self.store(response, gap)
                finally:
                    self.part.give_back(gap)
        except FAILURES as error:
            self.failures.append(error)
        except OSError as error:  # of this machine: all will meet it
            self.failures.append(error)
            self._stopped.set()

    def store(self, response: http.client.HTTPResponse, gap: Gap) -> None:
        """Write a piece as it comes."""
        limit = None if gap.end is None else gap.end - gap.start
        with self.part.open(gap) as file:
            for block in _blocks(response, limit):
                if self._stopped.is_set():
                    return
                self.part.write(file, gap, block)
                with self._showing:
                    self._progress()
        if gap.end is None:
            self.part.end_here(gap)
        elif not gap.empty:
            raise _ended(self.part, gap.start)

    def stop(self) -> None:
        """Have all connections end soon."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=1)

    def finish(self) -> None:
        """Wait for all; raise what is to blame if something is still missing."""
        for thread in self._threads:
            thread.join()
        for error in self.failures:
            if not isinstance(error, FAILURES):
                raise error
        if not self.part.complete:
            # What may pass comes first, so that the address is asked again.
            raise min(self.failures, key=lambda e: FAILURES.index(type(e)))


def _begin(
    lanes: _Lanes, first: Gap, before: Callable[[], object], connections: int
) -> None:
    """Do with the first answer what its kind allows."""
    try:
        with _ask(lanes.url, lanes.part, first) as response:
            before()
            if response.status == 206:
                lanes.start(connections - 1)
                lanes.store(response, first)
            else:
                _store_stream(response, lanes, first)
    finally:
        lanes.part.give_back(first)


def _store_stream(
    response: http.client.HTTPResponse, lanes: _Lanes, first: Gap
) -> None:
    """Write the missing parts of a file that comes from its start."""
    position = 0
    gap: Gap | None = first
    while gap is not None:
        try:
            for block in _blocks(response, gap.start - position):
                position += len(block)
            if position < gap.start:
                raise _ended(lanes.part, position)
            lanes.store(response, gap)
            position = gap.start
        finally:
            if gap is not first:  # whose owner gives it back
                lanes.part.give_back(gap)
        gap = lanes.part.take()


def _ask(url: str, part: PartFile, gap: Gap) -> http.client.HTTPResponse:
    """Ask for a piece; the answer holds it (206), or the whole file (200)."""
    end = gap.start + PIECE if gap.end is None else gap.end
    headers = {
        "User-Agent": "faster-rcnn",
        "Accept-Encoding": "identity",
        "Range": f"bytes={gap.start}-{end - 1}",
    }
    try:
        request = urllib.request.Request(url, headers=headers)
        response: http.client.HTTPResponse = urllib.request.urlopen(
            request, timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and part.size is None:
            part.expect(gap.start)  # there is nothing more
        kind = Interrupted if error.code in _BUSY else Rejected
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise Unreachable(str(error.reason) or repr(error.reason)) from error
    except ValueError as error:  # an address that makes no sense
        raise Rejected(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error
    try:
        _check(response, part, gap)
    except BaseException:
        response.close()
        raise
    return response


def _check(response: http.client.HTTPResponse, part: PartFile, gap: Gap) -> None:
    """Hold an answer against what was asked for, and learn the file's size."""
    if not isinstance(response, http.client.HTTPResponse):
        raise Rejected(f"expected an answer by HTTP, was led to {response.url}")
    if response.status == 206:
        given = response.headers.get("Content-Range", "nothing")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", given)
        if match is None or int(match[1]) != gap.start:
            raise Rejected(f"expected bytes from {gap.start}, the server gives {given}")
        total: int | None = int(match[2])
    elif response.status == 200:
        total = response.length
    else:
        raise Rejected(f"HTTP {response.status} {response.reason}")
    if total is None:
        return
    if part.size not in (None, total):
        raise Rejected(f"expected {part.size} bytes, the server offers {total}")
    part.expect(total)


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


def _ended(part: PartFile, position: int) -> Interrupted:
    return Interrupted(f"the connection ended at {position} of {part.size} bytes")
