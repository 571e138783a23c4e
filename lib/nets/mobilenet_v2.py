"""MobileNet v2 (Sandler et al. 2018).

C4: features 0-13 are shared, 14-18 are the head. FPN: all features are
shared.
"""

from typing import cast

from torch import Tensor, nn

from .backbone import FeatureKind
from .layers import (
    ConvNorm,
    Norm,
    NormKind,
    conv_norm,
    init_convs,
    shrink,
)
from .sequential_backbone import SequentialBackbone

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
_HEAD_START = 14  # for C4: the first feature of the stage with 160 channels
_STAGE_ENDS = (3, 6, 13, 18)  # the last features at strides 4, 8, 16 and 32


class InvertedResidual(nn.Module):
    """A depthwise 3x3 convolution in a widened space, between two 1x1 ones.

    Without expansion the first 1x1 is omitted, and the input needs zero padding.
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
        """Map ``(N, C, H, W)`` and its sizes to the block's output and its sizes."""
        *expand, depthwise, project, norm = self.conv
        out = x
        for layer in expand:
            out = layer(out, "relu6", sizes)
        out = depthwise(out, "relu6")
        out = conv_norm(out, cast(nn.Conv2d, project), cast(Norm, norm))
        if self.residual:
            out += x
        return out, shrink(sizes, self.stride)


class MobileNetV2(SequentialBackbone):
    """MobileNet v2 of width 1 with torchvision's parameter names.

    Blocks for `freeze`: features 0 to 13; with FPN 0 to 18.

    Args:
        kind: see `FeatureKind`.
        norm: see `Norm`.
        head_stride: stride of feature 14 as C4's head: 1 keeps the region's resolution,
            2 halves it as in the classification network.
    """

    default_fixed_blocks = 5
    classifier_prefixes = ("classifier.",)
    activation = "relu6"
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
        self.channels, self.head_channels = (96,), 1280
        if kind == "fpn":
            self.strides, head_stride = (4, 8, 16, 32), 2
            self.channels, self.head_channels = (24, 32, 96, 1280), 0
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
        features.append(ConvNorm(channels, 1280, 1, norm=norm))
        self.features = nn.Sequential(*features)
        init_convs(self)
