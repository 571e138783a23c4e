import csv
import logging

import pytest
from faster_rcnn.evaluation.results import save_detections
from faster_rcnn.evaluation.saved_detections import (
    load_saved,
    load_saved_proposals,
    save_curves,
)
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.voc_files import save_voc_files

BOX = [10, 10, 20, 20]


@pytest.fixture
def pair(record, dataset):
    return dataset([record("a", [BOX], [1]), record("b")])


@pytest.fixture
def detections(found):
    return [found("a", [BOX], [0.9]), found("b")]


def test_each_form_is_recognised(pair, detections, tmp_path):
    save_detections(tmp_path / "detections.json", detections, pair)
    save_voc_files(tmp_path, detections, pair)
    for source, comp in (
        (tmp_path, None),
        (tmp_path / "detections.json", None),
        (tmp_path, "comp4"),
    ):
        first, second = load_saved(source, pair, comp=comp)
        assert first.boxes.tolist() == [BOX] and len(second.scores) == 0
    (tmp_path / "detections.json").unlink()
    assert load_saved(tmp_path, pair)[0].boxes.tolist() == [BOX]


def test_nothing_found_is_refused(pair, found, tmp_path):
    path = tmp_path / "detections.json"
    save_detections(path, [found("a"), found("b")], pair)
    with pytest.raises(ValueError, match=r"expected detections on pets_test, found no"):
        load_saved(path, pair)
    with pytest.raises(ValueError, match=r"gone\.json: .*check the path"):
        load_saved(tmp_path / "gone.json", pair)


def test_detections_serve_as_proposals(pair, detections, tmp_path):
    path = tmp_path / "detections.json"
    save_detections(path, detections, pair)
    assert load_saved_proposals(path, pair)[0].boxes.tolist() == [BOX]


def test_curves_by_hand(pair, found, tmp_path):
    detections = [found("a", [[200, 200, 210, 210], BOX], [0.75, 0.5]), found("b")]
    path = tmp_path / "curves.csv"
    save_curves(path, evaluate(pair, detections, iou_thresholds=(0.5, 0.7)))
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:3] == [
        ["iou", "class", "score", "recall", "precision"],
        ["0.5", "cat", "0.75", "0", "0"],
        ["0.5", "cat", "0.5", "1", "0.5"],
    ]
    assert [row[0] for row in rows[1:]] == ["0.5", "0.5", "0.7", "0.7"]
    with pytest.raises(ValueError, match="give --rules voc"):
        save_curves(path, evaluate(pair, detections, rules=("coco",)))


def test_doubled_and_sparse_detections_are_reported(
    record, dataset, found, tmp_path, caplog
):
    data = dataset([record(name, [BOX], [1]) for name in "abcde"])
    boxes, scores = [BOX, BOX, BOX, [1, 1, 9, 9], BOX], [0.9, 0.9, 0.8, 0.7, 0.7]
    other = found("c", [BOX, BOX], [0.9, 0.9], [1, 2])  # of two classes
    first = found("a", boxes, scores)
    detections = [first, found("b"), other, found("d"), found("e")]
    path = tmp_path / "detections.json"
    save_detections(path, detections, data)
    with caplog.at_level(logging.WARNING):
        load_saved(path, data)
    twice, few = caplog.messages
    assert "1 of 7 detections repeat another, first [10.0, 10.0, 20.0, 20.0]" in twice
    assert "only 2 of the 5 images of pets_test have detections" in few
