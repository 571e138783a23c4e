"""A small folder in YOLO layout, made for tests."""

import cv2
import numpy as np
from dataset_folders import Refusing
from faster_rcnn.datasets.formats.yolo import read_yolo


def write_image(path, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


class YoloFolder(Refusing):
    """Writes a small folder in YOLO layout; images are 40 x 20."""

    def __init__(self, root):
        self.root = root
        self.settings("names: [cat, dog]\ntrain: images/train\nval: images/val\n")
        self.image("train/a", "0 0.5 0.5 0.25 0.5\n")
        self.image("val/b", "1 0.5 0.5 0.25 0.5\n")

    def settings(self, text, name="data.yaml"):
        self.root.mkdir(exist_ok=True)
        (self.root / name).write_text(text)
        return self

    def image(self, name, labels=None, *, suffix="jpg", size=(40, 20)):
        write_image(self.root / "images" / f"{name}.{suffix}", size)
        if labels is not None:
            self.labels(name, labels)
        return self

    def labels(self, name, text):
        path = self.root / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, split="train", **options):
        return read_yolo(self.root, split, name=f"own_{split}", **options)


def ids(dataset):
    return [record.image_id for record in dataset.records]
