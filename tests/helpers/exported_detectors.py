"""A small detector with differing detections, and pictures for it."""

import numpy as np
import torch
from backbone_checks import shorten
from faster_rcnn.detector.about import About
from faster_rcnn.export.program import DetectionProgram, Shape
from tiny_runs import CLASSES, randomise, tiny_config, tiny_detector

PYRAMID = (
    *("net.features", "fpn", "net.fpn_finest", 16, "net.fpn_channels", 32),
    *("anchors.scales", "[2]"),
)
"""Overrides of a pyramid of three levels: two to pool from, and one for the RPN."""


def small_config(*overrides):
    """ResNet-18, whose graph is the smallest; inputs of about 100 pixels."""
    return tiny_config(
        *("net.name", "res18", "net.norm", "frozen"),
        *("data.test_short_side", 96, "data.test_long_side", 140),
        *("test.detections_per_image", 12, *overrides),
    )


def small_program(config, *, padded=True):
    model = tiny_detector(config)
    randomise(model)
    if config.net.name == "res18":
        shorten(model.backbone)
    return DetectionProgram(model, boxes=config.boxes, test=config.test, padded=padded)


def facts(kind, config, shape):
    return About.of(kind, config, CLASSES, shape)


def pictures(*sizes, seed=0):
    """Coarse noise of these heights and widths."""
    rng = np.random.default_rng(seed)
    return [
        np.kron(
            rng.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3), np.uint8),
            np.ones((8, 8, 1), np.uint8),
        )[:h, :w]
        for h, w in sizes
    ]


class CallsOperators(torch.nn.Module):
    """The package's operators alone, with the arguments of an export."""

    def forward(self, pixels, sizes, scales, original_sizes):
        from faster_rcnn.kernels.pooling import roi_pool
        from faster_rcnn.nms import nms

        boxes = original_sizes.float()[:, :, None] * torch.tensor([0.0, 0.0, 0.5, 1.0])
        boxes = boxes + pixels.float().amax() * 0
        scores = boxes.amax(dim=2)
        kept, valid = nms(
            boxes, scores, scores > 0, threshold=0.5, max_outputs=3, offset=1.0
        )
        pooled = roi_pool(
            [pixels.float()], boxes, None, scales=[1.0], size=2, mode="align"
        )
        picked = boxes.gather(1, kept[:, :, None].expand(-1, -1, 4))
        sums = pooled.sum(dim=(1, 2, 3)).view(len(boxes), -1)
        return picked, sums.gather(1, kept), kept, valid


FREE = Shape(multiple=16)
