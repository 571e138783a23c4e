"""The two subnets of RetinaNet (Lin et al. 2017, "Focal Loss", section 4).

Letters: N images, K anchors per cell, A = H * W * K anchors, C classes.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvGroupNorm, HeadNorm, head_conv, zero_padding


class DensePredictor(nn.Module):
    """Classify and regress every anchor: four 3x3 convolutions and an output for each.

    The classes have one logit each, background included, as in torchvision: class 0 is
    always a negative.

    Args:
        channels: channels of the map and of the hidden layers.
        anchors_per_cell: K.
        num_classes: C.
        convs: hidden layers of each subnet.
        norm: norm after each hidden layer: "none" or "group".
        prior: probability that an untrained detector gives each class (section 3.3).
    """

    def __init__(
        self,
        channels: int,
        anchors_per_cell: int,
        num_classes: int,
        *,
        convs: int = 4,
        norm: HeadNorm = "none",
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.score_convs, self.delta_convs = (
            nn.ModuleList(head_conv(channels, channels, norm) for _ in range(convs))
            for _ in range(2)
        )
        self.scores = nn.Conv2d(channels, num_classes * anchors_per_cell, 3, padding=1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        assert self.scores.bias is not None
        nn.init.constant_(self.scores.bias, -math.log((1 - prior) / prior))

    def forward(self, features: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Classify and regress every anchor of a feature map.

        Args:
            features: ``(N, channels, H, W)``.
            sizes: ``(N, 2)`` true rows and columns, None if nothing is padded.

        Returns:
            Class logits ``(N, A, C)`` and deltas ``(N, A, 4)``, float32, in the order
            of ``layer_utils.anchors.grid_anchors``.
        """
        features = zero_padding(features, sizes)
        logits = self.scores(_subnet(features, self.score_convs, sizes))
        deltas = self.deltas(_subnet(features, self.delta_convs, sizes))
        return _rows(logits, self.num_classes), _rows(deltas, 4)


def _subnet(x: Tensor, convs: nn.ModuleList, sizes: Tensor | None) -> Tensor:
    """Apply hidden layers to a map that is zero beyond its sizes; return such a map."""
    for conv in convs:
        x = conv(x, sizes) if isinstance(conv, ConvGroupNorm) else conv(x)
        x = F.relu(zero_padding(x, sizes), inplace=True)
    return x


def _rows(x: Tensor, numbers: int) -> Tensor:
    """Turn outputs ``(N, K * numbers, H, W)`` into rows ``(N, A, numbers)``."""
    return x.float().permute(0, 2, 3, 1).reshape(x.shape[0], -1, numbers)
