"""Generate boxes and objects like those of a trained network, to time its parts.

Letters: A anchors, G objects. One image; its feature map is H x W cells.
"""

from typing import NamedTuple

import torch
from faster_rcnn.layer_utils.anchors import base_anchors, grid_anchors
from faster_rcnn.layer_utils.boxes import clip, decode, encode, pairwise_iou
from torch import Tensor

STRIDE = 16
"""Input pixels per cell."""


class Sizes(NamedTuple):
    """Sizes of the cases; by default those of a VOC image and a ResNet."""

    height: int = 38
    width: int = 50
    channels: int = 1024
    train_nms: tuple[int, int] = (12000, 2000)
    test_nms: tuple[int, int] = (6000, 300)
    train_rois: int = 128
    test_rois: int = 300
    objects: int = 20


def image_size(height: int, width: int) -> Tensor:
    """Return the ``(1, 2)`` height and width of a map's image."""
    return torch.tensor([[height * STRIDE, width * STRIDE]])


def scene(
    height: int, width: int, objects: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Generate anchors ``(A, 4)`` of a map, and objects ``(G, 4)`` of many sizes."""
    base = base_anchors(stride=STRIDE, ratios=(0.5, 1, 2), scales=(8, 16, 32), offset=0)
    limits = torch.tensor([width, height]) * STRIDE
    sides = limits * torch.empty(objects, 2).uniform_(0.1, 0.6, generator=generator)
    corner = (limits - sides) * torch.rand(objects, 2, generator=generator)
    gt_boxes = torch.cat((corner, corner + sides), dim=1)
    return grid_anchors(base, height, width, stride=STRIDE), gt_boxes


def rpn_boxes(
    anchors: Tensor,
    gt_boxes: Tensor,
    size: Tensor,
    generator: torch.Generator,
    *,
    trained: bool = True,
) -> tuple[Tensor, Tensor]:
    """Generate boxes ``(A, 4)`` and scores ``(A,)`` like those of an RPN, best first.

    An anchor is moved towards the object that it overlaps most, in proportion to the
    overlap; its score decreases with the remaining distance. The noise is chosen such
    that suppression keeps about 2000 of 12000, as in the paper (section 3.3). For an
    untrained RPN, anchors hardly move and scores are random.
    """
    noise = torch.randn(anchors.shape, generator=generator)
    if not trained:
        boxes = clip(decode(anchors, 0.01 * noise, offset=0)[None], size, offset=0)[0]
        scores, order = torch.randn(len(boxes), generator=generator).sort(
            descending=True
        )
        return boxes[order], scores
    overlap, matched = pairwise_iou(anchors, gt_boxes, offset=0).max(dim=1)
    deltas = encode(anchors, gt_boxes[matched], offset=0)
    pull = (2 * overlap).clamp(max=0.9)[:, None]
    boxes = decode(anchors, pull * deltas + 0.25 * noise, offset=0)
    boxes = clip(boxes[None], size, offset=0)[0]
    reached = pairwise_iou(boxes, gt_boxes, offset=0).amax(dim=1)
    scores = 8 * reached - 4 + torch.randn(reached.shape, generator=generator)
    scores, order = scores.sort(descending=True)
    return boxes[order], scores
