import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.config.loading import load_config
from faster_rcnn.layer_utils.anchors import base_anchors
from faster_rcnn.model.build import build_detector
from faster_rcnn.nets.rpn import RPNPredictor
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.detectron2 import SETTINGS, convert_heads
from faster_rcnn.weights.recognition import recognise_weights
from weight_files import (
    check_all_needed,
    check_whole,
    detector,
    detectron2_content,
    detectron2_state,
)

RPN = "proposal_generator.rpn_head"
CELL = "proposal_generator.anchor_generator.cell_anchors.0"


def cell_anchors():
    """Detectron2's anchors around 0: all ratios of a size, then the next size."""
    rows = []
    for size in (32, 64, 128, 256, 512):
        for ratio in (0.5, 1, 2):
            width = size / ratio**0.5
            height = size * ratio**0.5
            rows.append((-width / 2, -height / 2, width / 2, height / 2))
    return np.array(rows, np.float32)


def refusal(content):
    with pytest.raises(CheckpointError) as caught:
        recognise_weights(content, "FILE")
    assert str(caught.value).startswith("FILE")
    return str(caught.value)


@pytest.mark.parametrize("net", ["res50", "res101"])
def test_whole_detector(net):
    content = detectron2_content(net, **{CELL: cell_anchors()})
    weights = recognise_weights(content, "FILE")
    assert weights.kind == f"Detectron2 R{net.removeprefix('res')}-C4 detector"
    assert (weights.net, weights.style) == (net, "caffe")
    assert (weights.num_classes, weights.anchors) == (81, 15)
    assert weights.normalisation == "detectron2"
    assert weights.unused.keys() == {"__author__", "pixel_mean", "pixel_std", CELL}
    assert weights.used == len(content["model"]) - 3
    words = ("rpn.channels", "1024", "anchors.scales", "[2,4,8,16,32]")
    check_whole(weights, detector(net, 81, *words))
    for key, name in {
        "backbone.bn1.running_var": "backbone.stem.conv1.norm.running_var",
        "backbone.layer1.2.conv3.weight": "backbone.res2.2.conv3.weight",
        "backbone.layer3.5.bn2.bias": "backbone.res4.5.conv2.norm.bias",
        "backbone.layer2.0.downsample.0.weight": "backbone.res3.0.shortcut.weight",
        "backbone.layer2.0.downsample.1.weight": "backbone.res3.0.shortcut.norm.weight",
        "backbone.layer4.1.conv1.weight": "roi_heads.res5.1.conv1.weight",
        "rpn.head.conv.weight": f"{RPN}.conv.weight",
    }.items():
        theirs = torch.from_numpy(content["model"][name])
        assert torch.equal(weights.state[key], theirs), key
    blue_first = torch.from_numpy(content["model"]["backbone.stem.conv1.weight"])
    red_first = weights.state["backbone.conv1.weight"]
    assert torch.equal(red_first[:, 0], blue_first[:, 2])


def test_background_comes_first():
    content = detectron2_content("res50", classes=4)
    theirs = {k: torch.from_numpy(v) for k, v in content["model"].items()}
    ours = recognise_weights(content, "FILE").state
    for part in ("weight", "bias"):
        scores = theirs[f"roi_heads.box_predictor.cls_score.{part}"]
        boxes = theirs[f"roi_heads.box_predictor.bbox_pred.{part}"]
        ours_scores = ours[f"box_head.predictor.scores.{part}"]
        ours_boxes = ours[f"box_head.predictor.deltas.{part}"]
        assert torch.equal(ours_scores[0], scores[3])
        assert (ours_boxes[:4] == 0).all()
        for category in range(3):
            assert torch.equal(ours_scores[category + 1], scores[category])
            for coordinate in range(4):
                assert torch.equal(
                    ours_boxes[4 * (category + 1) + coordinate],
                    boxes[4 * category + coordinate],
                )


