"""The four losses (Faster R-CNN, section 3.1.2, eq. 1; Fast R-CNN, section 2.3).

Letters: N images, A anchors, S sampled RoIs per image, C classes.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(NamedTuple):
    """A loss as the sum over its samples, and their number.

    Sums and numbers add up over passes and processes, and their quotient is the loss of
    the whole batch; means would not.

    Attributes:
        total: ``()``, sum over the samples.
        count: ``()``, number of samples: of RoIs, positives, images, ...
        per_image: largest ``count`` that an image can have, if images usually have it;
            None if the number is known only once the samples are drawn.
        running: ``()``, running mean of the counts of earlier updates, of which this
            one's count becomes a tenth; None if the loss is divided by its own count.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides the method of tuples
    per_image: int | None = None
    running: Tensor | None = None

    @property
    def divisor(self) -> Tensor:
        """Return the divisor of the sum, at least 1."""
        return _divisor(self.count, self.running)

    @property
    def mean(self) -> Tensor:
        """Return the mean over the samples; 0 if there are none."""
        # torch.compile of PyTorch 2.8 does not trace a property within a property.
        return self.total / _divisor(self.count, self.running)


def _divisor(count: Tensor, running: Tensor | None) -> Tensor:
    count = count.clamp(min=1)
    return count if running is None else 0.9 * running + 0.1 * count


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


def rpn_losses(*arguments: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Compute the RPN's two losses as scalars: the means of `rpn_loss_sums`."""
    cls_loss, box_loss = rpn_loss_sums(*arguments, **options)
    return cls_loss.mean, box_loss.mean


def rpn_loss_sums(
    objectness_logits: Tensor,
    pred_deltas: Tensor,
    labels: Tensor,
    target_deltas: Tensor,
    *,
    sigma: float,
    positive_weight: float | None = None,
    per_image: int | None = None,
) -> tuple[Loss, Loss]:
    """Compute the objectness loss and the box loss of the RPN.

    Args:
        objectness_logits: ``(N, A)``.
        pred_deltas: ``(N, A, 4)``.
        labels: ``(N, A)`` 1, 0, or -1 for ignored.
        target_deltas: ``(N, A, 4)``.
        sigma: sigma of the smooth L1.
        positive_weight: weight of all positives together in the box loss; if None,
            their share of the labelled anchors.
        per_image: labelled anchors that an image usually has.

    Returns:
        The cross entropy over the labelled anchors; and the smooth L1 of the positives,
        over the labelled anchors or, with ``positive_weight``, that weight times the
        smooth L1, over the positives.
    """
    labelled = labels >= 0
    count = labelled.sum()
    # A softmax over (background, object) scores is a sigmoid of their difference.
    # Ignored rows are overwritten before the arithmetic, because 0 * nan is nan, and so
    # is its gradient.
    cross_entropy = F.binary_cross_entropy_with_logits(
        objectness_logits.float().masked_fill(~labelled, 0.0),
        labels.clamp(min=0).float(),
        reduction="none",
    )
    cls_loss = cross_entropy.masked_fill(~labelled, 0.0).sum()
    difference = (pred_deltas.float() - target_deltas).masked_fill(
        (labels != 1)[..., None], 0.0
    )
    box_loss = smooth_l1(difference, sigma=sigma).sum()
    if positive_weight is None:
        of_boxes = Loss(box_loss, count, per_image)
    else:
        of_boxes = Loss(box_loss * positive_weight, (labels == 1).sum())
    return Loss(cls_loss, count, per_image), of_boxes


def head_losses(*arguments: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Compute the head's two losses as scalars: the means of `head_loss_sums`."""
    cls_loss, box_loss = head_loss_sums(*arguments, **options)
    return cls_loss.mean, box_loss.mean


def head_loss_sums(
    class_logits: Tensor,
    pred_deltas: Tensor,
    classes: Tensor,
    target_deltas: Tensor,
    valid: Tensor,
    *,
    sigma: float,
    per_image: int | None = None,
    class_weights: Tensor | None = None,
    class_offsets: Tensor | None = None,
) -> tuple[Loss, Loss]:
    """Compute the classification loss and the box loss of the Fast R-CNN head.

    Args:
        class_logits: ``(N, S, C)``.
        pred_deltas: ``(N, S, C, 4)`` class-specific, or ``(N, S, 1, 4)`` shared.
        classes: ``(N, S)`` int64, 0 for background.
        target_deltas: ``(N, S, 4)``.
        valid: ``(N, S)`` bool.
        sigma: sigma of the smooth L1.
        per_image: valid RoIs that an image usually has.
        class_weights: ``(C,)`` factors on the cross entropy by the RoI's class; None
            for 1.
        class_offsets: ``(C,)`` added to the logits for this loss alone; None for 0.

    Returns:
        The cross entropy of the valid RoIs and the smooth L1 of the foreground RoIs,
        both over the valid RoIs.
    """
    count = valid.sum()
    # Invalid rows are overwritten before the arithmetic, as in `rpn_loss_sums`.
    classes = classes.masked_fill(~valid, 0)
    class_logits = class_logits.float().masked_fill(~valid[..., None], 0.0)
    if class_offsets is not None:
        class_logits = class_logits + class_offsets
    cross_entropy = F.cross_entropy(
        class_logits.flatten(0, 1),
        classes.flatten(),
        weight=class_weights,
        reduction="none",
    )
    cls_loss = cross_entropy.masked_fill(~valid.flatten(), 0.0).sum()
    if pred_deltas.shape[2] == 1:
        own = pred_deltas[:, :, 0]
    else:
        column = classes[:, :, None, None].expand(-1, -1, 1, 4)
        own = pred_deltas.gather(2, column)[:, :, 0]  # (N, S, 4)
    foreground = classes > 0
    difference = (own.float() - target_deltas).masked_fill(~foreground[..., None], 0.0)
    box_loss = smooth_l1(difference, sigma=sigma).sum()
    return Loss(cls_loss, count, per_image), Loss(box_loss, count, per_image)
