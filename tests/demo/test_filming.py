"""Videos and cameras."""

import json
import logging
import os
import signal

import cv2
import numpy as np
import pytest
from faster_rcnn.demo.folder import detect_into
from faster_rcnn.demo.run import DemoOptions
from faster_rcnn.demo.sources import find_items
from faster_rcnn.demo.videos import VideoOutput
from faster_rcnn.engine.stop_signals import Interrupted


@pytest.fixture
def call(tmp_path, detector, caplog):
    caplog.set_level(logging.INFO, logger="faster_rcnn")
    output = tmp_path / "out"

    def run(source, **options):
        items = find_items([str(source)], output=output)
        return detect_into(
            output, items, detector, settings={}, options=DemoOptions(**options)
        )

    run.output = output
    return run


def facts(path):
    video = cv2.VideoCapture(str(path))
    keys = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    frames = []
    while (answer := video.read())[0]:
        frames.append(answer[1])
    return *(video.get(key) for key in keys), frames


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_of_the_same_size_and_rate(call, make_video, tmp_path, detector):
    video = make_video(tmp_path / "a.avi")
    assert call(video, as_json=True, batch=4)
    assert detector.together == [4, 2]
    width, height, fps, frames = facts(call.output / "a.mp4")
    assert (height, width, fps, len(frames)) == (48, 64, 12.5, 6)
    inside = [frame[20:30, 40:60].mean() for frame in frames]
    np.testing.assert_allclose(inside, range(0, 60, 10), atol=5)
    assert max(frames[0][:, 0].mean(axis=0)) > 40  # the cat's edge on black
    found = lines(call.output / "a.mp4.jsonl")
    assert [line["frame"] for line in found] == list(range(6))
    assert found[5]["seconds"] == pytest.approx(0.4)
    assert found[0]["detections"][0]["name"] == "cat"
    (line,) = lines(call.output / "detections.jsonl")
    assert (line["frames"], line["found"], line["fps"]) == (6, 6, 12.5)
    assert line["output"] == "a.mp4" and line["json"] == "a.mp4.jsonl"
    assert call(video, as_json=True) and len(detector.seen) == 6  # it is there


def test_odd_sizes_lose_a_line_and_say_so(tmp_path, caplog):
    with VideoOutput(tmp_path / "new", fps=10, size=(49, 65)) as video:
        video.write(np.zeros((49, 65, 3), np.uint8))
        path = video.finish(tmp_path / "a.mp4")
    assert facts(path)[:2] == (64, 48)
    assert "64 x 48 of the 65 x 49 pixels" in caplog.text


def test_json_alone(call, make_video, tmp_path):
    assert call(make_video(tmp_path / "a.avi"), drawn=False)
    assert len(lines(call.output / "a.mp4.jsonl")) == 6
    assert not (call.output / "a.mp4").exists()


def test_a_stopped_video_keeps_its_finished_frames(
    call, make_video, tmp_path, detector
):
    video = make_video(tmp_path / "a.avi")
    detector.before = lambda number: number == 2 and os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match="1 of 1 to do"):
        call(video)
    assert len(facts(call.output / "a.partial.mp4")[3]) == 3
    assert not (call.output / "a.mp4").exists()
    detector.before = lambda number: None
    assert call(video) and len(facts(call.output / "a.mp4")[3]) == 6
    assert not (call.output / ".unfinished").exists()


def test_a_signal_at_the_last_frame_changes_nothing(
    call, make_video, tmp_path, detector
):
    detector.before = lambda number: number == 5 and os.kill(os.getpid(), signal.SIGINT)
    assert call(make_video(tmp_path / "a.avi"))
    assert len(facts(call.output / "a.mp4")[3]) == 6


def test_a_video_cut_short_fails(call, make_video, tmp_path, caplog):
    video = make_video(tmp_path / "a.avi", frames=40)
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    assert not call(video)
    assert "a.avi: expected" in caplog.text and "1 failed" in caplog.text
    assert not (call.output / "a.mp4").exists()


class Camera:
    """Stands for a camera; its frames are all alike, and then there are no more."""

    def __init__(self, frames):
        self.left = frames

    def isOpened(self):
        return self.left > 0

    def get(self, key):
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}[key]

    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((48, 64, 3), np.uint8)

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    real = cv2.VideoCapture

    def connect(frames):
        monkeypatch.setattr(
            "cv2.VideoCapture",
            lambda source: Camera(frames) if source == 0 else real(source),
        )

    return connect


@pytest.mark.parametrize("stop", ["frames", "signal"])
def test_a_camera_ends_on_request(call, camera, detector, stop):
    camera(1000)
    if stop == "signal":
        detector.before = lambda n: n == 2 and os.kill(os.getpid(), signal.SIGINT)
    assert call("0", frames=3 if stop == "frames" else None, as_json=True)
    (path,) = call.output.glob("camera-0-*.mp4")
    assert len(lines(path.with_name(f"{path.name}.jsonl"))) == 3
    (line,) = lines(call.output / "detections.jsonl")
    assert line["frames"] == 3 and line["output"] == path.name


def test_a_camera_that_goes_away(call, camera, caplog):
    camera(2)
    assert not call("0")
    assert "camera 0 gives no more frames" in caplog.text
    assert list(call.output.glob("camera-0-*.mp4"))


def test_no_camera(call, camera, caplog):
    camera(0)
    assert not call("0")
    assert "expected a camera, cannot open it" in caplog.text


def test_missing_codecs_are_reported(call, make_video, tmp_path, caplog, monkeypatch):
    video = make_video(tmp_path / "a.avi")
    real = cv2.VideoWriter

    def lacking(*codes):
        def open_writer(path, code, fps, size):
            lacks = code in [real.fourcc(*name) for name in codes]
            return real(path, 0, fps, (0, 0)) if lacks else real(path, code, fps, size)

        open_writer.fourcc = real.fourcc
        monkeypatch.setattr("cv2.VideoWriter", open_writer)

    lacking("mp4v")
    assert call(video)
    assert "no MPEG-4 codec; writing Motion JPEG (.avi)" in caplog.text
    assert len(facts(call.output / "a.avi")[3]) == 6
    lacking("mp4v", "MJPG")
    with pytest.raises(ValueError, match=r"neither MPEG-4 nor Motion JPEG.*pip"):
        call(video, threshold=0.1)
