"""Loss scaling, which keeps small gradients from vanishing in float16.

Mixed Precision Training (Micikevicius et al. 2018), section 3.2: the loss is multiplied
by a large number, and the gradient divided by it. The number is halved whenever the
gradient overflows, and doubled after many updates in which it did not.
"""

import logging
import math
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class LossScaling:
    """PyTorch's `GradScaler` over the whole gradient of all processes."""

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type)

    def scale(self, loss: Tensor) -> Tensor:
        """Multiply a loss by the scale."""
        return self.scaler.scale(loss)

    def unscale(self) -> None:
        """Divide the gradient by the scale."""
        self.scaler.unscale_(self.optimizer)

    def overflowed(self, norm: Tensor) -> bool:
        """Return whether the gradient overflowed because of its scale; adapt the scale.

        The gradient and the scale are the same in all processes, so all decide alike.
        """
        scale = self.scaler.get_scale()
        self.scaler.update()
        if math.isfinite(norm.item()) or scale <= 1:
            return False
        logger.info(
            "update left out: its gradient overflowed float16 at a loss scale of %g; "
            "the next scale is %g",
            scale,
            self.scaler.get_scale(),
        )
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, and the number of updates since it last changed."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.scaler.load_state_dict(state)
