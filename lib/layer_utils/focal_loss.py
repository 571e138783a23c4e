"""The focal loss (Lin et al. 2017, "Focal Loss for Dense Object Detection")."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float | None, gamma: float
) -> Tensor:
    """Compute the focal loss of each element (section 3.2, eq. 5).

    Args:
        logits: any shape.
        targets: bool of the same shape: whether the element is positive.
        alpha: weight of positives; negatives have 1 - alpha. If None, all weigh 1.
        gamma: focusing parameter; 0 gives the cross entropy.

    Returns:
        ``-alpha_t (1 - p_t) ** gamma log(p_t)``, float32, same shape as ``logits``.
    """
    logits = logits.float()
    against = torch.where(targets, -logits, logits)  # 1 - p_t is its sigmoid
    # As an exponential, because the derivative of a power below 1 is infinite at 0.
    focus = (gamma * F.logsigmoid(against)).exp()
    loss = focus * F.softplus(against)
    if alpha is not None:
        loss = loss * torch.where(targets, alpha, 1 - alpha)
    return loss
