"""The local server of the demo page.

Any page in the browser of this machine could reach a local server. So the server
answers fixed routes alone, and only requests that name this host (against DNS
rebinding) and come from its own page or from no page.
"""

import io
import json
import logging
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..datasets.loading.images import ImageError
from ..detector import Detector
from ..utils.drawing import class_color
from ..utils.shared_cores import adapt_threads
from .demo_page import PAGE, POLICY
from .picture_input import UPLOAD_FORMATS, decode_upload
from .timed_reader import TimedReader

logger = logging.getLogger(__name__)

MAX_BYTES = 32 << 20
MAX_PIXELS = 50_000_000
LOWEST_SCORE = 0.05
_SECONDS = 20  # that a client may be silent
_WHOLE_SECONDS = 60  # in which a request has to arrive
_BLOCK = 1 << 16
_CONNECTIONS = 16  # at a time; further ones are closed
_UPLOADS = 4  # in memory at a time; further ones are asked to try again


class Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    server: "DemoServer"
    timeout = _SECONDS
    server_version = "demo"
    sys_version = ""

    def setup(self) -> None:
        """Limit the time in which the whole request has to arrive."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(
            TimedReader(self.connection, silence=self.timeout, whole=_WHOLE_SECONDS)
        )

    def do_GET(self) -> None:
        """Send the page, or the data that the page requests."""
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
        """Detect objects in the image that is the request's body."""
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
                f"the detector failed ({type(error).__name__}); see the terminal",
            )
        else:
            self._send_json(HTTPStatus.OK, found)

    def _is_allowed(self) -> bool:
        """Return whether a request comes from this page; if not, refuse it."""
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
        """Read a part of the body, so that the client reads the answer."""
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
        """Answer malformed requests in JSON too."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *values: Any) -> None:
        """Keep requests off the console."""
        logger.debug(format, *values)


class DemoServer(ThreadingHTTPServer):
    """Serve the page, and detect objects in uploaded images.

    Args:
        port: on 127.0.0.1; 0 for any free one.

    Raises:
        ValueError: the port is not available.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = _CONNECTIONS

    def __init__(self, detector: Detector, *, name: str, port: int) -> None:
        self._detector = detector
        self._detecting = threading.Lock()
        self._connections = threading.BoundedSemaphore(_CONNECTIONS)
        self.uploads = threading.BoundedSemaphore(_UPLOADS)
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"port {port} of 127.0.0.1 is not available ({error}); give another "
                "by --port, or 0 for any"
            ) from error
        hosts = ("127.0.0.1", "localhost")
        self.hosts = {f"{host}:{self.server_port}" for host in hosts}
        if self.server_port == 80:
            self.hosts.update(hosts)
        self.info = {
            "checkpoint": name,
            "classes": list(detector.classes),
            "colors": [_hex(i) for i in range(len(detector.classes))],
            "skeleton": list(detector.keypoints.skeleton if detector.keypoints else ()),
            "formats": list(UPLOAD_FORMATS),
            "max_bytes": MAX_BYTES,
            "max_pixels": MAX_PIXELS,
            "lowest_score": LOWEST_SCORE,
        }

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.server_port}/"

    def detect(self, data: bytes) -> dict[str, Any]:
        """Detect objects in the bytes of an image, best first.

        Raises:
            ImageError: the data is not an image, or the image is too large.
            ValueError: the image is too small, or otherwise unsuitable.
        """
        picture = decode_upload(data, max_pixels=MAX_PIXELS)
        with self._detecting:
            adapt_threads()
            start = time.perf_counter()
            [result] = self._detector.stream([picture], score_threshold=LOWEST_SCORE)
            seconds = time.perf_counter() - start
        height, width = result.size
        return {
            "checkpoint": self.info["checkpoint"],
            "width": width,
            "height": height,
            "seconds": round(seconds, 3),
            "detections": result.to_list(),
        }

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the connection if too many are open."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and count the connection as closed."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless the client has just disconnected."""
        logger.debug("a request failed", exc_info=True)


def serve(detector: Detector, *, name: str, port: int) -> None:
    """Serve the page until Ctrl-C; arguments and errors as for `DemoServer`."""
    with DemoServer(detector, name=name, port=port) as server:
        logger.info("open %s (Ctrl-C ends)", server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("ended")


def _hex(index: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_color(index))
