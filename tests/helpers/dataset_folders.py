"""Small data sets on disk in VOC and COCO layout, made for tests."""

import json

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.catalog import load_dataset


class Refusing:
    """A folder whose method `read` raises errors."""

    def refuses(self, match, *arguments, **options):
        with pytest.raises(ValueError, match=match):
            self.read(*arguments, **options)


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))


def write_voc(folder, *names, difficult=False, **lists):
    """Write a folder in VOC layout whose images show one object of each class."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    corners = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
    flag = f"<difficult>{int(difficult)}</difficult><bndbox>{corners}</bndbox>"
    names = names or ("cat",)
    things = "".join(f"<object><name>{n}</name>{flag}</object>" for n in names)
    for split, stems in lists.items():
        lines = "".join(f"{stem}\n" for stem in stems)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
        for stem in stems:
            write_image(folder / "JPEGImages" / f"{stem}.jpg")
            xml = f"<annotation>{things}</annotation>"
            (folder / "Annotations" / f"{stem}.xml").write_text(xml)
    return folder


def write_coco(folder, images="{}", **counts):
    """Write a folder in COCO layout: a file and an image folder per keyword."""
    (folder / "annotations").mkdir(parents=True)
    for number, (split, count) in enumerate(counts.items()):
        ids = [100 * number + i for i in range(count)]
        for i in ids:
            write_image(folder / images.format(split) / f"{i}.jpg")
        content = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [],
        }
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(content))
    return folder


def load(name, root, split="train", classes=None):
    return load_dataset(str(name), root=root, split=split, classes=classes)


def ids(dataset):
    return [record.image_id for record in dataset.records]
