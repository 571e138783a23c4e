"""The four losses (Faster R-CNN, section 3.1.2, eq. 1; Fast R-CNN, section 2.3).

Letters: N images, A anchors, S sampled RoIs per image, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_l1(difference: Tensor, *, sigma: float) -> Tensor:
    """Compute the smooth L1 of each element (Fast R-CNN, eq. 3).

    Args:
        difference: prediction minus target, any shape.
        sigma: the loss is quadratic below ``1 / sigma**2``.

    Returns:
        Same shape as ``difference``.
    """
    variance = sigma * sigma
    size = difference.abs()
    return torch.where(
        size < 1.0 / variance, 0.5 * variance * size * size, size - 0.5 / variance
    )


def rpn_losses(
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    labels: Tensor,
    target_deltas: Tensor,
    *,
    sigma: float,
    positive_weight: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the objectness loss and the box loss of the RPN.

    Args:
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        labels: ``(N, A)`` 1, 0, or -1 for ignored.
        target_deltas: ``(N, A, 4)``.
        sigma: sigma of the smooth L1.
        positive_weight: weight of all positives together in the box loss; if None,
            their share of the labelled anchors.

    Returns:
        Mean cross entropy over the labelled anchors, and the sum of the smooth L1 of
        the positives divided by the number of labelled anchors or, with
        ``positive_weight``, that weight times the mean over the positives. Both are 0
        if there are no such anchors.
    """
    labelled = labels >= 0
    count = labelled.sum().clamp(min=1)
    # A softmax over (background, object) scores is a sigmoid of their difference.
    # Ignored rows are overwritten before the arithmetic, because 0 * nan is nan, and so
    # is its gradient.
    cross_entropy = F.binary_cross_entropy_with_logits(
        objectness_logits.float().masked_fill(~labelled, 0.0),
        labels.clamp(min=0).float(),
        reduction="none",
    )
    cls_loss = cross_entropy.masked_fill(~labelled, 0.0).sum() / count
    difference = (pred_deltas.float() - target_deltas).masked_fill(
        (labels != 1)[..., None], 0.0
    )
    box_loss = smooth_l1(difference, sigma=sigma).sum()
    if positive_weight is None:
        box_loss = box_loss / count
    else:
        box_loss = box_loss * positive_weight / (labels == 1).sum().clamp(min=1)
    return cls_loss, box_loss


def head_losses(
    class_logits: Tensor,
    pred_deltas: Tensor,
    classes: Tensor,
    target_deltas: Tensor,
    valid: Tensor,
    *,
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """Compute the classification loss and the box loss of the Fast R-CNN head.

    Args:
        class_logits: ``(N, S, C)``.
        pred_deltas: ``(N, S, C, 4)`` class-specific, or ``(N, S, 1, 4)`` shared.
        classes: ``(N, S)`` int64, 0 for background.
        target_deltas: ``(N, S, 4)``.
        valid: ``(N, S)`` bool.
        sigma: sigma of the smooth L1.

    Returns:
        Mean cross entropy and the sum of the smooth L1 of the foreground RoIs, each
        divided by the number of valid RoIs; 0 if there are none.
    """
    count = valid.sum().clamp(min=1)
    # Invalid rows are overwritten before the arithmetic, as in `rpn_losses`.
    classes = classes.masked_fill(~valid, 0)
    class_logits = class_logits.float().masked_fill(~valid[..., None], 0.0)
    cross_entropy = F.cross_entropy(
        class_logits.flatten(0, 1), classes.flatten(), reduction="none"
    )
    cls_loss = cross_entropy.masked_fill(~valid.flatten(), 0.0).sum() / count
    if pred_deltas.shape[2] == 1:
        own = pred_deltas[:, :, 0]
    else:
        column = classes[:, :, None, None].expand(-1, -1, 1, 4)
        own = pred_deltas.gather(2, column)[:, :, 0]  # (N, S, 4)
    foreground = classes > 0
    difference = (own.float() - target_deltas).masked_fill(~foreground[..., None], 0.0)
    box_loss = smooth_l1(difference, sigma=sigma).sum() / count
    return cls_loss, box_loss
