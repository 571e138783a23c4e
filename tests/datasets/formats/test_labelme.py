import json

import cv2
import numpy as np
import pytest
from dataset_folders import Refusing
from faster_rcnn.datasets.folders import has_validation, read_folder
from faster_rcnn.datasets.records import Wanted

MASKS = Wanted(masks=True)
TRIANGLE = [[1, 2], [11, 2], [11, 12.5]]


def shape(label, points, kind="polygon", group=None):
    return {"label": label, "points": points, "group_id": group, "shape_type": kind}


class Folder(Refusing):
    """Files of labelme; images are 40 x 30."""

    def __init__(self, root):
        self.root = root
        self.write("train/a", shape("cat", TRIANGLE))
        self.write("val/b", shape("dog", TRIANGLE))

    def write(self, name, *shapes, **keys):
        path = self.root / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path.with_suffix(".png")), np.zeros((30, 40, 3), np.uint8))
        content = {"version": "5.4", "shapes": shapes, "imagePath": f"{path.stem}.png"}
        content |= {"imageData": "A" * 1000, "imageWidth": 40, "imageHeight": 30}
        path.write_text(json.dumps(content | keys))
        return path

    def read(self, split="train", wanted=MASKS):
        return read_folder(self.root, split, name="own", wanted=wanted)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_good_files(folder):
    assert has_validation(folder.root)
    found = folder.read()
    assert found.classes == ("__background__", "cat", "dog") and found.has_masks
    (record,) = found.records
    assert record.image_id == "a" and record.path == folder.root / "train" / "a.png"
    assert (record.width, record.height) == (40, 30)
    assert record.boxes.tolist() == [[1, 2, 11, 12.5]]
    assert record.masks[0][0].tolist() == TRIANGLE
    (other,) = folder.read("test").records  # val, for want of a test set
    assert other.classes.tolist() == [2]
    assert folder.read(wanted=Wanted()).records[0].masks is None


def test_kinds_of_shapes(folder):
    folder.write(
        "train/a",
        shape("cat", [[9, 8], [3, 4]], "rectangle"),
        shape("dog", [[20, 15], [20, 19]], "circle"),
        shape("cat", TRIANGLE, group=1),
        shape("dog", TRIANGLE, group=1),
        shape("cat", [[20, 20], [30, 20], [30, 25]], group=1),
        shape("cat", [[5, 5]], "point"),
        {"label": "cat", "points": TRIANGLE},  # of old versions
    )
    found = folder.read()
    record = found.records[0]
    assert record.classes.tolist() == [1, 2, 1, 2, 1]
    assert [len(mask) for mask in record.masks] == [1, 1, 2, 1, 1]
    boxes = [[3, 4, 9, 8], [16, 11, 24, 19], [1, 2, 30, 25]]
    np.testing.assert_allclose(record.boxes[:3], boxes, atol=1e-5)
    circle = record.masks[1][0]
    assert cv2.contourArea(circle) == pytest.approx(np.pi * 16, rel=2e-3)
    assert found.drops == {"shape without an area": 1}


def test_images_elsewhere_and_without_size(folder):
    folder.write("train/a", imagePath="..\\images\\a.png", imageHeight=None)
    folder.write("train/c", imagePath="/home/me/c.png")
    folder.write("train/d", imagePath="../val/b.png")
    a, c, d = folder.read().records
    assert a.path.name == "a.png" and (a.width, a.height) == (40, 30)
    assert c.path == folder.root / "train" / "c.png"
    assert d.path.resolve() == folder.root / "val" / "b.png"
    (folder.root.parent / "c.png").touch()  # outside of the data
    folder.write("train/c", imagePath="../../c.png")
    assert folder.read().records[1].path == folder.root / "train" / "c.png"
    (folder.root / "train" / "c.png").unlink()
    folder.refuses(r"1 of 3 images .*train/c.png; put each")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "b.json: expected labelme's JSON, cannot read it"),
        ("[]", "b.json: expected the key 'shapes'"),
        ('{"shapes": []}', "b.json: expected the key 'imagePath'"),
        *(
            (json.dumps({"imagePath": "a.png", "shapes": [bad]}), "b.json: shape 1: ")
            for bad in (
                *(5, {}, shape("", TRIANGLE), shape("cat", [])),
                *(shape("cat", [[1, 2, 3]]), shape("cat", [["a", 2]])),
                shape("cat", [[1, 2]], "rectangle"),
            )
        ),
    ],
)
def test_malformed(folder, content, message):
    (folder.root / "train" / "b.json").write_text(content)
    folder.refuses(message)


def test_counted(folder):
    folder.write(
        "train/a",
        shape("cat", [[1, 2], [3, 4]]),
        shape("cat", [[1, 2], [3, float("nan")], [5, 5]]),
        shape("cat", TRIANGLE),
    )
    found = folder.read()
    assert found.drops == {
        "box with a NaN or infinite coordinate": 1,
        "polygon with fewer than three points": 1,
        "polygon with a NaN or infinite coordinate": 1,
        "object without a mask": 1,
    }
    assert len(found.records[0].boxes) == 2
