"""A detector that finds what it is told to, without a network."""

import threading
from types import SimpleNamespace

import numpy as np
import torch
from faster_rcnn.config.settings import NetConfig, TestConfig
from faster_rcnn.datasets.mask_encoding import encode_masks
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.detector import Result
from faster_rcnn.detector.batching import Prepared, to_sample
from faster_rcnn.detector.inputs import decode

CLASSES = ("background", "cat", "dog <b>")


class FakeDetector:
    """Finds a cat in the left half of each picture, and on the right maybe a dog.

    Attributes:
        seen: sizes of the pictures it was given, in order.
        together: numbers of pictures it was given at once.
        busy: calls in progress, at most.
        keypoints: names of two keypoints, which are then in the upper left and lower
            right of each box; and the left half of each box is its mask.
        before: called with the number of pictures seen, before each picture.
    """

    def __init__(self):
        self.classes = CLASSES
        self.keypoints = None
        self.config = SimpleNamespace(test=TestConfig(), net=NetConfig())
        self.channels = None
        self.device = torch.device("cpu")
        self.seen = []
        self.together = []
        self.busy = 0
        self.before = lambda number: None
        self._now = 0
        self._lock = threading.Lock()

    def __call__(
        self, images, *, score_threshold=None, classes=None, batch_size=None, exif=True
    ):
        images = list(images)
        self.together.append(len(images))
        return list(
            self.stream(images, score_threshold=score_threshold, classes=classes)
        )

    def read(self, path):
        return decode(path, None)

    def prepare(self, image, *, number=0):
        decoded = decode(image, None)
        return Prepared(number, decoded.size, [to_sample(decoded, 10, 20)], None)

    def detect_prepared(self, prepared, *, score_threshold=None):
        blank = [np.zeros((*p.samples[0].original_size, 3), np.uint8) for p in prepared]
        return self(blank, score_threshold=score_threshold)

    def stream(self, images, *, score_threshold=None, classes=None):
        with self._lock:
            self._now += 1
            self.busy = max(self.busy, self._now)
        for image in images:
            self.before(len(self.seen))
            height, width = decode(image, None).size
            if min(height, width) < 2:
                raise ValueError(f"image: expected 2 pixels at least, found {width}")
            self.seen.append((height, width))
            boxes = [[0, 0, width / 2, height], [width / 2, 0, width, height / 2]]
            yield Result(
                boxes=torch.tensor(boxes, dtype=torch.float32),
                scores=torch.tensor([0.75, 0.25]),
                labels=torch.tensor([1, 2]),
                size=(height, width),
                path=None,
                class_names=CLASSES,
                **self._instances(boxes, (height, width)),
            ).filter(score_threshold, classes)
        with self._lock:
            self._now -= 1

    def _instances(self, boxes, size):
        if self.keypoints is None:
            return {}
        masks = np.zeros((len(boxes), *size), np.bool_)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[int(y1) : int(y2), int(x1) : int((x1 + x2) / 2)] = True
        corners = torch.tensor(boxes, dtype=torch.float32).view(-1, 2, 2)
        points = corners + torch.tensor([[2.0, 2], [-2, -2]])
        return {
            "run_lengths": encode_masks(masks),
            "keypoints": torch.cat((points, torch.ones(len(boxes), 2, 1)), 2),
            "keypoint_names": self.keypoints,
        }


LIMB = KeypointNames(("head", "tail"), (), ((0, 1),))
