"""The head of detectors whose backbone has no layers left for it (FPN, section 4.2).

Letters: M RoIs of all images, P side of a pooled region.
"""

from itertools import pairwise
from typing import get_args

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import HeadNorm, head_conv, init_convs


class RegionHead(nn.Module):
    """3x3 convolutions, then hidden fully connected layers, each with a ReLU.

    Two fully connected layers give FPN's head; four convolutions and one fully
    connected layer give "4conv1fc" (Wu & He 2018, section 4.2).

    Args:
        in_channels: channels of the pooled regions.
        size: P.
        convs: number of convolutions.
        conv_channels: channels of each convolution.
        fcs: number of hidden fully connected layers.
        fc_channels: channels of each fully connected layer.
        norm: norm after each convolution: "none", "batch" or "group".

    Attributes:
        out_channels: length of the vectors.

    Raises:
        ValueError: there are no layers, or ``norm`` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        size: int,
        *,
        convs: int = 0,
        conv_channels: int = 256,
        fcs: int = 2,
        fc_channels: int = 1024,
        norm: HeadNorm = "none",
    ) -> None:
        super().__init__()
        if norm not in get_args(HeadNorm):
            raise ValueError(
                f"norm: expected one of {', '.join(get_args(HeadNorm))}; found {norm!r}"
            )
        if convs + fcs == 0:
            raise ValueError(
                "the head has neither convolutions nor fully connected layers; set "
                "head.convs or head.fcs"
            )
        channels = [in_channels] + [conv_channels] * convs
        self.convs = nn.ModuleList(
            _conv(into, out, norm) for into, out in pairwise(channels)
        )
        widths = [channels[-1] * size * size] + [fc_channels] * fcs
        self.fcs = nn.ModuleList(nn.Linear(into, out) for into, out in pairwise(widths))
        self.out_channels = widths[-1]
        for layer in self.fcs:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, out_channels)``."""
        for layer in self.convs:
            pooled = F.relu(layer(pooled), inplace=True)
        vectors = pooled.flatten(1)
        for layer in self.fcs:
            vectors = F.relu(layer(vectors), inplace=True)
        return vectors


def _conv(in_channels: int, out_channels: int, norm: HeadNorm) -> nn.Module:
    layer = head_conv(in_channels, out_channels, norm)
    init_convs(layer)
    return layer
