"""Formats that are not read are named, each with a way out."""

import json

import pytest
from faster_rcnn.datasets.folders import recognise

CASES = {
    "train_labels.csv": ("filename,class,xmin\n", "a table of boxes (CSV)"),
    "a.json": (json.dumps({"version": "5", "imagePath": "a.jpg"}), "labelme's JSON"),
    "train/via_region_data.json": (
        json.dumps({"a.jpg": {"regions": []}}),
        "VIA's JSON w",
    ),
    "result.json": (
        json.dumps({"images": [], "annotations": []}),
        "COCO's JSON without",
    ),
    "valid/_annotations.coco.json": (json.dumps({"annotations": []}), "COCO's JSON w"),
    "train/_darknet.labels": ("cat\n", "Darknet's labels w"),
    "a.xml": ("<annotation/>", "VOC's XML files wi"),
    "train/cells.tfrecord": ("x", "TensorFlow's TFRecord"),
    "data/train-00000.parquet": ("PAR1", "a table in Parquet"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_format_that_is_not_read(tmp_path, name):
    text, kind = CASES[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (path.parent / f"._{path.name}").write_text(text)
    with pytest.raises(ValueError, match="VOC layout") as caught:
        recognise(tmp_path)
    assert f"found {kind}" in str(caught.value) and f"({name}): " in str(caught.value)


def test_no_known_format(tmp_path):
    for name in ("notes.json", "notes.xml"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=r"found notes\.json, notes\.xml; see docs"):
        recognise(tmp_path)
