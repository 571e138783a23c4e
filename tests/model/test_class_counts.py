"""From one class to LVIS's 1203: a step and the detections, for every detector."""

import pytest
import torch
from faster_rcnn.nets.box_predictor import BoxPredictor
from faster_rcnn.nets.dense_predictor import DensePredictor
from tiny_runs import (
    CASCADE,
    RETINANET,
    detect_images,
    ground_truth,
    random_images,
    tiny_config,
    tiny_detector,
)

PYRAMID = ("net.features", "fpn", "net.fpn_channels", 32, "head.fc_channels", 32)
pytestmark = pytest.mark.slow

NETS = {
    "faster_rcnn": (),
    "cascade_mobile_v2": CASCADE,
    "cascade_vgg16_fpn": (
        *("net.name", "vgg16", "net.head_stride", 1),
        *PYRAMID,
        *CASCADE,
    ),
    "retina_res18_fpn": RETINANET,
    "retina_mobile_v3_fpn": (*RETINANET, "net.name", "mobile_v3"),
}


def prefer_last(model) -> None:
    """Make every output layer of classes give the last one a high score."""
    for part in model.modules():
        if isinstance(part, BoxPredictor):
            part.scores.bias[-1] += 9
        elif isinstance(part, DensePredictor):
            anchors = part.deltas.out_channels // 4
            part.scores.bias.view(anchors, -1)[:, -1] += 9


@pytest.mark.parametrize("classes", [2, 1204])
@pytest.mark.parametrize("net", NETS)
def test_step_and_detections(net, classes):
    config = tiny_config(*NETS[net], "net.norm", "frozen")
    model = tiny_detector(config, classes=classes)
    images, last = random_images((64, 80), (50, 64)), classes - 1
    truth = ground_truth([(last, 10, 12, 40, 45)], [(last, 30, 5, 60, 25)])
    output = model.train()(images, truth)
    output.total().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        prefer_last(model)
    found = detect_images(model.eval(), config, images)
    assert (found.classes[:, 0] == last).all() and (found.scores[:, 0] > 0.5).all()
