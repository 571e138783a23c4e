"""Proposals from the RPN's outputs (Faster R-CNN, section 3.1.3).

Letters: N images, A anchors, R proposals per image.
"""

import torch
from torch import Tensor

from ..nms import nms
from .boxes import box_sizes, clip, decode
from .structures import Proposals


def propose(
    anchors: Tensor,
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    usable: Tensor | None,
    *,
    pre_nms: int,
    post_nms: int,
    nms_threshold: float,
    min_size: float,
    offset: float,
    nms_offset: float,
    nms_inclusive: bool = False,
) -> Proposals:
    """Turn scored, regressed anchors into a fixed number of proposals.

    1. Keep the ``pre_nms`` anchors of highest objectness.
    2. Move them by their deltas and clip them to the image.
    3. Leave out those smaller than ``min_size``.
    4. Suppress overlapping ones and keep the best ``post_nms``.

    Args:
        anchors: ``(A, 4)``.
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        image_sizes: ``(N, 2)`` height and width.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        pre_nms: boxes before suppression.
        post_nms: R, slots after suppression.
        nms_threshold: IoU above which a box is suppressed.
        min_size: least width and height in input pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        nms_offset: the same, for the areas inside suppression.
        nms_inclusive: suppress at an IoU equal to the threshold too.

    Returns:
        Proposals, without gradient: both of the paper's approximations (section 3.2)
        treat them as fixed. Boxes of unused slots are zero.
    """
    logits = objectness_logits.detach().float()
    # 1. Best anchors.
    if usable is not None:
        logits = logits.masked_fill(~usable, -torch.inf)
    scores, order = logits.topk(min(pre_nms, logits.shape[1]), dim=1)
    # 2. Boxes.
    deltas = pred_deltas.detach().float()
    deltas = deltas.gather(1, order[:, :, None].expand(-1, -1, 4))
    boxes = clip(
        decode(anchors[order], deltas, offset=offset), image_sizes, offset=offset
    )
    # 3. Large enough. A delta that is not finite ends here, not in the suppression;
    # the clip would make a whole-image box of an infinite one.
    widths, heights = box_sizes(boxes, offset=offset)
    valid = (widths >= min_size) & (heights >= min_size) & (scores > -torch.inf)
    valid = valid & deltas.isfinite().all(dim=2)
    # 4. Suppression.
    keep, kept = nms(
        boxes,
        scores,
        valid,
        threshold=nms_threshold,
        max_outputs=post_nms,
        offset=nms_offset,
        inclusive=nms_inclusive,
    )
    kept_boxes = boxes.gather(1, keep[:, :, None].expand(-1, -1, 4))
    return Proposals(
        # Unused slots are pooled too, and pooling a box that is not finite may crash.
        boxes=kept_boxes.masked_fill(~kept[:, :, None], 0.0),
        scores=scores.gather(1, keep),
        valid=kept,
    )
