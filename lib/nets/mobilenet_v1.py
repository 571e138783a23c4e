"""MobileNet v1 (Howard et al. 2017): layers 0-11 as trunk, 12 and 13 as head."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone
from .layers import ConvNorm, NormKind, shrink, zero_padding

# Table 1 of the paper, after the first layer: stride and output channels.
_LAYERS = (
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
)
_HEAD_START = 12  # its stride is the head's


class SeparableConv(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with norm and ReLU6.

    Takes and gives maps with zero padding.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, norm: NormKind
    ) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = ConvNorm(
            in_channels, in_channels, 3, stride=stride, groups=in_channels, norm=norm
        )
        self.pointwise = ConvNorm(in_channels, out_channels, 1, norm=norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to those of the layer's output."""
        sizes = shrink(sizes, self.stride)
        x = F.relu6(self.depthwise(x), inplace=True)
        return F.relu6(zero_padding(self.pointwise(x), sizes), inplace=True), sizes


class MobileNetV1(Backbone):
    """MobileNet v1 of width 1 with the parameter names of the family.

    Blocks for `freeze`: layers 0 to 11.

    Args:
        norm: "frozen" or "batch".
        head_stride: of layer 12: 1 as in the family, 2 as in the classification net.
    """

    channels = 512
    head_channels = 1024
    default_fixed_blocks = 5
    classifier_prefixes = ("classifier.", "fc.")

    def __init__(self, *, norm: NormKind = "frozen", head_stride: int = 1) -> None:
        super().__init__()
        self.add_module("Conv2d_0", ConvNorm(3, 32, 3, stride=2, norm=norm))
        channels = 32
        for index, (stride, width) in enumerate(_LAYERS, start=1):
            if index == _HEAD_START:
                stride = head_stride
            layer = SeparableConv(channels, width, stride=stride, norm=norm)
            self.add_module(f"Conv2d_{index}", layer)
            channels = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # The family's N(0, 0.09), cut at two standard deviations.
                nn.init.trunc_normal_(module.weight, 0.0, 0.09, -0.18, 0.18)

    def trunk(
        self, images: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Layers 0 to 11, see `Backbone.trunk`."""
        stem, *layers = list(self.children())[:_HEAD_START]
        sizes = shrink(sizes, 2)
        x = F.relu6(zero_padding(stem(images), sizes), inplace=True)
        for layer in layers:
            x, sizes = layer(x, sizes)
        return x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """Layers 12 and 13, averaged over each region; see `Backbone.head`."""
        x = pooled
        for layer in list(self.children())[_HEAD_START:]:
            x = cast(Tensor, layer(x, None)[0])
        return x.mean((2, 3))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Layers 0 to 11, one each."""
        return [[layer] for layer in list(self.children())[:_HEAD_START]]
