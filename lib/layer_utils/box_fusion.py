"""Weighted boxes fusion: what several views found of an object becomes one box
(Solovyev, Wang and Gabruseva 2021).

Letters: N images, B boxes per image, D output slots; B counts the boxes of all views.
"""

import torch

from ..kernels.iou import pairwise_iou
from .detections import pick
from .structures import Detections

_FAR = -1e6
"""Corners of a fused box that is not there, in pixels: it meets no other."""


def weighted_boxes_fusion(
    found: Detections,
    *,
    views: int,
    threshold: float,
    max_detections: int,
    min_score: float,
    offset: float,
) -> Detections:
    """Average the boxes that views found of one object (section 3).

    1. Take the boxes of all views from the best to the worst.
    2. Each joins the fused box of its class that it overlaps most, if their IoU is
       above ``threshold``, and becomes a fused box of its own otherwise.
    3. A fused box is the mean of its members weighted by their scores, made anew with
       every member; its score is the mean of theirs.
    4. In the end scores are multiplied by min(members, views) / views: what few views
       found is believed less.

    Args:
        found: ``(N, B, 4)`` boxes of positive score, in one frame and any order; each
            view after a suppression of its own.
        views: how many views could find an object.
        threshold: IoU above which a box joins a fused one.
        max_detections: D, or B if that is less.
        min_score: fused boxes must score more.
        offset: added to widths and heights, 1 for legacy and 0 for continuous boxes.

    Returns:
        Detections, best first; unused slots are zero.

    Raises:
        ValueError: there are no views.
    """
    if views < 1:
        raise ValueError(f"views: expected 1 or more, found {views}")
    # 1. The order; what is not valid comes last, as zeros.
    boxes, weights, classes, valid = _best(found, found.boxes.shape[1])
    counted = valid.to(weights.dtype)

    # A fused box lies at the number of its first member: 0 to B - 1, many unused. Those
    # lie too far away to be met.
    fused = torch.full_like(boxes, _FAR)
    total = torch.zeros_like(weights)  # of its members' scores
    members = torch.zeros_like(weights)
    for number in range(max(valid.sum(dim=1).tolist(), default=0)):
        column = slice(number, number + 1)
        box, weight = boxes[:, column], weights[:, column]  # (N, 1, 4), (N, 1)
        # 2. The fused box to join.
        iou = pairwise_iou(fused, box, offset=offset)[:, :, 0]  # (N, B)
        iou = iou * (classes == classes[:, column])
        best, joined = iou.max(dim=1, keepdim=True)  # (N, 1)
        joins = best > threshold
        slot = joined.where(joins, number)
        # 3. The mean moves by the new member's share; a first member stays exact. Where
        # an image has no more boxes the share is 0 / 0, in a slot without members.
        total.scatter_add_(1, slot, weight)
        members.scatter_add_(1, slot, counted[:, column])
        corners = slot[:, :, None].expand(-1, -1, 4)
        mean = fused.gather(1, corners).where(joins[:, :, None], box)
        share = weight / total.gather(1, slot)
        fused.scatter_(1, corners, mean.lerp(box, share[:, :, None]))

    # 4. Scores; the best D.
    scores = total / members.clamp(min=1) * (members.clamp(max=views) / views)
    there = (members > 0) & (scores > min_score)
    return _best(Detections(fused, scores, classes, there), max_detections)


def _best(found: Detections, count: int) -> Detections:
    """The ``count`` best rows, best first, of equal ones the earlier."""
    ranks = found.scores.masked_fill(~found.valid, -torch.inf)
    order = ranks.argsort(dim=1, descending=True, stable=True)[:, :count]
    return pick(found, order, found.valid.gather(1, order))
