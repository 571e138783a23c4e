"""Connections whose client falls silent are closed, and the others are not."""

import asyncio
import socket
import threading

import numpy as np
import pytest
from checked_folders import encoded
from faster_rcnn.serving import listen
from faster_rcnn.serving.service import Limits, Service
from patience import PATIENCE

HEAD = b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"


@pytest.fixture
def connect(detector, monkeypatch):
    """Serves with short limits; opens connections."""
    monkeypatch.setattr(listen, "_SILENT_SECONDS", 0.1)
    service = Service(detector, name="a.pth", limits=Limits(body_seconds=0.3))
    listening = listen._bind("127.0.0.1", 0)
    server = listen._server(service)
    running = asyncio.new_event_loop()
    thread = threading.Thread(
        target=running.run_until_complete, args=[listen._serve(server, listening)]
    )
    thread.start()
    links = []

    def open_link(sent):
        links.append(socket.create_connection(listening.getsockname(), PATIENCE))
        links[-1].sendall(sent)
        return links[-1]

    yield open_link
    for link in links:
        link.close()
    server.should_exit = True
    thread.join(PATIENCE)
    running.close()


def received(link):
    """All that comes until the server closes the connection."""
    return b"".join(iter(lambda: link.recv(4096), b""))


@pytest.mark.parametrize("sent", [b"", b"POST /detect HT", HEAD])
def test_a_request_that_does_not_begin(connect, sent):
    assert received(connect(sent)) == b""


def test_a_body_that_stops_halfway(connect):
    link = connect(HEAD + b"\r\n" + bytes(50))
    answer = received(link)
    assert answer.startswith(b"HTTP/1.1 408") and b"in time" in answer


def test_a_request_in_work_is_no_silence(connect, detector):
    begun, go = threading.Event(), threading.Event()

    def hold(number):
        begun.set()
        assert go.wait(PATIENCE)

    detector.before = hold
    silent, body = connect(b""), encoded(np.zeros((4, 4, 3), np.uint8), "png")
    link = connect(HEAD.replace(b"100", b"%d" % len(body)) + b"\r\n" + body)
    assert begun.wait(PATIENCE)
    assert received(silent) == b""  # as long as it takes to be called silent
    go.set()
    assert link.recv(4096).startswith(b"HTTP/1.1 200")
