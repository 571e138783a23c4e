"""ResNet (He et al. 2015): conv1 to conv4 as trunk, conv5 as head on each region."""

from collections.abc import Sequence
from typing import Literal

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

Style = Literal["pytorch", "caffe"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; takes and gives maps with zero padding."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, style: Style, norm: NormKind
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = Norm(width, norm)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = Norm(width, norm)
        self.downsample = _shortcut(in_channels, width, stride, norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to those of the block's output."""
        sizes = shrink(sizes, self.stride)
        out = conv_norm(x, self.conv1, self.bn1)
        out = zero_padding(out, sizes).relu_()
        out = conv_norm(out, self.conv2, self.bn2)
        out += x if self.downsample is None else self.downsample(x)
        return zero_padding(out, sizes).relu_(), sizes


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, and a shortcut.

    The stride sits in the 3x3 ("pytorch") or in the first 1x1 ("caffe", as published).
    Only the 3x3 sees its neighbours, so only its input is masked.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, style: Style, norm: NormKind
    ) -> None:
        super().__init__()
        self.strides = (stride, 1) if style == "caffe" else (1, stride)
        channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, self.strides[0], bias=False)
        self.bn1 = Norm(width, norm)
        self.conv2 = nn.Conv2d(width, width, 3, self.strides[1], 1, bias=False)
        self.bn2 = Norm(width, norm)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = Norm(channels, norm)
        self.downsample = _shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to those of the block's output."""
        sizes = shrink(sizes, self.strides[0])
        out = conv_norm(x, self.conv1, self.bn1)
        out = zero_padding(out, sizes).relu_()
        out = conv_norm(out, self.conv2, self.bn2).relu_()
        out = conv_norm(out, self.conv3, self.bn3)
        out += x if self.downsample is None else self.downsample(x)
        return out.relu_(), shrink(sizes, self.strides[1])


def _shortcut(
    in_channels: int, out_channels: int, stride: int, norm: NormKind
) -> ConvNorm | None:
    """The projection that fits the input to the output, None where it fits."""
    if stride == 1 and in_channels == out_channels:
        return None
    return ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm)


_Block = type[BasicBlock] | type[Bottleneck]

_DEPTHS: dict[int, tuple[_Block, tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Backbone):
    """ResNet-18, 34, 50, 101 or 152 with torchvision's parameter names.

    Blocks for `freeze`: conv1 with layer1, layer2, layer3.

    Args:
        depth: a key of the depths above.
        style: where bottlenecks have their stride: "pytorch" or "caffe".
        norm: "frozen" or "batch".
        head_stride: of layer4: 1 as in the family, 2 as in the classification net.
    """

    default_fixed_blocks = 1
    classifier_prefixes = ("fc.",)

    def __init__(
        self,
        depth: int,
        *,
        style: Style = "pytorch",
        norm: NormKind = "frozen",
        head_stride: int = 1,
    ) -> None:
        super().__init__()
        block, counts = _DEPTHS[depth]
        self.channels = 256 * block.expansion
        self.head_channels = 512 * block.expansion

        def layer(width: int, count: int, stride: int) -> nn.Sequential:
            out = width * block.expansion
            # The first layer follows the stem, the others the layer half as wide.
            into = 64 if width == 64 else out // 2
            first = block(into, width, stride, style, norm)
            rest = (block(out, width, 1, style, norm) for _ in range(count - 1))
            return nn.Sequential(first, *rest)

        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = Norm(64, norm)
        self.layer1 = layer(64, counts[0], 1)
        self.layer2 = layer(128, counts[1], 2)
        self.layer3 = layer(256, counts[2], 2)
        self.layer4 = layer(512, counts[3], head_stride)
        init_convs(self)

    def trunk(
        self, images: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Conv1 to conv4, see `Backbone.trunk`."""
        sizes = shrink(sizes, 2)
        x = conv_norm(images, self.conv1, self.bn1)
        x = zero_padding(x, sizes).relu_()
        # After a ReLU the zeros of the padding are as neutral as a pool's own border.
        x, sizes = F.max_pool2d(x, 3, 2, 1), shrink(sizes, 2)
        x = zero_padding(x, sizes)
        for layer in (self.layer1, self.layer2, self.layer3):
            x, sizes = _apply(layer, x, sizes)
        return x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """Conv5, averaged over each region; see `Backbone.head`."""
        return _apply(self.layer4, pooled, None)[0].mean((2, 3))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Conv1 with layer1, layer2, layer3."""
        return [[self.conv1, self.bn1, self.layer1], [self.layer2], [self.layer3]]


def _apply(
    layer: nn.Sequential, x: Tensor, sizes: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    for block in layer:
        x, sizes = block(x, sizes)
    return x, sizes
