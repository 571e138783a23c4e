"""Losses of masks and keypoints (Mask R-CNN, sections 3 and 5).

Letters: N images, R RoIs per image, K keypoints, S cells per side.
"""

import torch.nn.functional as F
from torch import Tensor

from .keypoints import KeypointTargets
from .losses import Loss


def mask_loss_sum(mask_logits: Tensor, targets: Tensor, wanted: Tensor) -> Loss:
    """Compute the mask loss: the binary cross entropy at each cell.

    Args:
        mask_logits: ``(N, R, S, S)``, of each RoI's own class.
        targets: ``(N, R, S, S)`` float32 in [0, 1].
        wanted: ``(N, R)`` bool, the foreground RoIs.

    Returns:
        The mean over the cells of a RoI, over the foreground RoIs.
    """
    # Other rows are overwritten before the arithmetic, as in `rpn_loss_sums`.
    logits = mask_logits.float().masked_fill(~wanted[..., None, None], 0.0)
    cells = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    total = cells.mean(dim=(2, 3)).masked_fill(~wanted, 0.0).sum()
    return Loss(total, wanted.sum())


def keypoint_loss_sum(
    keypoint_logits: Tensor, targets: KeypointTargets, wanted: Tensor
) -> Loss:
    """Compute the keypoint loss: the cross entropy over the cells of a heatmap.

    Args:
        keypoint_logits: ``(N, R, K, S, S)``.
        targets: cell of each keypoint.
        wanted: ``(N, R)`` bool, the foreground RoIs.

    Returns:
        The cross entropy of the valid keypoints of foreground RoIs, over their number.
    """
    valid = targets.valid & wanted[..., None]  # (N, R, K)
    logits = keypoint_logits.float().flatten(3).masked_fill(~valid[..., None], 0.0)
    cross_entropy = F.cross_entropy(
        logits.flatten(0, 2), targets.cells.flatten(), reduction="none"
    )
    total = cross_entropy.masked_fill(~valid.flatten(), 0.0).sum()
    return Loss(total, valid.sum())
