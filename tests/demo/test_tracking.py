"""Objects of a video keep their numbers, and the files are MOTChallenge's."""

import json

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.demo import tracking
from faster_rcnn.demo.folder import detect_into
from faster_rcnn.demo.run import DemoOptions
from faster_rcnn.demo.sources import find_items
from faster_rcnn.demo.tracking import mot_lines
from faster_rcnn.detector import Result
from faster_rcnn.utils.drawing import class_color

FRAMES = 20
_COLOURS = {1: (0, 0, 255), 2: (0, 255, 0)}


def place(label, frame):
    """Where an object is: the cats cross from left to right, the dogs back."""
    x = 4.0 + 5 * frame if label == 1 else 130.0 - 5 * frame
    y = 10.0 if label == 1 else 60.0
    return [x, y, x + 24, y + 24]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "in" / "clip.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 100))
    for frame in range(FRAMES):
        image = np.zeros((100, 160, 3), np.uint8)
        for label, colour in _COLOURS.items():
            x1, y1, x2, y2 = map(int, place(label, frame))
            image[y1:y2, x1:x2] = colour
        writer.write(image)
    writer.release()
    return path


class Shapes:
    """Finds the shapes by their colours, the dog with a low score for two frames."""

    def __init__(self, detector):
        self.__dict__.update(detector.__dict__)
        self.read = detector.read
        self.frame = 0

    def __call__(self, images, *, score_threshold, classes, batch_size):
        found = []
        for image in images:
            image = getattr(image, "pixels", image)
            weak = 0.3 if self.frame in (8, 9) else 0.9
            boxes = []
            for channel in (0, 1):  # red is the cat's
                ys, xs = np.nonzero(image[..., channel] > 127)
                boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            self.frame += 1
            result = Result(
                boxes=torch.tensor(np.array(boxes), dtype=torch.float32),
                scores=torch.tensor([0.9, weak]),
                labels=torch.tensor([1, 2]),
                size=image.shape[:2],
                path=None,
                class_names=self.classes,
            )
            found.append(result.filter(score_threshold, classes))
        return found


def run(video, detector, **options):
    output = video.parent.parent / "out"
    items = find_items([str(video)], output=output)
    good = detect_into(
        output, items, Shapes(detector), settings={}, options=DemoOptions(**options)
    )
    assert good
    return output


def rows_of(output):
    text = (output / "clip.mot.txt").read_text()
    return np.array([line.split(",") for line in text.splitlines()], float)


def test_a_file_without_a_tracker(video, detector):
    rows = rows_of(run(video, detector, mot=True, drawn=False))
    assert len(rows) == 2 * FRAMES - 2  # two are below the threshold
    assert set(rows[:, 1]) == {-1} and rows[:, 0].min() == 1
    np.testing.assert_allclose(rows[0, 2:6], [5, 11, 24, 24], atol=1)


def test_numbers_stay(video, detector):
    pytest.importorskip("trackers")
    output = run(video, detector, track=True, as_json=True)
    rows = rows_of(output)
    assert set(rows[:, 1]) == {1, 2}
    for number in (1, 2):
        own = rows[rows[:, 1] == number]
        # From the second frame on, the weak ones included, and on one row of pixels.
        assert own[:, 0].tolist() == list(range(2, FRAMES + 1))
        assert np.ptp(own[:, 3]) <= 2
    lines = (output / "clip.mp4.jsonl").read_text().splitlines()
    first, second = (
        json.loads(lines[1])["detections"],
        json.loads(lines[9])["detections"],
    )
    names = [{each["id"]: each["name"] for each in found} for found in (first, second)]
    assert names[0] == names[1] and len(names[0]) == 2
    assert (output / "clip.mp4").stat().st_size > 1000


def test_numbers_are_drawn_in_their_colours():
    result = Result(
        boxes=torch.tensor([[5.0, 5, 60, 60]]),
        scores=torch.tensor([0.9]),
        labels=torch.tensor([1]),
        size=(100, 160),
        path=None,
        class_names=("background", "cat"),
        track_ids=torch.tensor([7]),
    )
    image = np.zeros((100, 160, 3), np.uint8)
    drawn = result.draw(image)
    assert not np.array_equal(drawn, result.draw(image, labels=False))
    assert tuple(drawn[40, 5]) == class_color(7)
    assert result.to_list()[0]["id"] == 7
    assert mot_lines(0, result) == "1,7,6.00,6.00,55.00,55.00,0.9000,-1,-1,-1\n"


def test_the_package_is_named_where_it_is_missing(video, detector, monkeypatch):
    def missing(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(tracking.importlib, "import_module", missing)
    with pytest.raises(ValueError, match="pip install"):
        run(video, detector, track=True)
