"""Weighted boxes fusion: merge the boxes that several views found of one object
(Solovyev, Wang and Gabruseva 2021).

Letters: N images, B boxes per image, D output slots; B counts the boxes of all views.
"""

import torch

from ..kernels.iou import pairwise_iou
from .detections import pick
from .structures import Detections

_FAR = -1e6
"""Corners of an empty slot, in pixels: so far away that it overlaps no box."""


def weighted_boxes_fusion(
    found: Detections,
    *,
    views: int,
    threshold: float,
    max_detections: int,
    min_score: float,
    offset: float,
) -> Detections:
    """Average the boxes that several views found of one object (section 3).

    1. Sort the boxes of all views by score, best first.
    2. Each box joins the fused box of its class with the highest IoU, if that IoU is
       above ``threshold``; otherwise it starts a fused box.
    3. A fused box is the mean of its members weighted by their scores, updated with
       every new member; its score is the mean of their scores.
    4. At the end each score is multiplied by min(members, views) / views, which lowers
       the scores of boxes that few views found.

    Args:
        found: ``(N, B, 4)`` boxes of positive score in one frame and any order, already
            suppressed within each view.
        views: number of views in which an object could be found.
        threshold: IoU above which a box joins a fused box.
        max_detections: D, at most B.
        min_score: keep fused boxes that score more than this.
        offset: added to widths and heights, 1 for legacy and 0 for continuous boxes.

    Returns:
        Detections, best first; unused slots are zero.

    Raises:
        ValueError: ``views`` is less than 1.
    """
    if views < 1:
        raise ValueError(f"views: expected 1 or more, found {views}")
    # 1. Sort; rows that are not valid come last, as zeros.
    ranked = _best(found, found.boxes.shape[1])
    boxes, weights = ranked.boxes, ranked.scores
    classes, valid = ranked.classes, ranked.valid
    counted = valid.to(weights.dtype)

    # A fused box is stored at the index of its first member, 0 to B - 1. The slots that
    # stay empty lie too far away to overlap any box.
    fused = torch.full_like(boxes, _FAR)
    total = torch.zeros_like(weights)  # sum of the members' scores
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
        # 3. The mean moves by the new member's share; a first member stays exact. An
        # image that has no more boxes divides 0 by 0 here, in a slot without members.
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
    """Return the ``count`` best rows, best first; ties go to the lower index."""
    ranks = found.scores.masked_fill(~found.valid, -torch.inf)
    order = ranks.argsort(dim=1, descending=True, stable=True)[:, :count]
    return pick(found, order, found.valid.gather(1, order))
