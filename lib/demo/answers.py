"""What the page's server answers, and to whom.

Whoever can make this machine's browser open a page could reach a local server, too. So
only fixed routes are answered, of requests that name this host (a name that was made to
point here is refused) and come from this page or from no page at all.
"""

import io
import json
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import socket
from typing import TYPE_CHECKING, Any

from ..datasets.loading.images import ImageError
from .page import PAGE, POLICY

if TYPE_CHECKING:
    from .server import DemoServer

logger = logging.getLogger(__name__)

MAX_BYTES = 32 << 20
_SECONDS = 20  # that a client may be silent
_WHOLE_SECONDS = 60  # that a request may take to arrive, however slowly it comes
_BLOCK = 1 << 16


class Handler(BaseHTTPRequestHandler):
    """One request, one answer, and the connection is closed."""

    server: "DemoServer"
    timeout = _SECONDS
    server_version = "demo"
    sys_version = ""

    def setup(self) -> None:
        """Begin to read, with little time for it."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(
            _Arriving(self.connection, silence=self.timeout, whole=_WHOLE_SECONDS)
        )

    def do_GET(self) -> None:
        """The page, or what it needs to know."""
        if not self._is_allowed():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.encode())
        elif self.path == "/info":
            self._send_json(HTTPStatus.OK, self.server.info)
        elif self.path == "/detect":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "expected POST with a picture")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there are only /, /info and /detect")

    def do_POST(self) -> None:
        """Detect objects in the picture that is the request's body."""
        if not self._is_allowed():
            return
        if self.path != "/detect":
            self._refuse(HTTPStatus.NOT_FOUND, "pictures go to /detect")
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        elif len(length) > 12 or int(length) > MAX_BYTES:
            self._discard()
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected at most {MAX_BYTES >> 20} MiB, found {length} bytes; make "
                "the picture smaller",
            )
        elif not self.server.uploads.acquire(blocking=False):
            self._discard()
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "busy with other pictures; try again in a moment",
            )
        else:
            try:
                self._detect(int(length))
            finally:
                self.server.uploads.release()

    def _detect(self, length: int) -> None:
        data = self.rfile.read(length)
        if len(data) < length:
            return  # the client has gone
        try:
            found = self.server.detect(data)
        except ImageError as error:
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error))
        except ValueError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except Exception as error:
            logger.exception("the detector failed")
            self._refuse(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"the detector failed ({type(error).__name__}); the terminal that it "
                "runs in tells more",
            )
        else:
            self._send_json(HTTPStatus.OK, found)

    def _is_allowed(self) -> bool:
        """Tell whether a request is of this page; if not, refuse it."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if host not in self.server.hosts:
            problem = "this page has another address"
        elif origin not in (None, f"http://{host}") or (
            self.command != "GET" and site not in ("none", "same-origin")
        ):
            problem = "the request comes from another page"
        else:
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"{problem}; open {self.server.url}")
        return False

    def _discard(self) -> None:
        """Read on for a while, so that the client gets to read the answer."""
        length = self.headers.get("Content-Length", "")
        left = min(int(length[:12]), 2 * MAX_BYTES)
        while left > 0 and (block := self.rfile.read(min(left, _BLOCK))):
            left -= len(block)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send_json(status, {"error": text})

    def _send_json(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer what cannot be understood in JSON as well."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *values: Any) -> None:
        """Keep requests off the console."""
        logger.debug(format, *values)


class _Arriving(io.RawIOBase):
    """What a connection receives within a time in all.

    A limit of silence alone never ends for a client that sends a byte now and then.

    Args:
        connection: stays open.
        silence: seconds between two reads.
        whole: seconds for all of them.
    """

    def __init__(self, connection: socket, *, silence: float, whole: float) -> None:
        self._connection = connection
        self._silence = silence
        self._end = time.monotonic() + whole

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive some bytes.

        Raises:
            TimeoutError: none came, or the time is up.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(min(self._silence, left))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._silence)  # of the answer
