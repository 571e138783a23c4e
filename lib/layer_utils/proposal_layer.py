"""Proposals from the RPN's outputs (Faster R-CNN, section 3.1.3; FPN, section 4.1).

Letters: N images, A anchors, R proposals per image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.iou import box_sizes
from ..nms import nms
from ..utils.torch_versions import least
from .boxes import clip, decode
from .structures import Proposals


def propose(
    anchors: Tensor,
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    usable: Tensor | None,
    *,
    level_anchors: Sequence[int] = (),
    score_threshold: float = 0.0,
    pre_nms: int,
    post_nms: int,
    nms_threshold: float,
    min_size: float,
    offset: float,
    nms_offset: float,
    nms_inclusive: bool = False,
    max_log_size: float | None = None,
    box_gradient: bool = False,
) -> Proposals:
    """Turn scored, regressed anchors into a fixed number of proposals.

    1. Keep the ``pre_nms`` anchors of highest objectness of each pyramid level.
    2. Apply their deltas and clip them to the image.
    3. Drop boxes smaller than ``min_size`` or scored below ``score_threshold``.
    4. Suppress overlapping boxes of the same level, and keep the best ``post_nms`` of
       all levels.

    Args:
        anchors: ``(A, 4)``.
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        image_sizes: ``(N, 2)`` height and width.
        usable: ``(N, A)`` bool, anchors of cells inside the image; if None, all
            anchors.
        level_anchors: number of anchors of each level, in the order of the A anchors;
            empty for a single level.
        score_threshold: lowest probability of being an object.
        pre_nms: boxes before suppression, of each level.
        post_nms: R, slots after suppression.
        nms_threshold: IoU above which a box is suppressed.
        min_size: least width and height in input pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        nms_offset: the offset used inside suppression.
        nms_inclusive: suppress at an IoU equal to the threshold too.
        max_log_size: upper limit of ``dw`` and ``dh``, or None for no limit.
        box_gradient: let gradients flow from the boxes to ``pred_deltas`` (DenseCap,
            section 3.3). If False, proposals are constants, as in both of the paper's
            approximations (section 3.2).

    Returns:
        Proposals; the boxes of unused slots are zero.
    """
    # 1. and 2. Select the best anchors and decode them.
    boxes, scores, valid, levels = _best_boxes(
        anchors,
        objectness_logits,
        pred_deltas if box_gradient else pred_deltas.detach(),
        image_sizes,
        usable,
        count=pre_nms,
        level_anchors=level_anchors,
        offset=offset,
        max_log_size=max_log_size,
    )
    # 3. Drop small boxes.
    widths, heights = box_sizes(boxes.detach(), offset=offset)
    valid = valid & (widths >= min_size) & (heights >= min_size)
    if score_threshold > 0:
        valid = valid & (scores.sigmoid() >= score_threshold)
    # 4. Suppress.
    keep, kept = nms(
        boxes.detach(),
        scores,
        valid,
        threshold=nms_threshold,
        max_outputs=post_nms,
        groups=levels,
        offset=nms_offset,
        inclusive=nms_inclusive,
    )
    kept_boxes = boxes.gather(1, keep[:, :, None].expand(-1, -1, 4))
    return Proposals(
        # Unused slots are pooled too, and pooling a non-finite box may crash.
        boxes=kept_boxes.masked_fill(~kept[:, :, None], 0.0),
        scores=scores.gather(1, keep),
        valid=kept,
    )


def top_proposals(
    anchors: Tensor,
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    usable: Tensor | None,
    *,
    count: int,
    offset: float,
    max_log_size: float | None = None,
) -> Proposals:
    """Decode the anchors of highest objectness as proposals, without suppression.

    This is test mode "top" of tf-faster-rcnn. An image with fewer anchors than
    ``count`` leaves slots empty, where tf-faster-rcnn draws anchors twice.

    Args:
        anchors: ``(A, 4)``.
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        image_sizes: ``(N, 2)`` height and width.
        usable: ``(N, A)`` bool, anchors of cells inside the image; if None, all
            anchors.
        count: R.
        offset: 1 for legacy boxes, 0 for continuous ones.
        max_log_size: upper limit of ``dw`` and ``dh``, or None for no limit.

    Returns:
        Proposals without gradient, min(R, A) slots; boxes of unused slots are zero.
    """
    boxes, scores, valid, _ = _best_boxes(
        anchors,
        objectness_logits,
        pred_deltas.detach(),
        image_sizes,
        usable,
        count=count,
        offset=offset,
        max_log_size=max_log_size,
    )
    return Proposals(boxes.masked_fill(~valid[:, :, None], 0.0), scores, valid)


def _best_boxes(
    anchors: Tensor,
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    usable: Tensor | None,
    *,
    count: int,
    offset: float,
    max_log_size: float | None,
    level_anchors: Sequence[int] = (),
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Decode and clip the best anchors: boxes, scores, validity and levels."""
    logits = objectness_logits.detach().float()
    if usable is not None:
        logits = logits.masked_fill(~usable, -torch.inf)
    scores, order, levels = _best_of_levels(logits, count, level_anchors)
    deltas = pred_deltas.float().gather(1, order[:, :, None].expand(-1, -1, 4))
    boxes = decode(anchors[order], deltas, offset=offset, max_log_size=max_log_size)
    # Boxes of non-finite deltas are dropped here, before suppression; clipping would
    # turn an infinite delta into a box of the whole image.
    valid = (scores > -torch.inf) & deltas.detach().isfinite().all(dim=2)
    return clip(boxes, image_sizes, offset=offset), scores, valid, levels


def _best_of_levels(
    logits: Tensor, count: int, level_anchors: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Find the best anchors of each level: scores, indices, levels (None for one)."""
    if len(level_anchors) < 2:
        return *logits.topk(least(count, logits.shape[1]), dim=1), None
    scores, order, levels, start = [], [], [], 0
    for level, part in enumerate(torch.split(logits, list(level_anchors), 1)):
        best, index = part.topk(least(count, part.shape[1]), dim=1)
        scores.append(best)
        order.append(index + start)
        levels.append(torch.full_like(index, level))
        start += part.shape[1]
    return torch.cat(scores, 1), torch.cat(order, 1), torch.cat(levels, 1)
