"""Features of boxes, probabilities of all classes, and thresholds by class."""

import json

import numpy as np
import pytest
import torch
from faster_rcnn import Detector
from faster_rcnn.detector import read_thresholds
from tiny_checkpoints import save_tiny
from tiny_runs import CASCADE, RETINANET, draw_dataset, tiny_config

VIEWS = ["test.scales", "[48]", "test.flip", "true"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("image"), 1).records[0].path


def open_tiny(folder, *settings, **options):
    config = tiny_config("test.score_threshold", 0.05, *settings)
    checkpoint = save_tiny(folder / "a.pth", config)
    return Detector.from_checkpoint(checkpoint, device="cpu", **options)


@pytest.mark.parametrize("settings", [("boxes.offset", 1), CASCADE])
def test_embedded_boxes_have_the_features_of_detections(tmp_path, path, settings):
    detector = open_tiny(
        tmp_path, *settings, features=True, overrides=["test.flip", "true"]
    )
    found = detector(path)
    assert len(found) > 3
    embedded = detector.embed(path, found.boxes)
    torch.testing.assert_close(embedded, found.features, atol=1e-4, rtol=1e-4)
    # Not those of other boxes: the test would pass for constants too.
    other = detector.embed(path, found.boxes.flip(0))
    assert (other - embedded).abs().max() > 0.01
    kept = found.filter(score_threshold=float(found.scores[2]))
    assert torch.equal(kept.features, found.features[:2])


@pytest.mark.parametrize("settings", [(), CASCADE, RETINANET])
def test_all_scores_contain_the_score(tmp_path, path, settings):
    detector = open_tiny(tmp_path, *settings, all_scores=True, overrides=VIEWS)
    found = detector(path)
    assert len(found) > 3 and found.all_scores.shape == (len(found), 3)
    own = found.all_scores.gather(1, found.labels[:, None])[:, 0]
    assert torch.equal(own, found.scores)
    if settings != RETINANET:
        assert torch.allclose(found.all_scores.sum(1), torch.ones(len(found)))
    row = found.to_list()[0]
    assert row["all_scores"][row["name"]] == row["score"]


def test_what_has_no_features_says_so(tmp_path, path):
    detector = open_tiny(tmp_path, *RETINANET)
    with pytest.raises(ValueError, match="box head"):
        detector.embed(path, [[0, 0, 9, 9]])
    with pytest.raises(ValueError, match="box head"):
        open_tiny(tmp_path, *RETINANET, features=True)
    detector = open_tiny(
        tmp_path, all_scores=True, overrides=["test.suppression", "weighted"]
    )
    with pytest.raises(ValueError, match="weighted"):
        detector(path)


def test_boxes_to_embed_are_checked(detector, path):
    with pytest.raises(ValueError, match="x1 <= x2"):
        detector.embed(path, [[5, 0, 4, 9]])


def test_results_are_saved_as_arrays(tmp_path, path):
    found = open_tiny(tmp_path, features=True)(path)
    found.save(tmp_path / "found.npz")
    with np.load(tmp_path / "found.npz") as saved:
        np.testing.assert_array_equal(saved["features"], found.features)
        np.testing.assert_array_equal(saved["boxes"], found.boxes)
        assert tuple(saved["class_names"]) == found.class_names


def test_thresholds_by_class(detector, checkpoint, path):
    everything = detector(path)
    limit = float(everything.scores[everything.labels == 1].median())
    found = detector(path, score_threshold={"box": limit})
    expected = (everything.labels != 1) | (everything.scores > limit)
    assert 0 < expected.sum() < len(expected)
    assert torch.equal(found.boxes, everything.boxes[expected])
    setting = Detector.from_checkpoint(
        checkpoint,
        device="cpu",
        overrides=["test.class_thresholds", f"{{box: {limit}}}"],
    )
    assert torch.equal(setting(path).boxes, found.boxes)
    assert torch.equal(everything.filter({"box": limit}).boxes, found.boxes)
    with pytest.raises(ValueError, match="did you mean 'box'"):
        detector(path, score_threshold={"Box": 0.5})
    overrides = ["test.class_thresholds", "{Box: 0.5}"]
    with pytest.raises(ValueError, match="did you mean 'box'"):
        Detector.from_checkpoint(checkpoint, device="cpu", overrides=overrides)


def test_thresholds_of_a_test(tmp_path):
    table = {
        "box": {"best_score": 0.5, "best_F1": 0.9},
        "disc": {"best_score": None, "best_F1": None},
    }
    folder = tmp_path / "test" / "set" / "iter_0000004"
    folder.mkdir(parents=True)
    (folder / "errors.json").write_text(json.dumps({"per_class": table}))
    found = read_thresholds(tmp_path)
    assert list(found) == ["box"]
    assert np.float32(found["box"]) < np.float32(0.5) < found["box"] + 1e-7
    (folder / "errors.json").write_text("{}")
    with pytest.raises(ValueError, match="best_score"):
        read_thresholds(folder)
    with pytest.raises(ValueError, match=r"errors\.json"):
        read_thresholds(tmp_path / "test")
