"""Proposals from the RPN's outputs (Faster R-CNN, section 3.1.3; FPN, section 4.1).

Letters: N images, A anchors, R proposals per image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..nms import Suppression
from ..utils.torch_versions import least
from .boxes import BoxCoder
from .structures import Proposals, RPNOutput, replace


def propose(
    output: RPNOutput,
    image_sizes: Tensor,
    *,
    pre_nms: int,
    post_nms: int,
    coder: BoxCoder,
    suppression: Suppression,
    score_threshold: float = 0.0,
    box_gradient: bool = False,
) -> Proposals:
    """Turn scored, regressed anchors into a fixed number of proposals.

    1. Keep the ``pre_nms`` anchors of highest objectness of each pyramid level.
    2. Apply their deltas and clip them to the image.
    3. Drop boxes smaller than ``coder.min_size`` or scored below ``score_threshold``.
    4. Suppress overlapping boxes of the same level, and keep the best ``post_nms`` of
       all levels.

    Args:
        output: logits and deltas of all anchors.
        image_sizes: ``(N, 2)`` height and width.
        pre_nms: boxes before suppression, of each level.
        post_nms: R, slots after suppression.
        coder: moves, clips and measures the boxes.
        suppression: rule for overlapping boxes.
        score_threshold: lowest probability of being an object.
        box_gradient: let gradients flow from the boxes to the deltas (DenseCap, section
            3.3). If False, proposals are constants, as in both of the paper's
            approximations (section 3.2).

    Returns:
        Proposals; the boxes of unused slots are zero.
    """
    # 1. and 2. Select the best anchors and decode them.
    deltas = output.pred_deltas if box_gradient else output.pred_deltas.detach()
    output = replace(output, pred_deltas=deltas)
    boxes, scores, valid, levels = _best_boxes(
        output, image_sizes, count=pre_nms, coder=coder
    )
    # 3. Drop small boxes.
    valid = valid & coder.large(boxes.detach())
    if score_threshold > 0:
        valid = valid & (scores.sigmoid() >= score_threshold)
    # 4. Suppress.
    keep, kept = suppression(
        boxes.detach(), scores, valid, max_outputs=post_nms, groups=levels
    )
    kept_boxes = boxes.gather(1, keep[:, :, None].expand(-1, -1, 4))
    return Proposals(
        # Unused slots are pooled too, and pooling a non-finite box may crash.
        boxes=kept_boxes.masked_fill(~kept[:, :, None], 0.0),
        scores=scores.gather(1, keep),
        valid=kept,
    )


def top_proposals(
    output: RPNOutput, image_sizes: Tensor, *, count: int, coder: BoxCoder
) -> Proposals:
    """Decode the anchors of highest objectness as proposals, without suppression.

    This is test mode "top" of tf-faster-rcnn. An image with fewer anchors than
    ``count`` leaves slots empty, where tf-faster-rcnn draws anchors twice.

    Args:
        output: logits and deltas of all anchors, as of one level.
        image_sizes: ``(N, 2)`` height and width.
        count: R.
        coder: moves and clips the boxes.

    Returns:
        Proposals without gradient, min(R, A) slots; boxes of unused slots are zero.
    """
    output = replace(output, pred_deltas=output.pred_deltas.detach(), level_anchors=())
    boxes, scores, valid, _ = _best_boxes(output, image_sizes, count=count, coder=coder)
    return Proposals(boxes.masked_fill(~valid[:, :, None], 0.0), scores, valid)


def _best_boxes(
    output: RPNOutput, image_sizes: Tensor, *, count: int, coder: BoxCoder
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return boxes, scores, validity and levels of the best anchors, moved."""
    logits = output.objectness_logits.detach().float()
    if output.usable is not None:
        logits = logits.masked_fill(~output.usable, -torch.inf)
    scores, order, levels = _best_of_levels(logits, count, output.level_anchors)
    deltas = output.pred_deltas.float().gather(1, order[:, :, None].expand(-1, -1, 4))
    # A non-finite delta ends here, not in the suppression; clipping would turn an
    # infinite one into a box of the whole image.
    valid = (scores > -torch.inf) & deltas.detach().isfinite().all(dim=2)
    boxes = coder.decode(output.anchors[order], deltas, image_sizes)
    return boxes, scores, valid, levels


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