def test_each_anchor_keeps_its_score_and_deltas():
    generator = torch.Generator().manual_seed(0)
    conv, objectness, regression = (
        {
            "weight": torch.randn(*shape, generator=generator),
            "bias": torch.randn(shape[0], generator=generator),
        }
        for shape in ((8, 4, 3, 3), (15, 8, 1, 1), (60, 8, 1, 1))
    )
    features = torch.randn(1, 4, 3, 5, generator=generator)
    hidden = F.relu(F.conv2d(features, **conv, padding=1))
    logits = F.conv2d(hidden, **objectness)[0]  # (15, 3, 5)
    deltas = F.conv2d(hidden, **regression)[0]  # (60, 3, 5)

    layers = {"conv": conv, "scores": objectness, "deltas": regression}
    state = {
        f"rpn.head.{layer}.{part}": value.clone()
        for layer, parts in layers.items()
        for part, value in parts.items()
    }
    for layer, rows in (("scores", 3), ("deltas", 8)):
        state[f"box_head.predictor.{layer}.weight"] = torch.zeros(rows, 2)
        state[f"box_head.predictor.{layer}.bias"] = torch.zeros(rows)
    convert_heads(state)
    head = RPNPredictor(4, 8, 15)
    head.load_state_dict(
        {k.removeprefix("rpn.head."): v for k, v in state.items() if "rpn" in k}
    )
    with torch.no_grad():
        our_logits, our_deltas = head(features, None)
    our_logits = our_logits.view(3, 5, 15)
    our_deltas = our_deltas.view(3, 5, 15, 4)

    ours = base_anchors(
        stride=16,
        ratios=SETTINGS["c4"]["anchors.ratios"],
        scales=SETTINGS["c4"]["anchors.scales"],
        offset=SETTINGS["c4"]["boxes.offset"],
        centre=SETTINGS["c4"]["anchors.centre"],
    ).numpy()
    theirs = cell_anchors()
    places = []
    for k, anchor in enumerate(ours):
        (a,) = np.flatnonzero(np.abs(theirs - anchor).max(axis=1) < 1e-3)
        places.append(int(a))
        torch.testing.assert_close(our_logits[..., k], logits[a])
        for j in range(4):
            torch.testing.assert_close(our_deltas[..., k, j], deltas[4 * a + j])
    assert sorted(places) == list(range(15)) and places != list(range(15))


def test_settings_are_settings():
    words = ["net.name", "res50"]
    for key, value in SETTINGS["c4"].items():
        words += [key, str(list(value) if isinstance(value, tuple) else value)]
    config = load_config([], words).model_dump()
    for key, value in SETTINGS["c4"].items():
        section, name = key.split(".")
        assert config[section][name] == value, key
    with torch.device("meta"):
        model = build_detector(load_config([], words), 81)
    check_whole(recognise_weights(detectron2_content("res50"), "FILE"), model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pixel_mean", [123.675, 116.28, 103.53]),  # RGB
        ("pixel_mean", [102.9801, 115.9465, 122.7717]),
        ("pixel_std", [57.375, 57.12, 58.395]),
        ("pixel_std", [1.0]),
        (CELL, cell_anchors()[::-1].copy()),
        (CELL, cell_anchors()[:9]),
    ],
)
def test_other_input_or_anchors(key, value):
    content = detectron2_content("res50", **{key: np.array(value, np.float32)})
    assert f"{key}: expected [" in refusal(content)


def test_other_number_of_anchors():
    content = detectron2_content("res50")
    model = content["model"]
    for layer, rows in (("objectness_logits", 3), ("anchor_deltas", 12)):
        for part in ("weight", "bias"):
            model[f"{RPN}.{layer}.{part}"] = model[f"{RPN}.{layer}.{part}"][:rows]
    assert "expected 15 anchors per cell" in refusal(content)


def test_whole_or_not_at_all():
    state = detectron2_state("res50")
    keys = list(state)[::23]
    check_all_needed(state, keys, "Detectron2 R50-C4 detector")
    for key in keys:
        assert key in refusal(state | {key: torch.zeros(3, 2, 1)})
    # A feature pyramid is another network.
    assert "unknown (backbone.fpn_lateral2.weight)" in refusal(
        state | {"backbone.fpn_lateral2.weight": torch.zeros(1)}
    )


def test_normalisation_cannot_be_overruled():
    with pytest.raises(CheckpointError, match=r"is detectron2 .*asked for was caffe"):
        recognise_weights(detectron2_content("res50"), "FILE", normalisation="caffe")
