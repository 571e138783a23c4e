"""Labels that are removed, exchanged or shifted are found; good ones are not."""

import json
from dataclasses import replace

import numpy as np
from faster_rcnn.evaluation.analysis.doubtful_labels import find_label_errors
from faster_rcnn.evaluation.analysis.matches import match_detections
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.page.label_errors import write_label_errors
from tiny_runs import draw_dataset, make_dataset


def planted(tmp_path):
    """Six images with a detection of each object, and an error in each of three."""
    dataset = draw_dataset(tmp_path / "images", 6)
    detections = [
        ImageDetections(
            record.image_id,
            record.boxes + 0.5,
            np.full(len(record.boxes), 0.9 - number / 100, np.float32),
            record.classes,
        )
        for number, record in enumerate(dataset.records)
    ]
    records = list(dataset.records)
    shorter = {
        key: getattr(records[0], key)[1:]
        for key in ("boxes", "classes", "difficult", "crowd", "areas", "object_ids")
    }
    records[0] = replace(records[0], **shorter)
    classes = records[1].classes.copy()
    classes[0] = 3 - classes[0]
    records[1] = replace(records[1], classes=classes)
    boxes = records[2].boxes.copy()
    boxes[0, [0, 2]] += 0.5 * (boxes[0, 2] - boxes[0, 0])
    records[2] = replace(records[2], boxes=boxes)
    return make_dataset(records), detections


def test_planted_errors_come_first(tmp_path):
    dataset, detections = planted(tmp_path)
    matches = match_detections(dataset, detections)
    errors = find_label_errors(matches)
    kinds = {}
    for error in errors[:3]:
        image = int(matches.found.images[error.detection])
        kinds[error.kind] = (image, error.object >= 0)
    assert kinds == {"missing": (0, False), "wrong": (1, True), "loose": (2, True)}
    assert all(error.doubt < 0.2 for error in errors[3:])


def test_the_page_and_the_files(tmp_path):
    dataset, detections = planted(tmp_path)
    folder = tmp_path / "out"
    errors = write_label_errors(folder, dataset, detections, formats=["coco"], most=3)
    assert len(errors) == 3
    page = (folder / "labels.html").read_text()
    assert page.count("data:image/jpeg") == 3 and "labelled" in page
    rows = json.loads((folder / "labels.json").read_text())
    assert {row["kind"] for row in rows} == {"missing", "wrong", "loose"}
    content = json.loads((folder / "coco.json").read_text())
    assert len(content["images"]) == 3
    suggested = [row for row in content["annotations"] if "score" in row]
    assert len(suggested) == 3
    drawn = sum(len(dataset.records[i].boxes) for i in range(3))
    assert len(content["annotations"]) == drawn + 3


def test_nothing_is_wrong(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 2)
    detections = [
        ImageDetections(r.image_id, r.boxes, np.ones(len(r.boxes), "f4"), r.classes)
        for r in dataset.records
    ]
    assert write_label_errors(tmp_path, dataset, detections, formats=["cvat"]) == []
    assert "None found" in (tmp_path / "labels.html").read_text()
