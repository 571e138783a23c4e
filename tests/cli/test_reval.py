"""Saved results, evaluated again by the command line."""

import functools
import json

import numpy as np
import pytest
from checked_folders import VocFolder
from faster_rcnn.datasets.catalog import load_dataset
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.proposal_recall import ImageProposals, save_proposals
from faster_rcnn.evaluation.results import save_detections
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.voc_files import save_voc_files


@pytest.fixture
def call(run_tool):
    return functools.partial(run_tool, "reval")


@pytest.fixture
def dataset(tmp_path):
    folder = VocFolder(tmp_path / "own")
    return load_dataset(str(folder.root), root=tmp_path, split="test")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "own"


@pytest.fixture
def detections(dataset):
    """Of each object a good detection, a worse one of the same, and a stray."""
    found = []
    for record in dataset.records:
        worse = record.boxes + np.array([0, 0, 0, 2], np.float32)
        stray = np.array([[0, 0, 3, 3]], np.float32)
        boxes = np.concatenate([record.boxes, worse, stray])
        count = len(record.boxes)
        scores = np.array([0.9] * count + [0.6] * count + [0.3], np.float32)
        classes = np.concatenate([record.classes, record.classes, [1]])
        found.append(ImageDetections(record.image_id, boxes, scores, classes))
    return found


@pytest.fixture
def saved(dataset, detections, tmp_path):
    path = tmp_path / "test" / "detections.json"
    save_detections(path, detections, dataset)
    return path


def results(call, folder, saved, tmp_path, *words):
    path = tmp_path / "results.json"
    status, out, err = call(folder, saved, "--results", path, *words)
    assert status == 0, err
    return json.loads(path.read_text()), out


def test_gives_the_numbers_of_the_test(
    call, folder, saved, dataset, detections, tmp_path
):
    content, out = results(call, folder, saved, tmp_path)
    evaluation = evaluate(dataset, detections)
    assert out == evaluation.table() + "\n"
    settings = content.pop("settings")
    assert content == evaluation.to_json()
    assert settings["source"] == str(saved)
    assert results(call, folder, saved.parent, tmp_path)[1] == out


def test_voc_files_give_the_same(call, folder, dataset, detections, saved, tmp_path):
    save_voc_files(tmp_path / "Main", detections, dataset, comp="comp3")
    expected = results(call, folder, saved, tmp_path)[1]
    assert results(call, folder, tmp_path / "Main", tmp_path)[1] == expected
    status, _, err = call(folder, tmp_path / "Main", "--comp", "comp4")
    assert status == 2 and "image list, found none" in err


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--score", 0.5], 2 / 3),
        (["--score", 0.7], 1 / 3),
        (["--nms", 0.5], 2 / 3),
        (["--max", 1], None),
        (["--soft-nms", 0.5], 1),
        (["--soft-nms-linear", 0.3], 1),
    ],
)
def test_fewer_detections(call, folder, saved, tmp_path, words, kept):
    before, _ = results(call, folder, saved, tmp_path)
    after, _ = results(call, folder, saved, tmp_path, *words)
    one_object_each = before["counts"]["images"] * 3
    assert before["counts"]["detections"] == one_object_each
    if kept is None:
        assert after["counts"]["detections"] == before["counts"]["images"]
    else:
        expected = round(kept * one_object_each)
        assert after["counts"]["detections"] == expected
    assert after["headline"]["value"] >= before["headline"]["value"] > 0.5


def test_other_metrics_overlaps_and_classes(call, folder, saved, tmp_path):
    words = ("--rules", "voc", "coco", "--iou", "0.5:0.95")
    content, out = results(call, folder, saved, tmp_path, *words)
    assert content["coco"]["AP"] > 0.5 and len(content["voc"]["by_iou"]) == 10
    assert "\nIoU " in out
    words = (*words, "--evaluator", "pycocotools")
    assert results(call, folder, saved, tmp_path, *words)[1] == out
    names = list(content["per_class"])
    content, _ = results(call, folder, saved, tmp_path, "--classes", names[0])
    assert list(content["per_class"]) == names[:1]


