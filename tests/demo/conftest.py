"""Fixtures of the demo's tests."""

import cv2
import numpy as np
import pytest
from fake_detector import FakeDetector


@pytest.fixture
def detector():
    return FakeDetector()


@pytest.fixture
def pictures(tmp_path):
    """A folder with pictures of 20 x 10 pixels: a.jpg, b.png, sub/c.jpg."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.jpg", "b.png", "sub/c.jpg")):
        cv2.imwrite(str(folder / name), np.full((10, 20, 3), 60 * i + 60, np.uint8))
    return folder


@pytest.fixture
def make_video(tmp_path):
    """Makes a video whose frame i is grey of 10 i."""

    def make(path, *, frames=6, fps=12.5, size=(48, 64)):
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), code, fps, (size[1], size[0]))
        assert writer.isOpened()
        for i in range(frames):
            writer.write(np.full((*size, 3), 10 * i % 250, np.uint8))
        writer.release()
        return path

    return make
