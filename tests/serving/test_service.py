"""What a request to the server is answered."""

import io
import threading

import pytest
from bombs import bomb
from fake_detector import LIMB
from fastapi.testclient import TestClient
from faster_rcnn.serving.app import create_app
from faster_rcnn.serving.service import Limits, Service
from PIL import Image

JPEG = {"Content-Type": "image/jpeg"}


def picture(width=20, height=10, kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def serve(detector):
    """Opens a server with these limits; gives a client."""
    open_clients = []

    def start(**limits):
        service = Service(detector, name="a.pth", limits=Limits(**limits))
        client = TestClient(create_app(service), raise_server_exceptions=False)
        open_clients.append(client.__enter__())
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)


def refusal(answer):
    """The status, after a look at the rest."""
    assert list(answer.json()) == ["error"] and "Traceback" not in answer.text
    assert ("Retry-After" in answer.headers) == (answer.status_code == 503)
    return answer.status_code


def test_a_raw_picture(serve):
    answer = serve().post("/detect", content=picture(), headers=JPEG)
    assert answer.status_code == 200
    [found] = answer.json()["pictures"]
    assert (found["width"], found["height"]) == (20, 10)
    assert [sorted(row) for row in found["detections"]] == [
        ["box", "label", "name", "score"]
    ] * 2
    assert found["detections"][0]["box"] == [0, 0, 10, 10]


def test_several_pictures_in_order_above_a_score(serve, detector):
    detector.keypoints = LIMB
    files = [("a", picture(30, 10)), ("b", picture(8, 40, "JPEG")), ("c", picture())]
    answer = serve().post("/detect?score_threshold=0.5", files=files)
    found = answer.json()["pictures"]
    assert [(p["width"], p["height"]) for p in found] == [(30, 10), (8, 40), (20, 10)]
    for each in found:
        [row] = each["detections"]
        assert row["mask"]["size"] == [each["height"], each["width"]]
        assert row["keypoints"][0] == [2, 2, 1]


def test_masks_as_polygons_or_none(serve, detector):
    detector.keypoints = LIMB
    client = serve()

    def first(query):
        answer = client.post(f"/detect?{query}", content=picture())
        return answer.json()["pictures"][0]["detections"][0]

    [part] = first("masks=polygons&vertices=8")["polygons"]
    assert sorted(part) == [[0, 0], [0, 10], [5, 0], [5, 10]]
    for query, shown in (("masks=none", set()), ("masks=polygons", {"polygons"})):
        assert first(query).keys() & {"mask", "polygons"} == shown
    detector.keypoints = None
    assert "polygons" not in first("masks=polygons")  # a detector without masks


@pytest.mark.parametrize(
    ("status", "request_of"),
    [
        (400, {"content": b"", "headers": JPEG}),
        (400, {"data": {"a": "text"}, "files": {"b": picture()}}),
        (400, {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        (413, {"content": bytes(50_001), "headers": JPEG}),
        (413, {"content": iter([bytes(30_000)] * 2)}),
        (413, {"files": [("a", picture())] * 4}),
        (415, {"content": b"text", "headers": JPEG}),
        (415, {"content": picture()[:40], "headers": JPEG}),
        (415, {"content": picture(200, 200), "headers": JPEG}),
        (415, {"content": bomb(1 << 16, 1 << 16), "headers": JPEG}),
        (415, {"files": [("a", picture()), ("b", b"text")]}),
        (422, {"content": picture(1, 1), "headers": JPEG}),
        (422, {"content": picture(), "params": {"score_threshold": "2"}}),
        (422, {"content": picture(), "params": {"masks": "polygon"}}),
        (422, {"content": picture(), "params": {"vertices": "3"}}),
    ],
)
def test_malformed_requests(serve, status, request_of):
    client = serve(bytes=50_000, pixels=10_000, pictures=3)
    assert refusal(client.post("/detect", **request_of)) == status
    assert client.post("/detect", content=picture()).status_code == 200


def test_other_routes(serve):
    client = serve()
    assert refusal(client.get("/")) == 404 and refusal(client.get("/detect")) == 405
    assert client.get("/info").json()["classes"][1] == "cat"
    for path in ("/health", "/health/ready", "/health/live"):
        assert client.get(path).json() == {"live": True, "ready": True, "queued": 0}
    described = client.get("/openapi.json").json()
    detect = described["paths"]["/detect"]["post"]
    assert "multipart/form-data" in detect["requestBody"]["content"]
    assert detect["responses"]["503"]["content"]["application/json"]["schema"]
    assert "keypoints" in described["components"]["schemas"]["Detection"]["properties"]


def test_figures(serve, detector):
    client = serve()
    client.post("/detect", content=picture())
    for body in (b"", b"text"):
        client.post("/detect", content=body)
    detector.before = lambda number: 1 / 0
    client.post("/detect", content=picture())
    lines = client.get("/metrics").text.splitlines()
    for line in (
        *('frcnn_requests_total{status="200"} 1.0', "frcnn_failures_total 1.0"),
        *("frcnn_refusals_total 2.0", "frcnn_request_seconds_count 4.0"),
        "frcnn_queue_pictures 0.0",
    ):
        assert line in lines


def test_an_unexpected_failure_is_not_shown(serve, detector):
    def fail(number):
        raise RuntimeError("a secret")

    detector.before = fail
    answer = serve().post("/detect", content=picture())
    assert refusal(answer) == 500 and "secret" not in answer.text


def test_a_slow_detector_is_not_waited_for(serve, detector):
    waiting = threading.Event()
    detector.before = lambda number: waiting.wait()
    client = serve(answer_seconds=0.05, queue=1)
    assert refusal(client.post("/detect", content=picture())) == 503
    # One picture is in work, and the next one waits; no third one is accepted.
    assert refusal(client.post("/detect", content=picture())) == 503
    files = [("a", picture()), ("b", picture())]
    answer = client.post("/detect", files=files)
    assert refusal(answer) == 503 and "busy" in answer.json()["error"]
    waiting.set()
    assert client.get("/health").status_code == 200
