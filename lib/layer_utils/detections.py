"""Detections from the head's outputs (Fast R-CNN, section 2.2).

Letters: N images, R RoIs per image, C classes, D detections per image.
"""

import torch
from torch import Tensor

from ..nms import nms
from .boxes import box_sizes, clip, decode
from .structures import Detections


def detect(
    rois: Tensor,
    valid: Tensor,
    class_scores: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    offset: float,
    nms_offset: float,
    nms_inclusive: bool = False,
    max_log_size: float | None = None,
    min_size: float = 0.0,
) -> Detections:
    """Regress, clip, suppress class by class, keep the best.

    1. Move every RoI by the deltas of every class and clip it to the image.
    2. Drop scores that do not exceed ``score_threshold``, boxes with a side below
       ``min_size``, and deltas not finite.
    3. Suppress within each class; keep the best ``max_detections`` of all classes.

    The frame is that of ``rois`` and ``image_sizes``, whichever it is.

    Args:
        rois: ``(N, R, 4)``.
        valid: ``(N, R)`` bool.
        class_scores: ``(N, R, C)`` probabilities, background first.
        pred_deltas: ``(N, R, C, 4)`` or ``(N, R, 1, 4)``, not normalised.
        image_sizes: ``(N, 2)`` height and width.
        score_threshold: detections must score more.
        nms_threshold: IoU above which a box is suppressed by one of its class.
        max_detections: D.
        offset: 1 for legacy boxes, 0 for continuous ones.
        nms_offset: the same, inside suppression.
        nms_inclusive: suppress at an IoU equal to the threshold too.
        max_log_size: upper limit of ``dw`` and ``dh``, or None.
        min_size: least width and height, in the frame of ``image_sizes``.

    Returns:
        Detections, best first. Exactly D at most: ties at the last place are settled
        by index, where tf-faster-rcnn keeps all of them. Unused slots are zero.
    """
    images, count, classes = class_scores.shape
    foreground = classes - 1
    # 1. Boxes, (N, R, C - 1, 4).
    if pred_deltas.shape[2] > 1:
        pred_deltas = pred_deltas[:, :, 1:]
    pred_deltas = pred_deltas.float()
    boxes = decode(
        rois[:, :, None], pred_deltas, offset=offset, max_log_size=max_log_size
    )
    boxes = clip(boxes, image_sizes, offset=offset)
    # The clip would make a whole-image box of an infinite delta.
    finite = (boxes.isfinite() & pred_deltas.isfinite()).all(dim=3)
    widths, heights = box_sizes(boxes, offset=offset)
    large = (widths >= min_size) & (heights >= min_size)  # (N, R, C - 1 or 1)
    boxes = boxes.expand(-1, -1, foreground, -1).reshape(images, -1, 4)
    # 2. Scores, (N, R * (C - 1)).
    scores = class_scores[:, :, 1:].float()
    usable = valid[:, :, None] & finite & large & (scores > score_threshold)
    usable = usable.flatten(1)
    scores = scores.flatten(1)
    labels = torch.arange(1, classes, device=rois.device).repeat(images, count)
    # 3. Suppression.
    keep, kept = nms(
        boxes,
        scores,
        usable,
        threshold=nms_threshold,
        max_outputs=max_detections,
        groups=labels,
        offset=nms_offset,
        inclusive=nms_inclusive,
    )
    kept_boxes = boxes.gather(1, keep[:, :, None].expand(-1, -1, 4))
    return Detections(
        boxes=kept_boxes.masked_fill(~kept[:, :, None], 0.0),
        scores=scores.gather(1, keep).masked_fill(~kept, 0.0),
        classes=labels.gather(1, keep).masked_fill(~kept, 0),
        valid=kept,
    )
