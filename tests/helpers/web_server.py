"""A web server on this machine that can misbehave."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import PATIENCE


class Server:
    """Serves `files` by path, and single pieces of them.

    Attributes:
        files: content by path.
        ranges: False ignores the Range header, a string is given as Content-Range.
        lengths: False leaves Content-Length out, a number is added to it.
        drop_after: break each answer after so many bytes.
        stall_after: send nothing more after so many bytes, until the server stops.
        ends: by path, a position in the file that no answer gets beyond.
        states: given in turn instead of an answer.
        redirects: address by path.
        meeting: a barrier at which answers wait for one another.
        requests: path and Range header of whatever was asked.
        sent: bytes by path.
        stalled: set as soon as an answer stalls.
    """

    def __init__(self):
        self.files = {}
        self.ranges = True
        self.lengths = 0
        self.drop_after = None
        self.stall_after = None
        self.ends = {}
        self.states = []
        self.redirects = {}
        self.meeting = None
        self.requests = []
        self.sent = {}
        self.stalled = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # clients that hang up
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def answer(self, handler):
        path, asked = handler.path, handler.headers["Range"]
        with self._lock:
            self.requests.append((path, asked))
            state = self.states.pop(0) if self.states else None
        if state or path not in self.files | self.redirects:
            handler.send_error(state or 404)
            return
        if path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[path])
            handler.end_headers()
            return
        if self.meeting is not None:
            self.meeting.wait(timeout=PATIENCE)
        data = self.files[path]
        start, end = 0, len(data)
        if asked and self.ranges:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()
            start, end = int(first), min(int(last) + 1 if last else end, end)
            if start >= len(data):
                handler.send_error(416)
                return
            handler.send_response(206)
            honest = f"bytes {start}-{end - 1}/{len(data)}"
            given = honest if self.ranges is True else self.ranges
            handler.send_header("Content-Range", given)
        else:
            handler.send_response(200)
        if self.lengths is not False:
            length = end - start + self.lengths
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        body = data[start:end][: self.drop_after][: self.stall_after]
        if path in self.ends:
            body = body[: max(self.ends[path] - start, 0)]
        with self._lock:
            self.sent[path] = self.sent.get(path, 0) + len(body)
        handler.wfile.write(body)
        if self.stall_after is not None and end - start > self.stall_after:
            self.stalled.set()
            self._ended.wait()

    def stop(self):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(monkeypatch):
    """A server, reached without a proxy, until the block ends."""
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.stop()
