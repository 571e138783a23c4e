"""Losses between boxes by their overlap: GIoU, DIoU and CIoU.

GIoU: Rezatofighi et al. 2019. DIoU and CIoU: Zheng et al. 2020.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from .boxes import box_sizes

IouLoss = Literal["giou", "diou", "ciou"]
_EPS = 1e-7  # in the denominators, as in torchvision and Detectron2


def iou_loss(boxes: Tensor, targets: Tensor, *, kind: IouLoss, offset: float) -> Tensor:
    """Compute one minus an overlap measure of each pair of boxes.

    The generalised IoU subtracts the uncovered fraction of the smallest enclosing box.
    The distance IoU subtracts the squared distance of the centres over the squared
    diagonal of that box. The complete IoU also compares the aspect ratios.

    Args:
        boxes: ``(..., 4)``.
        targets: ``(..., 4)``, boxes with an area.
        kind: the measure.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        ``(...)``; 0 for equal boxes.
    """
    widths, heights = box_sizes(boxes, offset=offset)
    target_widths, target_heights = box_sizes(targets, offset=offset)
    low, high = torch.maximum(boxes, targets), torch.minimum(boxes, targets)
    inter = torch.cat((low[..., :2], high[..., 2:]), dim=-1)
    inter_widths, inter_heights = box_sizes(inter, offset=offset)
    overlapping = (inter_widths > 0) & (inter_heights > 0)
    area = (inter_widths * inter_heights).where(overlapping, 0.0)
    union = widths * heights + target_widths * target_heights - area
    iou = area / (union + _EPS)

    around = torch.cat((high[..., :2], low[..., 2:]), dim=-1)
    around_widths, around_heights = box_sizes(around, offset=offset)
    if kind == "giou":
        enclosing = around_widths * around_heights
        return 1 - iou + (enclosing - union) / (enclosing + _EPS)
    diagonal = around_widths**2 + around_heights**2 + _EPS
    apart = boxes[..., :2] + boxes[..., 2:] - targets[..., :2] - targets[..., 2:]
    loss = 1 - iou + (apart / 2).square().sum(dim=-1) / diagonal
    if kind == "diou":
        return loss
    angles = torch.atan(target_widths / target_heights) - torch.atan(widths / heights)
    shape = 4 / math.pi**2 * angles**2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + _EPS)
    return loss + weight * shape
