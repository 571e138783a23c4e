"""The checks of masks and keypoints, above all in COCO layout."""

import json

import cv2
import numpy as np
import pytest
from checked_folders import VocFolder, check, encoded, picture
from faster_rcnn.datasets.checks.entries import KINDS

NAMES = ["nose"] + [f"{side}_{n}" for n in ("eye", "ear", "hip") for side in "lr"]
SQUARE = [10, 10, 40, 10, 40, 40, 10, 40]
GOOD = {"bbox": [10, 10, 30, 30], "area": 900, "segmentation": [SQUARE]}


def points(swapped=""):
    """Keypoints of a person who looks into the camera, all within the square."""
    found = {"nose": (25, 12)}
    for row, name in enumerate(("eye", "ear", "hip")):
        left, right = (20, 30) if name == swapped else (30, 20)
        found |= {f"l_{name}": (left, 14 + 8 * row), f"r_{name}": (right, 14 + 8 * row)}
    return [value for name in NAMES for value in (*found[name], 2)]


class Folder:
    """A clean file with one image and one object per entry, and a clean val."""

    def __init__(self, root):
        self.root = root
        (root / "annotations").mkdir()
        for split in ("train", "val"):
            (root / split).mkdir()
        self.write("val", [{}], 100)

    def found(self, *changes):
        """Check objects with these changes; return kinds and details."""
        self.write("train", changes, 1)
        return found(self.root)

    def write(self, split, changes, start):
        images, annotations = [], []
        for i, change in enumerate(changes, start=start):
            path = self.root / split / f"{i}.jpg"
            path.write_bytes(encoded(picture(i)))
            size = {"width": 80, "height": 60}
            images.append({"id": i, "file_name": path.name, **size})
            row = {"id": i, "image_id": i, "category_id": 1, **GOOD, **change}
            annotations.append({k: v for k, v in row.items() if v is not None})
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 1, "name": "cat", "keypoints": NAMES}]
        file = self.root / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(content))


def found(root):
    noise = ("duplicate image", "near-duplicate image", "image without objects")
    return [(d.kind, d.detail) for d in check(root).defects if d.kind not in noise]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_clean(folder):
    runs = {"size": [60, 80], "counts": [610, 30, 4160]}
    runs = {"segmentation": runs, "bbox": [10, 10, 1, 30], "area": 30}
    crowd = {"iscrowd": 1, "segmentation": [SQUARE, [10, 10, 12, 10, 12, 12]]}
    assert folder.found({}, {"keypoints": points()}, runs, {"bbox": None}, crowd) == []


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        ({"segmentation": [[1, 2, 3, 4]]}, "malformed mask", "fewer than three points"),
        ({"segmentation": [[*SQUARE, 1]]}, "malformed mask", "an odd number"),
        ({"segmentation": ["no"]}, "malformed mask", "expected polygons or run"),
        (
            {"segmentation": {"size": [60, 80], "counts": [5]}},
            "malformed mask",
            "run lengths that are not those",
        ),
        (
            {"segmentation": {"size": [80, 60], "counts": [4000, 800]}},
            "mask of another size",
            "60 x 80 in an image of 80 x 60",
        ),
        (
            {"segmentation": [[v + 20 for v in SQUARE]]},
            "mask apart from its box",
            "mask from (30, 30) to (60, 60), box from (10, 10) to (40, 40)",
        ),
        (
            {"segmentation": [[10, 10, 20, 10, 20, 20]], "area": 50},
            "mask apart from its box",
            "mask from (10, 10) to (20, 20)",
        ),
        ({"area": 500}, "area of another mask", "area 500, its mask covers 900"),
        ({"keypoints": [1, 2, 2]}, "malformed keypoints", "21 numbers, found 3"),
        ({"keypoints": 5}, "malformed keypoints", "21 numbers, found 1"),
        ({"keypoints": ["a"] * 21}, "malformed keypoints", "found ['a', 'a'"),
        (
            {"keypoints": points(), "num_keypoints": 3},
            "malformed keypoints",
            "num_keypoints 3, but 7 are labelled",
        ),
        (
            {"keypoints": [79, 5, 2, *points()[3:]]},
            "keypoint apart from its box",
            "nose at (79.5, 5.5), box from (10, 10) to (40, 40)",
        ),
    ],
)
def test_each_defect(folder, change, kind, detail):
    ((own_kind, own_detail),) = folder.found({}, change)
    assert own_kind == kind and detail in own_detail
    assert KINDS[kind].weight == "warning"  # training goes on without the mask
    assert own_detail.startswith("2.jpg: cat 2: ")


def test_swapped_pair(folder):
    """A pair lies the other way round in most objects; a few crossed legs are none."""
    good, ears = {"keypoints": points()}, {"keypoints": points("ear")}
    assert folder.found(*[good] * 20, *[ears] * 10) == []
    ((kind, detail),) = folder.found(*[ears] * 22, *[good] * 2)
    assert kind == "swapped keypoints"
    assert detail.startswith("l_ear and r_ear lie") and "in 22 of 24" in detail


def test_masks_of_voc(tmp_path):
    folder = VocFolder(tmp_path / "own")
    (folder.root / "SegmentationObject").mkdir()
    values = np.zeros((60, 80), np.uint8)
    values[10:40, 10:40] = 1
    mask = folder.root / "SegmentationObject" / "a.png"
    cv2.imwrite(str(mask), values)
    assert found(folder.root) == []
    cv2.imwrite(str(mask), values[:, ::-1])
    assert found(folder.root) == [("malformed mask", "mask that no box belongs to")]
    mask.write_bytes(b"")
    ((kind, detail),) = found(folder.root)
    assert kind == "malformed mask" and "expected masks as a PNG" in detail
