"""The server over plain HTTP: its routes, its limits, and whom it refuses."""

import contextlib
import http.client
import io
import json
import socket
import threading
import time

import cv2
import numpy as np
import pytest
from bombs import bomb
from faster_rcnn.demo import server
from faster_rcnn.demo.demo_page import PAGE, POLICY
from faster_rcnn.demo.server import DemoServer
from patience import PATIENCE
from PIL import Image


@pytest.fixture
def serving(detector):
    with DemoServer(detector, name="a.pth", port=0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def ask(serving):
    """Sends a request; gives status, headers and what the JSON says."""

    def request(method, path, body=None, *, own_host=True, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        link = http.client.HTTPConnection(
            "127.0.0.1", serving.server_port, timeout=PATIENCE
        )
        link.putrequest(method, path, skip_host="Host" in names)
        if body is not None and "Content-Length" not in names:
            names["Content-Length"] = str(len(body))
        for name, value in names.items():
            link.putheader(name, value)
        link.endheaders()
        if body is not None:
            link.send(body)
        answer = link.getresponse()
        data = answer.read()
        link.close()
        is_json = answer.headers["Content-Type"] == "application/json"
        return (
            answer.status,
            answer.headers,
            json.loads(data or "null") if is_json else data,
        )

    return request


def png(width=20, height=10, kind=".png"):
    done, data = cv2.imencode(kind, np.zeros((height, width, 3), np.uint8))
    assert done
    return data.tobytes()


def test_the_page(ask):
    status, headers, page = ask("GET", "/")
    assert status == 200 and page.decode() == PAGE
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "http:" not in PAGE.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in PAGE


def test_what_the_page_needs_to_know(ask):
    status, _, info = ask("GET", "/info")
    assert status == 200 and info["classes"] == ["background", "cat", "dog <b>"]
    assert info["checkpoint"] == "a.pth" and len(info["colors"]) == 3


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp"])
def test_detections_down_to_a_low_score(ask, kind):
    status, _, found = ask("POST", "/detect", png(kind=kind))
    assert status == 200
    assert (found["width"], found["height"], found["checkpoint"]) == (20, 10, "a.pth")
    assert [(each["name"], each["score"]) for each in found["detections"]] == [
        ("cat", 0.75),
        ("dog <b>", 0.25),
    ]
    assert found["detections"][0]["box"] == [0, 0, 10, 10]


def test_turned_pictures_are_upright(ask):
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    _, _, found = ask("POST", "/detect", file.getvalue())
    assert (found["width"], found["height"]) == (20, 30)


@pytest.mark.parametrize(
    "path",
    [
        "/page.py",
        "/../../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/info?x",
        "file:///a",
        "*",
    ],
)
def test_no_path_is_readable(ask, path):
    for method, body in (("GET", None), ("POST", b"x")):
        status, _, answer = ask(method, path, body)
        assert status == 404 and set(answer) == {"error"}


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(ask, method):
    assert ask(method, "/")[0] == 501
    assert ask("GET", "/detect")[0] == 405


def test_hosts(ask, serving):
    port = serving.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert ask("GET", "/", Host=host)[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "", f"0:{port}"):
        for method, path, body in (("GET", "/info", None), ("POST", "/detect", png())):
            status, _, answer = ask(method, path, body, Host=host)
            assert status == 403 and f"open http://127.0.0.1:{port}/" in answer["error"]


def test_origins(ask, serving, detector):
    own = f"http://127.0.0.1:{serving.server_port}"
    assert ask("POST", "/detect", png(), Origin=own)[0] == 200
    for origin in ("null", "http://evil.example", f"{own}0", own.replace(":", "s:", 1)):
        assert ask("POST", "/detect", png(), Origin=origin)[0] == 403
    for site in ("cross-site", "same-site"):
        assert ask("POST", "/detect", png(), Sec_Fetch_Site=site)[0] == 403
    assert ask("GET", "/", Sec_Fetch_Site="cross-site")[0] == 200  # a link to it
    assert len(detector.seen) == 1


def svg():
    return b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def tiff():
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "TIFF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "found 0 bytes of another kind"),
        (b"no picture", "another kind; convert"),
        (svg(), "another kind"),
        (tiff(), "another kind"),
        (png()[:-30], "damaged"),
        (png(90, 90, ".jpg")[:400], "damaged"),
        (bomb(20_000, 20_000), "expected at most 50 million pixels (Image size (400"),
        (bomb(7072, 7071), "at most 50 million pixels, found 7072 x 7071"),
        (bomb(2**31 - 1, 2**31 - 1), "expected"),
        (bomb(100, 100), "damaged"),
    ],
    ids=range(10),
)
def test_files_that_are_not_pictures(ask, data, problem, detector):
    status, _, answer = ask("POST", "/detect", data)
    assert status == 415 and problem in answer["error"]
    assert not detector.seen


