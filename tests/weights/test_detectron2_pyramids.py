"""Detectron2's detectors with a pyramid, and with a dilated last stage."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron_forward import compare
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings, recipe_file
from faster_rcnn.layer_utils.anchors import base_anchors
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.detectron2 import SETTINGS
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config
from weight_files import (
    check_all_needed,
    check_whole,
    detectron2_shapes,
    detectron2_state,
    lively,
    loaded_detector,
)

CELLS = "proposal_generator.anchor_generator.cell_anchors"
X101_STD = (57.375, 57.12, 58.395)  # BGR


def pixels(net):
    std = X101_STD if net == "resx101" else (1.0, 1.0, 1.0)
    mean = (103.53, 116.28, 123.675)
    return {"pixel_mean": torch.tensor(mean), "pixel_std": torch.tensor(std)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "features", "kind"),
    [
        ("res50", "fpn", "R50-FPN"),
        ("res101", "fpn", "R101-FPN"),
        ("resx101", "fpn", "X101-FPN"),
        ("res50", "dc5", "R50-DC5"),
        ("res101", "dc5", "R101-DC5"),
    ],
)
def test_whole_detector(net, features, kind):
    state = detectron2_state(net, 81, features) | pixels(net)
    weights = recognise_weights({"model": state, "__author__": "x"}, "FILE")
    assert weights.kind == f"Detectron2 {kind} detector"
    assert weights.net == net
    assert weights.style == ("pytorch" if net == "resx101" else "caffe")
    wanted = "torchvision" if net == "resx101" else "detectron2"
    assert weights.normalisation == wanted
    assert weights.anchors == (3 if features == "fpn" else 15)
    assert weights.num_classes == 81 and weights.used == len(state) - 2
    check_whole(weights)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["c4", "dc5", "fpn"])
@torch.no_grad()
def test_computes_the_same(features):
    state = lively(detectron2_shapes("res50", 5, features))
    weights = recognise_weights(state, "FILE")
    model = loaded_detector(detector_config(weights, []), weights)
    compare(model, state, "res50", features)


def test_resnext_takes_blue_first():
    state = detectron2_state("resx101", 5, "fpn")
    stem = state["backbone.bottom_up.stem.conv1.weight"]
    ours = recognise_weights(state, "FILE").state["backbone.conv1.weight"]
    assert torch.equal(ours, stem.flip(1))


def cell_anchors(sizes):
    rows = []
    for size in sizes:
        for ratio in (0.5, 1, 2):
            width, height = size / ratio**0.5, size * ratio**0.5
            rows.append((-width / 2, -height / 2, width / 2, height / 2))
    return torch.tensor(rows)


def test_anchors_of_the_levels():
    state = detectron2_state("res50", 5, "fpn")
    cells = {
        f"{CELLS}.{i}": cell_anchors([size])
        for i, size in enumerate((32, 64, 128, 256, 512))
    }
    weights = recognise_weights(state | cells, "FILE")
    assert weights.unused.keys() == cells.keys()
    config = detector_config(weights, [])
    with torch.device("cpu"):
        for stride, want in zip((4, 8, 16, 32, 64), cells.values(), strict=True):
            ours = base_anchors(
                stride=stride,
                ratios=config.anchors.ratios,
                scales=config.anchors.scales,
                offset=config.boxes.offset,
                centre=config.anchors.centre,
                rounding=config.anchors.rounding,
            )
            torch.testing.assert_close(ours, want)
    wrong = cells | {f"{CELLS}.2": cell_anchors([100])}
    with pytest.raises(CheckpointError, match=rf"{CELLS}\.2: expected \["):
        recognise_weights(state | wrong, "FILE")


@pytest.mark.parametrize(
    ("net", "std"), [("res50", X101_STD), ("resx101", (1.0, 1.0, 1.0))]
)
def test_input_of_another_net(net, std):
    state = detectron2_state(net, 5, "fpn")
    state["pixel_std"] = torch.tensor(std)
    with pytest.raises(CheckpointError, match="pixel_std: expected"):
        recognise_weights(state, "FILE")


@pytest.mark.parametrize("features", ["dc5", "fpn"])
def test_whole_or_not_at_all(features):
    state = detectron2_state("res50", 5, features)
    keys = list(state)[3::60] + list(state)[-1:]
    check_all_needed(state, keys, f"Detectron2 R50-{features.upper()}")
    for key in keys:
        wrong = state | {key: torch.from_numpy(np.zeros((3, 2, 1), np.float32))}
        with pytest.raises(CheckpointError, match="of other shape"):
            recognise_weights(wrong, "FILE")


RECIPES = {
    "c4": ("res50", "coco", "detectron2_c4"),
    "c4, voc": ("res50", "voc0712", "detectron2_voc"),
    "dc5": ("res50_dc5", "coco"),
    "fpn": ("res50_fpn", "coco"),
    "cascade": ("cascade_res50_fpn", "coco"),
    "retinanet": ("retina_res50_fpn", "coco"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_recipes_agree_with_imported_weights(case):
    net, dataset, *more = RECIPES[case]
    recipes = [*find_recipes(dataset, net), *(recipe_file(Path(n)) for n in more)]
    config = load_config(recipes, net_settings(net))
    imported = SETTINGS[case.split(",")[0]]
    words = [
        word
        for key, value in imported.items()
        for word in (key, value if isinstance(value, str) else json.dumps(value))
    ]
    assert load_config(recipes, [*net_settings(net), *words]) == config
