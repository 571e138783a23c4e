"""MobileNet v2 (Sandler et al. 2018): features 0-13 as trunk, 14-18 as head."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone
from .layers import (
    ConvNorm,
    Norm,
    NormKind,
    conv_norm,
    init_convs,
    shrink,
    zero_padding,
)

# Table 2 of the paper: expansion, output channels, repeats, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_HEAD_START = 14  # the first feature of the stage with 160 channels, of stride 2


class InvertedResidual(nn.Module):
    """A depthwise 3x3 convolution in a widened space, between two 1x1 ones.

    Without expansion the first 1x1 is left out, and the input needs zero padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        expansion: int,
        norm: NormKind,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.residual = stride == 1 and in_channels == out_channels
        width = in_channels * expansion
        expand = [] if expansion == 1 else [ConvNorm(in_channels, width, 1, norm=norm)]
        self.conv = nn.Sequential(
            *expand,
            ConvNorm(width, width, 3, stride=stride, groups=width, norm=norm),
            nn.Conv2d(width, out_channels, 1, bias=False),
            Norm(out_channels, norm),
        )

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to those of the block's output."""
        *expand, depthwise, project, norm = self.conv
        out = x
        for layer in expand:
            out = F.relu6(zero_padding(layer(out), sizes), inplace=True)
        out = F.relu6(depthwise(out), inplace=True)
        out = conv_norm(out, cast(nn.Conv2d, project), cast(Norm, norm))
        if self.residual:
            out += x
        return out, shrink(sizes, self.stride)


class MobileNetV2(Backbone):
    """MobileNet v2 of width 1 with torchvision's parameter names.

    Blocks for `freeze`: features 0 to 13.

    Args:
        norm: "frozen" or "batch".
        head_stride: of feature 14: 1 keeps the region's resolution, 2 halves it as
            the classification network does.
    """

    channels = 96
    head_channels = 1280
    default_fixed_blocks = 5
    classifier_prefixes = ("classifier.",)

    def __init__(self, *, norm: NormKind = "frozen", head_stride: int = 1) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvNorm(3, 32, 3, stride=2, norm=norm)]
        channels = 32
        for expansion, width, repeats, first_stride in _STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                if len(features) == _HEAD_START:
                    stride = head_stride
                block = InvertedResidual(
                    channels, width, stride=stride, expansion=expansion, norm=norm
                )
                features.append(block)
                channels = width
        features.append(ConvNorm(channels, self.head_channels, 1, norm=norm))
        self.features = nn.Sequential(*features)
        init_convs(self)

    def trunk(
        self, images: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features 0 to 13, see `Backbone.trunk`."""
        stem, *inverted = self.features[:_HEAD_START]
        sizes = shrink(sizes, 2)
        x = F.relu6(zero_padding(stem(images), sizes), inplace=True)
        for block in inverted:
            x, sizes = block(x, sizes)
        return x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """Features 14 to 18, averaged over each region; see `Backbone.head`."""
        *inverted, last = self.features[_HEAD_START:]
        x = pooled
        for block in inverted:
            x, _ = block(x, None)
        return F.relu6(last(x), inplace=True).mean((2, 3))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Features 0 to 13, one each."""
        return [[feature] for feature in self.features[:_HEAD_START]]
