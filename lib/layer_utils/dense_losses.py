"""The losses of a one-stage detector (Focal Loss, section 4.1), summed by image.

Letters: N images, A anchors, C classes.
"""

from typing import Literal

import torch
from torch import Tensor

from .boxes import decode, encode
from .focal_loss import sigmoid_focal_loss
from .iou_losses import iou_loss
from .losses import Loss, smooth_l1
from .structures import DenseOutput

BoxLoss = Literal["l1", "smooth_l1", "giou", "diou", "ciou"]


def dense_class_losses(
    class_logits: Tensor,
    classes: Tensor,
    class_weights: Tensor | None = None,
    *,
    alpha: float | None,
    gamma: float,
) -> Tensor:
    """Sum the focal loss over all anchors that are not ignored, and all classes.

    Args:
        class_logits: ``(N, A, C)``.
        classes: ``(N, A)`` 1..C-1, 0 for background, -1 for ignored.
        class_weights: ``(C,)`` factors on the loss of an anchor by its class; None for
            1.
        alpha: see `sigmoid_focal_loss`.
        gamma: see `sigmoid_focal_loss`.

    Returns:
        ``(N,)``.
    """
    ignored = (classes < 0)[:, :, None]
    numbers = torch.arange(class_logits.shape[2], device=classes.device)
    targets = classes.masked_fill(classes == 0, -1)[:, :, None] == numbers
    # Ignored rows are overwritten before the arithmetic, because 0 * nan is nan, and so
    # is its gradient.
    losses = sigmoid_focal_loss(
        class_logits.masked_fill(ignored, 0.0), targets, alpha=alpha, gamma=gamma
    )
    if class_weights is not None:
        losses = losses * class_weights[classes.clamp(min=0)][:, :, None]
    return losses.masked_fill(ignored, 0.0).sum(dim=(1, 2))


def dense_box_losses(
    output: DenseOutput,
    classes: Tensor,
    gt_boxes: Tensor,
    *,
    kind: BoxLoss,
    sigma: float,
    offset: float,
    max_log_size: float | None,
) -> Tensor:
    """Sum the loss of the positives' boxes.

    Args:
        output: predictions for every anchor.
        classes: ``(N, A)``, above 0 where an anchor is positive.
        gt_boxes: ``(N, A, 4)`` object of each anchor.
        kind: L1 or smooth L1 of the deltas, or an overlap of the decoded boxes.
        sigma: sigma of the smooth L1.
        offset: 1 for legacy boxes, 0 for continuous ones.
        max_log_size: upper limit of decoded dw and dh; None for no limit.

    Returns:
        ``(N,)``.
    """
    others = (classes <= 0)[:, :, None]
    deltas = output.pred_deltas.masked_fill(others, 0.0)
    # An anchor that is its own target has no loss and no gradient.
    targets = torch.where(others, output.anchors, gt_boxes)
    if kind == "l1" or kind == "smooth_l1":
        difference = deltas - encode(output.anchors, targets, offset=offset)
        losses = difference.abs()
        if kind == "smooth_l1":
            losses = smooth_l1(difference, sigma=sigma)
        return losses.sum(dim=(1, 2))
    boxes = decode(output.anchors, deltas, offset=offset, max_log_size=max_log_size)
    losses = iou_loss(boxes, targets, kind=kind, offset=offset)
    return losses.masked_fill(others[:, :, 0], 0.0).sum(dim=1)


def over_positives(
    sums: Tensor, *, positives: Tensor, per_image: bool, running: Tensor | None
) -> Loss:
    """Normalise a loss by the number of positives.

    Args:
        sums: ``(N,)`` of the images.
        positives: ``(N,)``.
        per_image: divide each image's sum by its own positives, and take their mean.
        running: ``()`` running mean of the positives of an update; None to divide by
            the positives of this one.
    """
    if per_image:
        images = torch.full_like(positives.sum(), len(positives))
        return Loss((sums / positives.clamp(min=1)).sum(), images, per_image=1)
    return Loss(sums.sum(), positives.sum(), running=running)
