"""The server of the page on which one tries a detector."""

import logging
import threading
import time
from http.server import ThreadingHTTPServer
from socket import socket
from typing import Any

from ..detector import Detector
from ..utils.drawing import class_color
from .answers import MAX_BYTES, Handler
from .pictures import UPLOAD_FORMATS, decode_upload

logger = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000
LOWEST_SCORE = 0.05
_CONNECTIONS = 16  # at a time; others are hung up on
_UPLOADS = 4  # in memory at a time; others are told to come again


class DemoServer(ThreadingHTTPServer):
    """Answers with a page, and with what a detector finds in uploaded pictures.

    Args:
        detector: one picture at a time is given to it.
        name: of the checkpoint, to show.
        port: on 127.0.0.1; 0 for any free one.

    Raises:
        ValueError: the port is not to be had.
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
                f"port {port} of 127.0.0.1 is not to be had ({error}); give another "
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
            "formats": list(UPLOAD_FORMATS),
            "max_bytes": MAX_BYTES,
            "max_pixels": MAX_PIXELS,
            "lowest_score": LOWEST_SCORE,
        }

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def detect(self, data: bytes) -> dict[str, Any]:
        """What is found in a picture's bytes, best first.

        Raises:
            ImageError: it is no picture, or too large.
            ValueError: it is too small, and the like.
        """
        picture = decode_upload(data, max_pixels=MAX_PIXELS)
        with self._detecting:
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
        """Answer in a thread, of which there are not more than a few."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: socket | Any, client_address: Any) -> None:
        """Note what went wrong, unless the client has just gone away."""
        logger.debug("a request failed", exc_info=True)


def serve(detector: Detector, *, name: str, port: int) -> None:
    """Show the page until Ctrl-C.

    Args:
        detector: finds objects.
        name: of the checkpoint.
        port: on 127.0.0.1; 0 for any free one.

    Raises:
        ValueError: the port is not to be had.
    """
    with DemoServer(detector, name=name, port=port) as server:
        logger.info("open %s (Ctrl-C ends)", server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("ended")


def _hex(index: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_color(index))
