"""The test of a checkpoint: what is measured, and what is refused."""

import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.records import Dataset
from faster_rcnn.engine.checkpoint_evaluation import (
    evaluate_checkpoint as run_checkpoint,
)
from faster_rcnn.engine.checkpoint_evaluation import settle_measure
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.model.build import build_detector
from tiny_runs import RETINANET, tiny_config


def dataset(*classes):
    return Dataset(
        name="cells_test",
        layout="voc",
        classes=("__background__", *classes),
        records=(),
        drops={},
        annotation_file=None,
        category_ids=tuple(range(len(classes) + 1)),
    )


def test_checkpoint_of_other_classes(tmp_path):
    state = {"classes": ["__background__", "cat", "dog"], "config": {}}
    with pytest.raises(ValueError, match=r"knows the classes cat, dog, but cells_test"):
        run_checkpoint(
            RunFolder(tmp_path),
            tmp_path / "a.pth",
            state,
            dataset("dog", "bird"),
            Config(),
            device=torch.device("cpu"),
        )


def test_checkpoint_under_settings_that_change_the_network(tmp_path):
    settings = {"net": {"name": "mobile_v2"}, "rpn": {"channels": 8}}
    stored = Config.model_validate(settings)
    with torch.device("meta"):
        model = build_detector(stored, 2).to_empty(device="cpu")
    state = {
        "config": stored.model_dump(mode="json"),
        "classes": ["__background__", "cat"],
        "model": model.state_dict(),
    }
    other = Config.model_validate(settings | {"rpn": {"channels": 16}})
    with pytest.raises(ValueError, match=r"a\.pth does not fit the (?s:.*)rpn.head"):
        run_checkpoint(
            RunFolder(tmp_path),
            tmp_path / "a.pth",
            state,
            dataset("cat"),
            other,
            device=torch.device("cpu"),
        )


def test_what_is_measured():
    rpn, both = tiny_config("net.modules", "rpn"), tiny_config()
    fast = tiny_config("net.modules", "fast_rcnn", "data.test_proposals", "a.npz")
    assert settle_measure(rpn, None) == "proposal"
    assert settle_measure(rpn, "proposal_fast") == "proposal_fast"
    assert settle_measure(both, None) == settle_measure(fast, None) == "detection"
    with pytest.raises(ValueError, match="computes no detections"):
        settle_measure(rpn, "detection")
    with pytest.raises(ValueError, match="computes no proposals"):
        settle_measure(fast, "proposal")
    with pytest.raises(ValueError, match="one stage and computes no proposals"):
        settle_measure(tiny_config(*RETINANET), "proposal")
    with pytest.raises(ValueError, match=r"data\.test_proposals"):
        settle_measure(tiny_config("net.modules", "fast_rcnn"), None)
