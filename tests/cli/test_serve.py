"""``frcnn serve`` as a process: it answers, and ends after what it has begun."""

import http.client
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from faster_rcnn.serving import listen
from faster_rcnn.utils.drawing import save_image
from patience import PATIENCE
from tiny_checkpoints import save_tiny
from tiny_runs import tiny_config


@pytest.mark.processes
@pytest.mark.skipif(not find_spec("fastapi"), reason="the extra serve is missing")
def test_a_signal_ends_it_after_the_requests_in_work(tmp_path):
    checkpoint = save_tiny(tmp_path / "iter_0000004.pth", tiny_config())
    save_image(tmp_path / "a.png", np.zeros((60, 80, 3), np.uint8))
    picture = (tmp_path / "a.png").read_bytes()
    command = [sys.executable, "-m", "faster_rcnn.cli", "serve", str(checkpoint)]
    server = subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in server.stderr:
            if found := re.search(r"http://127.0.0.1:(\d+)/detect", line):
                break
        link = http.client.HTTPConnection("127.0.0.1", int(found[1]), PATIENCE)
        link.putrequest("POST", "/detect")
        link.putheader("Content-Length", str(len(picture)))
        link.putheader("Expect", "100-continue")
        link.endheaders(picture[:100])
        # The server reads the body, so the request is in work.
        assert link.sock.recv(100).startswith(b"HTTP/1.1 100")
        server.send_signal(signal.SIGTERM)
        link.send(picture[100:])
        assert link.getresponse().status == 200
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()


def test_an_address_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} .* --port"):
            listen._bind("127.0.0.1", port)


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ValueError, match=r"fastapi; pip install faster-rcnn\[serve\]"):
        listen.require_packages()
