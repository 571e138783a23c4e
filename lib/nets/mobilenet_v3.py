"""MobileNet v3, the large one (Howard et al. 2019).

C4: features 0-12 are shared, 13-16 are the head. FPN: all features are
shared, and the pyramid is torchvision's, with two maps at stride 32: that of feature
13, the first of the last stage, and that of the last feature.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import FeatureKind
from .layers import ConvNorm, NormKind, init_convs, shrink, zero_padding
from .sequential_backbone import SequentialBackbone


class _Row(NamedTuple):
    """One block of table 1 of the paper."""

    kernel: int
    width: int  # of the depthwise convolution
    channels: int
    squeeze: bool
    hardswish: bool
    stride: int


_ROWS = (
    _Row(3, 16, 16, False, False, 1),
    _Row(3, 64, 24, False, False, 2),
    _Row(3, 72, 24, False, False, 1),
    _Row(5, 72, 40, True, False, 2),
    _Row(5, 120, 40, True, False, 1),
    _Row(5, 120, 40, True, False, 1),
    _Row(3, 240, 80, False, True, 2),
    _Row(3, 200, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 480, 112, True, True, 1),
    _Row(3, 672, 112, True, True, 1),
    _Row(5, 672, 160, True, True, 2),
    _Row(5, 960, 160, True, True, 1),
    _Row(5, 960, 160, True, True, 1),
)
_LAST = 960
_HEAD_START = 13  # for C4: the first feature of the stage with 160 channels
# The last features at strides 4, 8 and 16, and the two at stride 32 of the pyramid.
_STAGE_ENDS = (3, 6, 12, 13, 16)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a weight from the means of all channels (section 5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = _divisible(channels // 4)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor, sizes: Tensor | None) -> Tensor:
        """Scale ``(N, C, H, W)``; means are taken over the true sizes."""
        weights = self.fc2(F.relu(self.fc1(_mean(x, sizes)), inplace=True))
        return x * F.hardsigmoid(weights)


def _mean(x: Tensor, sizes: Tensor | None) -> Tensor:
    """Average over the true size of each image: ``(N, C, 1, 1)``."""
    if sizes is None:
        return x.mean((2, 3), keepdim=True)
    sums = zero_padding(x, sizes).float().sum((2, 3), keepdim=True)
    return (sums / sizes.prod(1)[:, None, None, None]).to(x.dtype)


def _divisible(channels: int) -> int:
    """Round to a multiple of 8, at least nine tenths (MobileNet v1's code)."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class InvertedResidual(nn.Module):
    """A depthwise convolution in a widened space, scaled, between two 1x1 ones.

    If the space is not wider, the first 1x1 is omitted, and the input needs zero
    padding. Hardswish keeps zeros, as ReLU does, so masking comes before it.
    """

    def __init__(
        self, in_channels: int, row: _Row, *, stride: int, norm: NormKind
    ) -> None:
        super().__init__()
        self.stride = stride
        self.residual = stride == 1 and in_channels == row.channels
        self.hardswish = row.hardswish
        width = row.width
        layers: list[nn.Module] = []
        if width != in_channels:
            layers.append(ConvNorm(in_channels, width, 1, norm=norm))
        layers.append(
            ConvNorm(width, width, row.kernel, stride=stride, groups=width, norm=norm)
        )
        if row.squeeze:
            layers.append(SqueezeExcitation(width))
        layers.append(ConvNorm(width, row.channels, 1, norm=norm))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to the block's output and its sizes."""
        activation = "hardswish" if self.hardswish else "relu"
        *layers, project = self.block
        out = x
        for layer in layers:
            if isinstance(layer, SqueezeExcitation):
                out = layer(out, sizes)
                continue
            assert isinstance(layer, ConvNorm)
            if layer[0].kernel_size == (1, 1):  # the depthwise convolution reads zeros
                out = layer(out, activation, sizes)
            else:
                out, sizes = layer(out, activation), shrink(sizes, self.stride)
        out = project(out)
        if self.residual:
            out += x
        return out, sizes


class MobileNetV3(SequentialBackbone):
    """MobileNet v3 Large of width 1 with torchvision's parameter names.

    The norms' epsilon is 1e-5, as in torchvision's detectors. torchvision's
    classification weights use 1e-3; the difference is added to the running variances
    when such weights are read.

    Blocks for `freeze`: features 0 to 12; with FPN 0 to 16.

    Args:
        kind: see `FeatureKind`; the pyramid has two maps at stride 32.
        norm: see `Norm`.
        head_stride: stride of feature 13 as C4's head: 1 keeps the region's resolution,
            2 halves it as in the classification network.
    """

    default_fixed_blocks = 7
    classifier_prefixes = ("classifier.",)
    activation = "hardswish"
    head_start = _HEAD_START
    stage_ends = _STAGE_ENDS

    def __init__(
        self,
        *,
        kind: FeatureKind = "c4",
        norm: NormKind = "frozen",
        head_stride: int = 1,
    ) -> None:
        super().__init__(kind)
        self.channels, self.head_channels = (112,), _LAST
        if kind == "fpn":
            self.strides, head_stride = (32, 32), 2
            self.channels, self.head_channels = (160, _LAST), 0
        features: list[nn.Module] = [ConvNorm(3, 16, 3, stride=2, norm=norm)]
        channels = 16
        for row in _ROWS:
            stride = head_stride if len(features) == _HEAD_START else row.stride
            features.append(InvertedResidual(channels, row, stride=stride, norm=norm))
            channels = row.channels
        features.append(ConvNorm(channels, _LAST, 1, norm=norm))
        self.features = nn.Sequential(*features)
        init_convs(self)