def test_large_uploads_are_not_read_into_memory(ask, monkeypatch):
    monkeypatch.setattr(server, "MAX_BYTES", 1 << 20)
    status, _, answer = ask("POST", "/detect", bytes((1 << 20) + 1))
    assert status == 413 and "at most 1 MiB, found 1048577 bytes" in answer["error"]
    # Whatever it says, no more than some of it is waited for.
    monkeypatch.setattr(server.Handler, "timeout", 0.2)
    for length in ("9" * 12, "9" * 5000):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask("POST", "/detect", b"x", Content_Length=length)


@pytest.mark.parametrize("length", [None, "-1", "x", "1_0", "0x10", "²"])
def test_a_length_is_needed(serving, length):
    header = "" if length is None else f"Content-Length: {length}\r\n"
    text = f"POST /detect HTTP/1.0\r\nHost: 127.0.0.1:{serving.server_port}\r\n{header}"
    assert b" 411 " in raw(serving, f"{text}\r\n".encode())


def raw(serving, data):
    with socket.create_connection(("127.0.0.1", serving.server_port), PATIENCE) as link:
        link.sendall(data)
        answer = b""
        while block := link.recv(1 << 16):
            answer += block
        return answer


@pytest.mark.parametrize(
    "data", [b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70000]
)
def test_invalid_requests(serving, ask, data):
    assert b'{"error": "' in raw(serving, data)
    assert ask("GET", "/")[0] == 200


def test_a_silent_client_is_hung_up_on(serving, ask, monkeypatch):
    monkeypatch.setattr(server.Handler, "timeout", 0.1)
    assert raw(serving, b"POST /detect HT") == b""
    host = f"Host: 127.0.0.1:{serving.server_port}"
    assert not raw(
        serving,
        f"POST /detect HTTP/1.0\r\n{host}\r\nContent-Length: 9\r\n\r\n".encode(),
    )
    assert ask("GET", "/")[0] == 200


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.0\r\nX: ", None])
def test_a_trickle_is_hung_up_on(serving, monkeypatch, start):
    monkeypatch.setattr(server, "_WHOLE_SECONDS", 0.3)
    host = f"Host: 127.0.0.1:{serving.server_port}"
    body = f"POST /detect HTTP/1.0\r\n{host}\r\nContent-Length: 9999\r\n\r\n".encode()
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", serving.server_port), PATIENCE) as link:
        link.sendall(body if start is None else start)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begun + 30:
                link.sendall(b"x")
                time.sleep(0.02)
    while serving._connections._value < server._CONNECTIONS:
        assert time.monotonic() < begun + 30  # all places are free again
        time.sleep(0.01)
    assert serving.uploads._value == server._UPLOADS


def wait_until_none_is_left(semaphore):
    """Without taking one, which somebody else might then lack."""
    while semaphore._value:
        threading.Event().wait(0.001)


def test_one_detection_at_a_time_and_few_uploads(ask, detector, serving):
    here, go = threading.Event(), threading.Event()

    def hold(number):
        here.set()
        assert go.wait(PATIENCE)

    detector.before = hold
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask("POST", "/detect", png())))
        for _ in range(server._UPLOADS)
    ]
    for thread in threads:
        thread.start()
    assert here.wait(PATIENCE)
    wait_until_none_is_left(serving.uploads)
    status, _, answer = ask("POST", "/detect", png())
    assert status == 503 and "try again" in answer["error"]
    go.set()
    for thread in threads:
        thread.join()
    assert [status for status, *_ in statuses] == [200] * 4 and detector.busy == 1
    assert ask("POST", "/detect", png())[0] == 200


def test_few_connections(serving, ask):
    port = serving.server_port
    links = [
        socket.create_connection(("127.0.0.1", port))
        for _ in range(server._CONNECTIONS)
    ]
    wait_until_none_is_left(serving._connections)
    assert raw(serving, b"") == b""  # hung up on, and not waited for
    for link in links:
        link.close()


def test_a_failing_detector_reveals_no_details(ask, detector, caplog):
    def fail(number):
        raise RuntimeError("/secret/path is broken")

    detector.before = fail
    status, _, answer = ask("POST", "/detect", png())
    assert status == 500 and "RuntimeError" in answer["error"]
    assert "secret" not in answer["error"] and "secret" in caplog.text
    detector.before = lambda number: None
    status, _, answer = ask("POST", "/detect", png(1, 1))
    assert status == 422 and "2 pixels at least" in answer["error"]


def test_only_this_machine_is_listened_to(serving):
    assert serving.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken(serving, detector):
    for port in (serving.server_port, 70_000):
        with pytest.raises(ValueError, match=f"port {port} .* another by --port"):
            DemoServer(detector, name="a.pth", port=port)
