"""What is written for labelling tools is read back with the same boxes."""

import json

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.catalog import load_dataset
from faster_rcnn.datasets.exports.cvat import read_cvat
from faster_rcnn.datasets.exports.label_studio import read_label_studio
from faster_rcnn.datasets.exports.objects import LabelledBox, LabelledPicture
from faster_rcnn.datasets.exports.written_labels import LABEL_FILES, write_labels
from faster_rcnn.datasets.given_files import as_folders

CLASSES = ("cat", "dog <b>")
PICTURES = [
    LabelledPicture(
        f"{name} é.png",
        60,
        40,
        (
            LabelledBox("dog <b>", (1.25, 2.0, 30.125, 20.0), 0.75),
            LabelledBox("cat", (0.0, 0.0, 60.0, 39.5 - number), 0.5),
        ),
    )
    for number, name in enumerate("abcde")
]


def as_predicted(path):
    """The boxes of all pictures, by name."""
    found = {}
    for split in ("train", "val"):
        dataset = load_dataset(as_folders(str(path)), root=path, split=split)
        for record in dataset.records:
            names = [dataset.classes[c] for c in record.classes]
            found[record.path.name] = (names, record.boxes)
    return found


@pytest.mark.parametrize("form", LABEL_FILES)
def test_it_is_read_back(tmp_path, form):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for number, picture in enumerate(PICTURES):
        pixels = np.full((40, 60, 3), 50 * number, np.uint8)
        cv2.imwrite(str(folder / "images" / picture.name), pixels)
    write_labels(folder, [form], PICTURES, CLASSES)
    found = as_predicted(folder)
    assert found.keys() == {picture.name for picture in PICTURES}
    for picture in PICTURES:
        names, boxes = found[picture.name]
        assert names == [box.label for box in picture.boxes]
        expected = [box.edges for box in picture.boxes]
        np.testing.assert_allclose(boxes, expected, atol=1e-4)


def test_a_persons_label_is_told_from_a_detection(tmp_path):
    drawn = LabelledBox("cat", (0, 0, 9, 9))
    picture = PICTURES[0]._replace(boxes=(drawn, *PICTURES[0].boxes))
    paths = write_labels(tmp_path, LABEL_FILES, [picture], CLASSES)
    rows = json.loads(paths[0].read_text())["annotations"]
    assert ["score" in row for row in rows] == [False, True, True]
    sources = [part[:6] for part in paths[1].read_text().split('source="')[1:]]
    assert sources == ["manual", 'auto" ', 'auto" ']
    # Of a task that a person has annotated, predictions are no labels.
    names = [found.label for _, found in read_label_studio(paths[2]) if found]
    assert names == ["cat"]


def test_turned_boxes_and_outlines(tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_text(
        "<annotations><image name='a.png' width='60' height='40'>"
        "<box label='cat' xtl='10' ytl='10' xbr='30' ybr='20' rotation='90'/>"
        "<polygon label='dog' points='1,2;9,2;9,8'/><points points='1,1'/>"
        "<mask label='dog' left='3' top='4' width='5' height='6' rle='1'/>"
        "</image></annotations>"
    )
    found = [each for _, each in read_cvat(path) if each]
    assert found[0].edges == pytest.approx((15, 5, 25, 25))
    assert [each.edges for each in found[1:]] == [(1, 2, 9, 8), (3, 4, 8, 10)]
    value = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90}
    region = {
        "type": "rectanglelabels",
        "original_width": 100,
        "original_height": 200,
        "value": {**value, "rectanglelabels": ["cat"]},
    }
    task = {
        "data": {"image": "/data/upload/3/0a1b2c3d-a.png"},
        "annotations": [{"was_cancelled": True}, {"result": [region]}],
    }
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([task]))
    (name, _), (_, found) = read_label_studio(path)
    assert name == "/data/upload/3/a.png"
    assert found.edges == pytest.approx((30, 100, 50, 120))
    path = tmp_path / "bad.xml"
    path.write_text("<annotations>")
    with pytest.raises(ValueError, match=r"bad\.xml"):
        list(read_cvat(path))