def test_everything_is_written(call, folder, saved, tmp_path):
    out = tmp_path / "out"
    status, _, err = call(
        folder, saved, "--save", out / "d.json", "--save-voc", out / "Main",
        "--curves", out / "curves.csv", "--comp", "comp3",
    )  # fmt: skip
    assert status == 0, err
    assert (out / "d.json").read_bytes() == saved.read_bytes()
    assert next((out / "Main").iterdir()).name.startswith("comp3_det_test_")
    assert (out / "curves.csv").read_text().startswith("iou,class,score,recall,")
    status, _, err = call(folder, saved, "--upload", out, "mine")
    assert status == 2 and "expected COCO layout" in err


def test_proposals(call, folder, dataset, tmp_path):
    path = tmp_path / "proposals.npz"
    found = [
        ImageProposals(r.image_id, r.boxes, np.ones(len(r.boxes), np.float32))
        for r in dataset.records
    ]
    save_proposals(path, found, dataset)
    outputs = []
    for words in ([], ["--eval", "proposal"], ["--eval", "proposal_fast"]):
        content, out = results(call, folder, path, tmp_path, *words)
        assert content["average_recall"]["AR@100"] == 1
        outputs.append(out)
    assert len(set(outputs)) == 1
    status, _, err = call(folder, path, "--soft-nms", 0.5)
    assert status == 2 and "--soft-nms applies to detections" in err


def test_detections_as_proposals(call, folder, saved, tmp_path):
    content, _ = results(call, folder, saved, tmp_path, "--eval", "proposal")
    assert content["average_recall"]["AR@100"] == 1


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "instances_mine.json"
    content = {
        "images": [{"id": 7, "width": 60, "height": 50}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 5, "bbox": [1, 2, 10, 20]}],
    }
    path.write_text(json.dumps(content))
    return path


def test_results_of_another_tool_without_the_images(call, annotations, tmp_path):
    row = {"image_id": 7, "category_id": 5, "bbox": [1, 2, 10, 20], "score": 0.5}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row]))
    status, out, err = call(annotations, path, "--upload", tmp_path, "mine")
    assert status == 0 and out.endswith("AP = 1.0000\n"), err
    assert (tmp_path / "detections_mine_mine_results.zip").is_file()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 8}, "1 rows of unknown images (first is row 0"),
        ({"category_id": 6}, "1 rows of unknown categories"),
        ({"score": float("nan")}, "1 rows whose score is not a finite number"),
    ],
)
def test_bad_rows(call, annotations, tmp_path, change, problem):
    row = {"image_id": 7, "category_id": 5, "bbox": [1, 2, 10, 20], "score": 0.5}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row | change]))
    status, out, err = call(annotations, path)
    assert status == 2 and problem in err and not out


def test_zero_is_explained(call, annotations, tmp_path):
    row = {"image_id": 7, "category_id": 5, "bbox": [90, 90, 10, 20], "score": 0.5}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row]))
    status, out, _ = call(annotations, path)
    assert status == 0 and "AP is 0 although there are detections: 1 of 1 boxes" in out
    status, out, _ = call(annotations, path, "--score", 0.9)
    assert status == 0 and "AP is 0 because there are no detections" in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--iou", "50"], "expected IoUs between 0 and 1"),
        (["--max", "0"], "expected a whole number"),
        (["--nms", "0.5", "--soft-nms", "0.5"], "not allowed with"),
        (["--classes", "cow"], "no class 'cow'"),
        (["--rules", "coco", "--curves", "x.csv"], "give --rules voc"),
    ],
)
def test_wrong_input(call, folder, saved, words, problem):
    status, _, err = call(folder, saved, *words)
    assert status == 2 and problem in err


def test_another_split_is_refused(call, folder, saved):
    status, _, err = call(folder, saved, "--split", "train")
    assert status == 2 and "6 rows of unknown images (first is row 0: " in err


def test_report_beside_an_earlier_one(call, folder, dataset, detections, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    save_detections(before / "detections.json", detections, dataset)
    words = (folder, before, "--score", 0.5, "--report", after, "--earlier", before)
    status, out, err = call(*words)
    assert (status, err) == (0, "")
    assert "mAP" in out
    page = (after / "report.html").read_text()
    assert "before" in page
    assert json.loads((after / "errors.json").read_text())
