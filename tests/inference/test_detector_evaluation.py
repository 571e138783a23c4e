import json

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.evaluation import pictures
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.results import load_detections
from faster_rcnn.inference import detector_evaluation
from faster_rcnn.inference.detector_evaluation import (
    EvaluationOptions,
    save_pictures,
)
from faster_rcnn.inference.detector_evaluation import evaluate_detector as run_test
from tiny_runs import CPU, draw_dataset, tiny_config, tiny_detector


@pytest.fixture
def run(tmp_path):
    """Test an untrained detector; gives the folder it wrote and what it returned."""

    def run(dataset, *overrides, dtype=torch.float32, **options):
        config = tiny_config("data.test_short_side", 32, *overrides)
        folder = tmp_path / "test" / "tiny" / "iter_0000004"
        evaluation = run_test(
            tiny_detector(config),
            dataset,
            config,
            folder=folder,
            device=CPU,
            dtype=dtype,
            checkpoint="iter_0000004.pth",
            options=EvaluationOptions(**options),
        )
        return folder, evaluation

    return run


def truth(record, score=0.9):
    """The detections of a detector that errs in nothing."""
    scores = np.full(len(record.boxes), score, np.float32)
    return ImageDetections(record.image_id, record.boxes, scores, record.classes)


@pytest.mark.parametrize("workers", [0, 1])
def test_everything_is_written(tmp_path, run, workers):
    dataset = draw_dataset(tmp_path / "images", 3)
    folder, evaluation = run(
        dataset, "test.pictures", 2, "data.workers", workers, "test.report", "true"
    )
    assert {path.name for path in folder.iterdir()} == {
        "detections.json",
        "errors.json",
        "pictures",
        "plots",
        "report.html",
        "results.json",
    }
    content = json.loads((folder / "results.json").read_text())
    settings = content.pop("settings")
    assert content == evaluation.to_json()
    assert content["dataset"] == "tiny" and content["layout"] == "voc"
    assert content["counts"]["images"] == 3
    assert content["headline"]["name"] == "mAP_07"
    assert set(content["per_class"]) == {"box", "disc"}
    assert settings["checkpoint"] == "iter_0000004.pth"
    assert settings["precision"] == "float32"
    assert settings["test"]["nms_threshold"] == 0.3
    assert 0 < settings["seconds"] < 60
    entries = load_detections(folder / "detections.json", dataset)
    assert [entry.image_id for entry in entries] == ["image0", "image1", "image2"]
    assert sum(len(entry.scores) for entry in entries) == evaluation.detections > 0


def test_pictures_show_truth_beside_detections(tmp_path, run):
    dataset = draw_dataset(tmp_path / "images", 5)
    folder, _ = run(dataset, "test.pictures", 2)
    pictures = sorted((folder / "pictures").iterdir())
    assert [path.name for path in pictures] == ["image0.jpg", "image2.jpg"]
    for path in pictures:
        height, width = cv2.imread(str(path)).shape[:2]
        assert width >= 2 * 80 and height >= 64


@pytest.mark.parametrize(("count", "written"), [(0, 0), (1, 1), (3, 3), (50, 3)])
def test_number_of_pictures(tmp_path, count, written):
    dataset = draw_dataset(tmp_path / "images", 3)
    found = [truth(record) for record in dataset.records]
    save_pictures(tmp_path / "pictures", dataset, found, count=count, threshold=0.5)
    assert len(list(tmp_path.glob("pictures/*.jpg"))) == written


def test_pictures_draw_what_scores_enough(tmp_path, monkeypatch):
    dataset = draw_dataset(tmp_path / "images", 1)
    (record,) = dataset.records
    boxes = np.array([(1, 1, 9, 9), (2, 2, 20, 20), (5, 5, 30, 30)], np.float32)
    scores = np.array([0.9, 0.5, 0.49], np.float32)
    entry = ImageDetections("image0", boxes, scores, np.array([1, 2, 1]))
    drawn = []

    def draw_boxes(pixels, boxes, **options):
        drawn.append((boxes.tolist(), options))
        return pixels

    monkeypatch.setattr(pictures, "draw_boxes", draw_boxes)
    save_pictures(tmp_path / "pictures", dataset, [entry], count=1, threshold=0.5)
    (true_boxes, true), (found_boxes, found) = drawn
    assert true_boxes == record.boxes.tolist()
    assert true["labels"] == [dataset.classes[c] for c in record.classes]
    assert found_boxes == boxes[:2].tolist()
    assert found["labels"] == ["box", "disc"]
    assert found["scores"] == pytest.approx([0.9, 0.5])


def test_perfect_detections_in_any_order(tmp_path, run, monkeypatch):
    dataset = draw_dataset(tmp_path / "images", 4)
    entries = [truth(record) for record in dataset.records]
    batches = [[entries[2], entries[0]], [entries[3], entries[1]]]
    monkeypatch.setattr(
        detector_evaluation, "detect_images", lambda *_, **__: iter(batches)
    )
    folder, evaluation = run(dataset)
    assert evaluation.headline == ("mAP_07", 1.0)
    rows = json.loads((folder / "detections.json").read_text())
    ids = list(dict.fromkeys(row["image_id"] for row in rows))
    assert ids == ["image0", "image1", "image2", "image3"]


def test_precision_is_recorded(tmp_path, run):
    folder, _ = run(draw_dataset(tmp_path / "images", 1), dtype=torch.bfloat16)
    content = json.loads((folder / "results.json").read_text())
    assert content["settings"]["precision"] == "bfloat16"


def test_a_second_test_replaces_the_first(tmp_path, run):
    dataset = draw_dataset(tmp_path / "images", 2)
    folder, first = run(dataset)
    before = (folder / "detections.json").read_bytes()
    again, second = run(dataset)
    assert again == folder and second.detections == first.detections
    assert (folder / "detections.json").read_bytes() == before


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_ends_the_test(tmp_path, run, workers):
    dataset = draw_dataset(tmp_path / "images", 3)
    dataset.records[1].path.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"image1\.png: expected an image"):
        run(dataset, "data.workers", workers)
    assert not (tmp_path / "test").exists()


def test_pictures_of_all_images_and_a_table(tmp_path, run):
    dataset = draw_dataset(tmp_path / "images", 3)
    shown, table = tmp_path / "shown", tmp_path / "found.csv"
    _, evaluation = run(dataset, "test.pictures", 1, show_dir=shown, out=table)
    assert sorted(p.stem for p in shown.iterdir()) == ["image0", "image1", "image2"]
    assert len(table.read_text().splitlines()) == 1 + evaluation.detections > 1


def test_a_limit_without_effect_is_told(tmp_path, run, caplog):
    dataset = draw_dataset(tmp_path / "images", 1)
    run(dataset, "test.max_detections", 300)
    assert "300 has no effect beyond test.detections_per_image 100" in caplog.text
    caplog.clear()
    run(dataset, "test.max_detections", 300, "test.detections_per_image", 300)
    assert "no effect" not in caplog.text
