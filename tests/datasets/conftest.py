"""A web server on this machine that can misbehave."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Serves `files` by path.

    `drop_after` breaks each answer after so many bytes, `ranges` honours the Range
    header, `states` are given in turn instead of an answer; `requests` gathers path and
    Range header of whatever was asked.
    """

    def __init__(self):
        self.files = {}
        self.drop_after = None
        self.ranges = True
        self.states = []
        self.requests = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def answer(self, handler):
        asked = handler.headers["Range"]
        self.requests.append((handler.path, asked))
        if self.states:
            handler.send_error(self.states.pop(0))
            return
        if handler.path not in self.files:
            handler.send_error(404)
            return
        data = self.files[handler.path]
        start = 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                handler.send_error(416)
                return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:][: self.drop_after])

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.stop()
