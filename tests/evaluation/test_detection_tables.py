import csv

import numpy as np
from dataset_folders import load
from faster_rcnn.evaluation.detection_tables import save_table_or_json
from faster_rcnn.evaluation.image_detections import ImageDetections
from tiny_runs import draw_dataset


def detections_of(dataset):
    """The objects as detections, with falling scores."""
    return [
        ImageDetections(
            record.image_id,
            record.boxes,
            np.linspace(0.9, 0.5, len(record.boxes), dtype=np.float32),
            record.classes,
        )
        for record in dataset.records
    ]


def test_rows_and_columns(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 2)
    path = tmp_path / "new folder/found.csv"
    save_table_or_json(path, detections_of(dataset), dataset)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    record = dataset.records[0]
    assert list(rows[0]) == [
        *("filename", "width", "height", "class", "score"),
        *("xmin", "ymin", "xmax", "ymax"),
    ]
    assert len(rows) == sum(len(record.boxes) for record in dataset.records)
    first = rows[0]
    assert first["filename"] == "image0.png" and first["score"] == "0.90000"
    assert (int(first["width"]), int(first["height"])) == (80, 64)
    assert first["class"] == dataset.classes[record.classes[0]]
    box = [float(first[name]) for name in ("xmin", "ymin", "xmax", "ymax")]
    assert box == record.boxes[0].tolist()


def test_a_table_is_read_as_annotations(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 5)
    save_table_or_json(tmp_path / "images/train.csv", detections_of(dataset), dataset)
    found = load(tmp_path / "images", "train")
    boxes = {record.path.name: record.boxes.tolist() for record in found.records}
    expected = {r.path.name: r.boxes.tolist() for r in dataset.records}
    assert boxes and boxes.items() <= expected.items()
