"""Detections from the outputs of the box head (Fast R-CNN, section 2.2).

Letters: N images, R RoIs per image, C classes, D detections per image,
B = R * (C - 1) candidates, or fewer.
"""

import math

import torch
from torch import Tensor

from ..nms import Suppression, soft_nms
from ..nms.soft_nms import Decay
from .boxes import BoxCoder
from .structures import Detections, Proposals, replace

_MANY = 8  # preselect classes if C is this many times the number that can be likely


def detect(
    proposals: Proposals,
    class_scores: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    *,
    score_threshold: float,
    max_detections: int,
    coder: BoxCoder,
    suppression: Suppression,
) -> Detections:
    """Decode, clip, suppress within each class and keep the best.

    1. Take every RoI as a candidate for every class: `candidates`.
    2. Suppress within each class; keep the best ``max_detections`` of all classes.

    Boxes are in the frame of the RoIs and ``image_sizes``, whichever that is.

    Args:
        proposals: the RoIs, ``(N, R, 4)`` with their valid mask.
        class_scores: ``(N, R, C)`` probabilities, background first.
        pred_deltas: ``(N, R, C, 4)`` or ``(N, R, 1, 4)``, not normalised.
        image_sizes: ``(N, 2)`` height and width.
        score_threshold: keep detections that score more than this.
        max_detections: D.
        coder: moves, clips and measures the boxes.
        suppression: rule for overlapping boxes of a class.

    Returns:
        At most D detections, best first. Ties at the last place are decided by index,
        where tf-faster-rcnn keeps all of them. Unused slots are zero.
    """
    found = candidates(
        proposals,
        class_scores,
        pred_deltas,
        image_sizes,
        score_threshold=score_threshold,
        coder=coder,
    )
    kept = suppress(found, suppression, max_detections=max_detections)
    return replace(kept, rows=None)


def candidates(
    proposals: Proposals,
    class_scores: Tensor,
    pred_deltas: Tensor,
    image_sizes: Tensor,
    *,
    score_threshold: float,
    coder: BoxCoder,
    classes: Tensor | None = None,
) -> Detections:
    """Decode and clip the box of every RoI for every class.

    1. Move every RoI by the deltas of every class and clip it to the image.
    2. Drop scores that are not above ``score_threshold``, boxes with a side below
       ``coder.min_size``, and deltas that are not finite.

    The arguments are those of `detect`. With ``classes`` ``(N, R)`` every RoI is a
    candidate for that class alone, and class scores and deltas have 1 in place of C.

    Returns:
        ``(N, B)`` boxes with scores and classes, ordered by RoI, then class, before
        suppression. If there are very many classes, only as many per RoI as can exceed
        the threshold.
    """
    images = class_scores.shape[0]
    # 1. Boxes, (N, R, C - 1, 4), or fewer classes.
    if classes is not None:
        scores, labels = class_scores.float(), classes[:, :, None]
        pred_deltas = pred_deltas.float()
    else:
        scores, labels, pred_deltas = _foreground(
            class_scores, pred_deltas, score_threshold
        )
    boxes = coder.decode(proposals.boxes[:, :, None], pred_deltas, image_sizes)
    # Clipping would turn an infinite delta into a box of the whole image.
    finite = (boxes.isfinite() & pred_deltas.isfinite()).all(dim=3)
    large = coder.large(boxes)  # (N, R, C - 1 or 1)
    boxes = boxes.expand(-1, -1, labels.shape[2], -1).reshape(images, -1, 4)
    rows = torch.arange(labels.shape[1], device=labels.device)[:, None]
    # 2. Scores, (N, B).
    usable = proposals.valid[:, :, None] & finite & large & (scores > score_threshold)
    return Detections(
        boxes,
        scores.flatten(1),
        labels.flatten(1),
        usable.flatten(1),
        rows=rows.expand_as(labels).flatten(1),
    )


def _foreground(
    class_scores: Tensor, pred_deltas: Tensor, score_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, classes and deltas of the classes without the background.

    If there are very many, only of those that can exceed the threshold: probabilities
    sum to 1.
    """
    images, count, classes = class_scores.shape
    scores = class_scores[:, :, 1:].float()
    labels = torch.arange(1, classes, device=scores.device).expand(images, count, -1)
    likely = classes
    if score_threshold > 0:
        likely = math.floor(1 / score_threshold + 1e-4)  # for sums that round up
    if _MANY * likely < classes:
        # In class order, because ties are decided by index.
        likeliest = scores.topk(likely, dim=2).indices.sort(dim=2).values
        scores, labels = scores.gather(2, likeliest), labels.gather(2, likeliest)
        if pred_deltas.shape[2] > 1:
            index = labels[..., None].expand(-1, -1, -1, 4)
            pred_deltas = pred_deltas.gather(2, index)
    elif pred_deltas.shape[2] > 1:
        pred_deltas = pred_deltas[:, :, 1:]
    return scores, labels, pred_deltas.float()


def suppress(
    found: Detections, suppression: Suppression, *, max_detections: int
) -> Detections:
    """Drop boxes that overlap a better box of their class; keep the best.

    Args:
        found: ``(N, B)`` candidates in any order.
        suppression: rule for overlapping boxes.
        max_detections: D.

    Returns:
        Detections, best first; unused slots are zero.
    """
    keep, kept = suppression(
        found.boxes,
        found.scores,
        found.valid,
        max_outputs=max_detections,
        groups=found.classes,
    )
    return pick(found, keep, kept)


def suppress_softly(
    found: Detections,
    *,
    decay: Decay,
    max_detections: int,
    min_score: float,
    offset: float,
) -> Detections:
    """Lower the score of boxes that overlap a better one of their class; keep the best.

    Args:
        found: ``(N, B)`` candidates in any order.
        decay: see `faster_rcnn.nms.soft_nms`.
        max_detections: D.
        min_score: keep detections whose score after decay is above this.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        Detections with decayed scores, best first; unused slots are zero.
    """
    picked, kept, scores = soft_nms(
        found.boxes,
        found.scores,
        found.valid,
        max_outputs=max_detections,
        decay=decay,
        min_score=min_score,
        groups=found.classes,
        offset=offset,
    )
    return replace(pick(found, picked, kept), scores=scores)


def pick(found: Detections, index: Tensor, kept: Tensor) -> Detections:
    """Select rows ``index (N, D)``; a row is zero where ``kept (N, D)`` is False."""
    boxes = found.boxes.gather(1, index[:, :, None].expand(-1, -1, 4))
    rows = found.rows
    return Detections(
        boxes=boxes.masked_fill(~kept[:, :, None], 0.0),
        scores=found.scores.gather(1, index).masked_fill(~kept, 0.0),
        classes=found.classes.gather(1, index).masked_fill(~kept, 0),
        valid=kept,
        rows=None if rows is None else rows.gather(1, index).masked_fill(~kept, 0),
    )
