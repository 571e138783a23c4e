"""Readable versions of the operators in plain PyTorch, for any device.

They are the fallback without a kernel, and the reference that kernels are checked
against. Letters: N images, A or R boxes, G ground-truth slots, K output slots.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .iou import box_sizes, pairwise_intersection, pairwise_iou


class Matches(NamedTuple):
    """Overlaps of boxes with objects.

    Attributes:
        overlap: ``(N, A)`` IoU with the best object; 0 if there is none.
        matched: ``(N, A)`` int64 slot of that object; ties go to the first.
        is_best: ``(N, A)`` bool, usable boxes whose IoU with some object is the highest
            of all usable boxes.
        crowd_share: ``(N, A)`` largest share of the box's own area in one crowd region.
    """

    overlap: Tensor
    matched: Tensor
    is_best: Tensor
    crowd_share: Tensor


def empty_matches(
    boxes: Tensor, gt_boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Allocate the fields of `Matches`, ``(N, A)`` each, with ``crowd_share`` zero."""
    shape = (gt_boxes.shape[0], boxes.shape[-2])
    return (
        boxes.new_empty(shape),
        boxes.new_empty(shape, dtype=torch.int64),
        boxes.new_empty(shape, dtype=torch.bool),
        boxes.new_zeros(shape),
    )


def match_by_matrix(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    offset: float,
    usable: Tensor | None,
    crowd: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Match boxes with objects through the IoU matrix of all pairs."""
    overlap, matched, is_best, crowd_share = empty_matches(boxes, gt_boxes)
    if 0 in (boxes.shape[-2], gt_boxes.shape[1]):
        return overlap.zero_(), matched.zero_(), is_best.zero_(), crowd_share
    counts = gt_valid if crowd is None else gt_valid & ~crowd
    iou = pairwise_iou(boxes, gt_boxes, offset=offset)  # (N, A, G)
    iou = iou.masked_fill(~counts[:, None, :], 0.0)
    overlap, matched = iou.max(dim=2)
    matched = matched.masked_fill(overlap <= 0, 0)
    if usable is not None:
        iou = iou.masked_fill(~usable[:, :, None], 0.0)
    best = iou.amax(dim=1, keepdim=True)  # (N, 1, G)
    is_best = ((iou == best) & (best > 0)).any(dim=2)
    if crowd is not None:
        widths, heights = box_sizes(boxes, offset=offset)
        areas = (widths * heights)[..., :, None]
        share = pairwise_intersection(boxes, gt_boxes, offset=offset) / areas
        share = share.masked_fill(~(gt_valid & crowd)[:, None, :] | (areas <= 0), 0.0)
        crowd_share = share.amax(dim=2)
    return overlap, matched, is_best, crowd_share


def nms_by_torchvision(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    max_outputs: int,
    offset: float,
) -> tuple[Tensor, Tensor]:
    """Suppress image by image with torchvision's operator, as ``cpu.nms`` does."""
    index = scores.new_zeros((boxes.shape[0], max_outputs), dtype=torch.int64)
    kept = torch.zeros_like(index, dtype=torch.bool)
    for i in range(boxes.shape[0]):
        best = _nms_image(boxes[i], scores[i], valid[i], groups[i], limit, offset)
        best = best[:max_outputs]
        index[i, : len(best)] = best
        kept[i, : len(best)] = True
    return index, kept


def _nms_image(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    offset: float,
) -> Tensor:
    """Return the indices of all kept boxes of one image, best first."""
    import torchvision  # takes seconds to import, and is seldom needed

    candidates = valid.nonzero()[:, 0]
    order = candidates[scores[candidates].argsort(descending=True, stable=True)]
    boxes = boxes[order].clone()
    boxes[:, 2:] += offset  # a legacy box's width x2 - x1 + 1 as a distance of edges
    # torchvision sorts by score; descending ranks in place of scores break ties.
    ranks = torch.arange(len(order), 0, -1, device=boxes.device, dtype=torch.float32)
    group = groups[order]
    kept = torch.zeros(len(order), dtype=torch.bool, device=boxes.device)
    for value in torch.unique(group):
        members = (group == value).nonzero()[:, 0]
        best = torchvision.ops.nms(boxes[members], ranks[members], limit)
        kept[members[best]] = True
    return order[kept]


def soft_nms_by_steps(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    max_outputs: int,
    gaussian: bool,
    sigma: float,
    threshold: float,
    min_score: float,
    offset: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pick one box of all images at a time, and lower the scores of the others."""
    images, count = scores.shape
    index = scores.new_zeros((images, max_outputs), dtype=torch.int64)
    chosen = scores.new_zeros((images, max_outputs))
    if count == 0:
        return index, chosen > 0, chosen
    scores = torch.where(valid & (scores > min_score), scores, -torch.inf)
    for slot in range(max_outputs):
        best = scores.amax(dim=1, keepdim=True)  # (N, 1)
        there = best > min_score
        # argmax may return any of several equal scores.
        pick = (scores == best).to(torch.int64).argmax(dim=1, keepdim=True)
        index[:, slot : slot + 1] = pick.masked_fill(~there, 0)
        chosen[:, slot : slot + 1] = best.masked_fill(~there, 0.0)
        box = boxes.gather(1, pick[:, :, None].expand(-1, -1, 4))
        iou = pairwise_iou(boxes, box, offset=offset)[:, :, 0]  # (N, R)
        iou = iou.masked_fill(groups != groups.gather(1, pick), 0.0)
        if gaussian:
            factor = torch.exp(-iou.square() / sigma)
        else:
            factor = torch.where(iou > threshold, 1.0 - iou, 1.0)
        scores = (scores * factor).scatter(1, pick, -torch.inf)
        scores = torch.where(scores > min_score, scores, -torch.inf)
    return index, chosen > 0, chosen
