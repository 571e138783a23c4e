"""Detectron's blobs: detectors, and the ImageNet files that Detectron2 starts from."""

import pickle

import pytest
import torch
from detectron_forward import compare
from faster_rcnn.layer_utils.anchors import base_anchors
from faster_rcnn.weights import import_weights, load_weights
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import recognise_weights
from faster_rcnn.weights.writing import detector_config
from weight_files import (
    check_all_needed,
    check_whole,
    detector,
    detectron_blobs,
    lively,
    loaded_detector,
    ramp,
)


def blobs_of(net, classes=81, features="c4"):
    """A detector's blobs, of little memory."""
    return {
        name: ramp(shape, number)
        for number, (name, shape) in enumerate(
            detectron_blobs(net, classes, features).values()
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "features", "kind"),
    [
        ("res50", "c4", "R50-C4"),
        ("res101", "c4", "R101-C4"),
        ("res50", "fpn", "R50-FPN"),
        ("res101", "fpn", "R101-FPN"),
        ("resx101", "fpn", "X101-FPN"),
    ],
)
def test_whole_detector(net, features, kind):
    blobs = blobs_of(net, 81, features)
    beside = {
        "fc1000_w": torch.zeros(3),
        "pred_b": torch.zeros(3),
        "conv1_b": torch.zeros(64),
        "conv1_w_momentum": torch.zeros(3),
        "fpn_res2_2_sum_b_momentum": torch.zeros(3),
    }
    content = {"blobs": blobs | beside, "cfg": "MODEL: ..."}
    weights = recognise_weights(content, "FILE")
    assert weights.kind == f"Detectron {kind} detector"
    assert (weights.net, weights.num_classes) == (net, 81)
    assert weights.style == ("pytorch" if net == "resx101" else "caffe")
    assert (weights.normalisation, weights.reason) == ("caffe", "implied by its names")
    assert weights.unused.keys() == beside.keys() | {"cfg"}
    assert weights.used == len(blobs)
    config = detector_config(weights, [])
    assert config.boxes.offset == 1 and config.boxes.nms_offset == 1
    check_whole(weights)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["c4", "fpn"])
@torch.no_grad()
def test_computes_the_same(features):
    named = detectron_blobs("res50", 5, features)
    values = lively({key: shape for key, (_, shape) in named.items()})
    blobs = {named[key][0]: value for key, value in values.items()}
    weights = recognise_weights({"blobs": blobs}, "FILE")
    model = loaded_detector(detector_config(weights, []), weights)
    # As Detectron2 reads them: norms without statistics, classes from the background's
    # end to the other.
    predictor = "roi_heads.box_predictor"
    for part in ("weight", "bias"):
        scores = values[f"{predictor}.cls_score.{part}"]
        values[f"{predictor}.cls_score.{part}"] = torch.cat([scores[1:], scores[:1]])
        boxes = values[f"{predictor}.bbox_pred.{part}"]
        values[f"{predictor}.bbox_pred.{part}"] = boxes[4:]
    for key in [key for key in values if key.endswith("norm.bias")]:
        layer = key.removesuffix(".bias")
        values[f"{layer}.running_mean"] = torch.zeros_like(values[key])
        values[f"{layer}.running_var"] = torch.full_like(values[key], 1 - 1e-5)
    # Detectron orders anchors as we do, by ratio first.
    head = "proposal_generator.rpn_head"
    count = len(values[f"{head}.objectness_logits.bias"])
    order = torch.arange(count).view(3, -1).T.flatten()
    for part in ("weight", "bias"):
        scores = values[f"{head}.objectness_logits.{part}"]
        values[f"{head}.objectness_logits.{part}"] = scores[order]
        deltas = values[f"{head}.anchor_deltas.{part}"].unflatten(0, (count, 4))
        values[f"{head}.anchor_deltas.{part}"] = deltas[order].flatten(0, 1)
    compare(model, values, "res50", features)


def test_anchors_of_the_finest_level():
    """Worked by hand: 4x4 cells; sqrt(32) rounds to 6, 6 / 2 to 3; all times 8."""
    config = detector_config(recognise_weights(blobs_of("res50", 5, "fpn"), "F"), [])
    ours = base_anchors(
        stride=4,
        ratios=config.anchors.ratios,
        scales=config.anchors.scales,
        offset=config.boxes.offset,
        centre=config.anchors.centre,
        rounding=config.anchors.rounding,
    )
    want = [[-22, -10, 25, 13], [-14, -14, 17, 17], [-10, -22, 13, 25]]
    assert ours.tolist() == want


def imagenet(net):
    """The blobs of a classification file."""
    blobs = {
        name: value
        for name, value in blobs_of(net).items()
        if name.startswith(("res", "conv1"))
    }
    return blobs | {"fc1000_w": torch.zeros(3), "conv1_b": torch.zeros(64)}


@pytest.mark.parametrize(
    ("net", "name"),
    [("res50", "resnet50"), ("res101", "resnet101"), ("resx101", "resnext101_32x8d")],
)
def test_imagenet_file(net, name):
    blobs = imagenet(net)
    weights = recognise_weights(blobs, "FILE")
    assert weights.kind == f"Caffe2 {name} classification weights"
    assert weights.num_classes is None and weights.normalisation == "caffe"
    assert weights.style == ("pytorch" if net == "resx101" else "caffe")
    assert weights.unused.keys() == {"fc1000_w", "conv1_b"}
    stem = weights.state["backbone.conv1.weight"]
    assert torch.equal(stem, blobs["conv1_w"].flip(1))


@pytest.mark.slow
def test_imagenet_file_of_python_2(tmp_path):
    """As Detectron wrote its files: an old protocol, arrays under NumPy's old names."""
    path = tmp_path / "R-50.pkl"
    blobs = {name: value.numpy() for name, value in imagenet("res50").items()}
    content = pickle.dumps(blobs, protocol=2)
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    weights = import_weights(path)
    assert weights.kind == "Caffe2 resnet50 classification weights"
    ours = weights.state["backbone.layer4.2.bn3.bias"]
    assert torch.equal(ours, torch.from_numpy(blobs["res5_2_branch2c_bn_b"]))


def test_input_of_an_imagenet_file_as_a_fact():
    """Detectron2's X-101-32x8d.pkl sees torchvision's input, but in BGR."""
    blobs = imagenet("resx101")
    weights = recognise_weights(blobs, "FILE", normalisation="torchvision")
    assert weights.normalisation == "torchvision" and weights.reason == "as given"
    stem = weights.state["backbone.conv1.weight"]
    assert torch.equal(stem, blobs["conv1_w"].flip(1))


def test_imagenet_file_for_a_pyramid():
    weights = recognise_weights(imagenet("res50"), "FILE")
    model = detector("res50", 3, "net.features", "fpn")
    assert load_weights(model, weights) == []
    ours = model.backbone.state_dict()
    assert torch.equal(
        ours["layer4.2.conv3.weight"], imagenet("res50")["res5_2_branch2c_w"]
    )
    norm = model.backbone.layer1[0].bn1
    assert (norm.running_var + norm.eps - 1).abs().max() < 1e-7


def test_whole_or_not_at_all():
    blobs = blobs_of("res50", 5, "fpn")
    keys = list(blobs)[2::40] + list(blobs)[-3:]
    check_all_needed(blobs, keys, "Detectron R50-FPN detector")
    # A mask head makes it another detector.
    with pytest.raises(CheckpointError, match="1 unknown"):
        recognise_weights(blobs | {"conv5_mask_w": torch.zeros(1)}, "FILE")
