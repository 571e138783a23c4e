"""ResNet (He et al. 2015) and ResNeXt (Xie et al. 2016).

C4: conv1 to conv4 are shared, conv5 is the head. DC5 and FPN: all
stages are shared.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.convolution import convolve
from ..layer_utils.structures import FeatureMaps
from .backbone import Backbone, FeatureKind, Stage
from .layers import (
    ConvNorm,
    Norm,
    NormKind,
    conv_norm,
    folded_norm,
    init_convs,
    shrink,
    zero_padding,
)

Style = Literal["pytorch", "caffe"]


class BlockOptions(NamedTuple):
    """Options that all blocks of a ResNet share.

    Attributes:
        style: where bottlenecks have their stride: "pytorch" or "caffe".
        norm: see `Norm`.
        groups: groups of the bottlenecks' 3x3 convolutions (ResNeXt's cardinality).
        group_width: channels of each group in the layer where a ResNet has 64.
    """

    style: Style
    norm: NormKind
    groups: int = 1
    group_width: int = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; its maps have zero padding."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, o: BlockOptions
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = _conv3(in_channels, width, stride, dilation)
        self.bn1 = Norm(width, o.norm)
        self.conv2 = _conv3(width, width, 1, dilation)
        self.bn2 = Norm(width, o.norm)
        self.downsample = _shortcut(in_channels, width, stride, o.norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to the block's output and its sizes."""
        sizes = shrink(sizes, self.stride)
        out = conv_norm(x, self.conv1, self.bn1, "relu", sizes)
        out = conv_norm(out, self.conv2, self.bn2)
        out += x if self.downsample is None else self.downsample(x)
        return zero_padding(out, sizes).relu_(), sizes


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, and a shortcut.

    The stride is in the 3x3 ("pytorch") or in the first 1x1 ("caffe", as published).
    Only the 3x3 reads neighbouring cells, so only its input is masked.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, o: BlockOptions
    ) -> None:
        super().__init__()
        self.strides = (stride, 1) if o.style == "caffe" else (1, stride)
        channels = width * self.expansion
        inner = width * o.group_width // 64 * o.groups
        self.conv1 = nn.Conv2d(in_channels, inner, 1, self.strides[0], bias=False)
        self.bn1 = Norm(inner, o.norm)
        self.conv2 = _conv3(inner, inner, self.strides[1], dilation, o.groups)
        self.bn2 = Norm(inner, o.norm)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = Norm(channels, o.norm)
        self.downsample = _shortcut(in_channels, channels, stride, o.norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map ``(N, C, H, W)`` and its sizes to the block's output and its sizes."""
        sizes = shrink(sizes, self.strides[0])
        out = conv_norm(x, self.conv1, self.bn1, "relu", sizes)
        out = conv_norm(out, self.conv2, self.bn2, "relu")
        out = conv_norm(out, self.conv3, self.bn3)
        out += x if self.downsample is None else self.downsample(x)
        return out.relu_(), shrink(sizes, self.strides[1])

    def lift(self, x: Tensor) -> Tensor:
        """Apply the first 1x1 and the shortcut's: ``(N, width + C', H, W)``, no shifts.

        Both are linear, so they commute with bilinear pooling, even where pooling
        samples zeros beyond the map.
        """
        assert self.downsample is not None
        folded = (folded_norm(self.conv1, self.bn1), self.downsample.folded())
        return convolve(x, self.conv1, torch.cat([weight for weight, _ in folded]))

    def finish(self, pooled: Tensor) -> Tensor:
        """Compute the block's output from pooled regions of a lifted map."""
        assert self.downsample is not None
        width = self.conv1.out_channels
        _, first_shift = folded_norm(self.conv1, self.bn1)
        _, shortcut_shift = self.downsample.folded()
        weight, shift = folded_norm(self.conv3, self.bn3)
        out = pooled[:, :width] + first_shift.to(pooled.dtype)[:, None, None]
        out = conv_norm(out.relu_(), self.conv2, self.bn2, "relu")
        out = convolve(out, self.conv3, weight, shift + shortcut_shift)
        out += pooled[:, width:]
        return out.relu_()


def _conv3(
    in_channels: int, out_channels: int, stride: int, dilation: int, groups: int = 1
) -> nn.Conv2d:
    """Create a 3x3 convolution whose padding equals its dilation."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, dilation, dilation, groups, bias=False
    )


def _shortcut(
    in_channels: int, out_channels: int, stride: int, norm: NormKind
) -> ConvNorm | None:
    """Create the projection from input to output shape; None if they are equal."""
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

    Blocks for `freeze`: conv1 with layer1, layer2, layer3, and layer4 unless C4.

    Args:
        depth: number of layers, a key of the table above.
        kind: see `FeatureKind`.
        style: where bottlenecks have their stride: "pytorch" or "caffe".
        norm: see `Norm`.
        head_stride: stride of layer4 as C4's head: 1 as in tf-faster-rcnn, 2 as in the
            classification network.
        groups: ResNeXt's cardinality.
        group_width: channels of each group in the first layer.
    """

    kinds: ClassVar[tuple[FeatureKind, ...]] = ("c4", "dc5", "fpn")
    default_fixed_blocks = 1
    classifier_prefixes = ("fc.",)

    def __init__(
        self,
        depth: int,
        *,
        kind: FeatureKind = "c4",
        style: Style = "pytorch",
        norm: NormKind = "frozen",
        head_stride: int = 1,
        groups: int = 1,
        group_width: int = 64,
    ) -> None:
        super().__init__(kind)
        block, counts = _DEPTHS[depth]
        widths = [w * block.expansion for w in (64, 128, 256, 512)]
        self.channels = tuple(
            {"c4": widths[2:3], "dc5": widths[3:], "fpn": widths}[kind]
        )
        self.head_channels = widths[3] if kind == "c4" else 0
        if kind == "fpn":
            self.strides = (4, 8, 16, 32)
        last_stride = {"c4": head_stride, "dc5": 1, "fpn": 2}[kind]
        options = BlockOptions(style, norm, groups, group_width)

        def layer(
            width: int, count: int, stride: int, dilation: int = 1
        ) -> nn.Sequential:
            out = width * block.expansion
            # The first layer follows the stem, each other one a layer of half its
            # width.
            into = 64 if width == 64 else out // 2
            first = block(into, width, stride, dilation, options)
            rest = (block(out, width, 1, dilation, options) for _ in range(count - 1))
            return nn.Sequential(first, *rest)

        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = Norm(64, norm)
        self.layer1 = layer(64, counts[0], 1)
        self.layer2 = layer(128, counts[1], 2)
        self.layer3 = layer(256, counts[2], 2)
        self.layer4 = layer(512, counts[3], last_stride, 2 if kind == "dc5" else 1)
        init_convs(self)

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """Yield conv2 to conv4, and conv5 unless C4; see `Backbone.stages`."""
        sizes = shrink(sizes, 2)
        x = conv_norm(images, self.conv1, self.bn1, "relu", sizes)
        # After a ReLU, padding with zeros is as neutral as the pool's own border.
        x, sizes = F.max_pool2d(x, 3, 2, 1), shrink(sizes, 2)
        x = zero_padding(x, sizes)
        for layer in self._shared_layers():
            for block in layer:
                x, sizes = self.run(block, x, sizes)
            yield x, sizes

    def head_map(self, pooled: Tensor) -> Tensor:
        """Apply conv5; see `Backbone.head_map`."""
        if pooled.shape[1] == self.channels[0]:
            return _apply(self.layer4, pooled, None)[0]
        block, *others = self.layer4
        assert isinstance(block, Bottleneck)
        return _apply(others, block.finish(pooled), None)[0]

    def lift(self, features: FeatureMaps) -> FeatureMaps | None:
        """Apply conv5's first 1x1 and its shortcut; see `Backbone.lift`."""
        block = self.layer4[0]
        if self.kind != "c4" or not isinstance(block, Bottleneck):
            return None
        if block.strides != (1, 1) or block.bn1.training:
            return None
        return FeatureMaps([block.lift(x) for x in features.maps], features.sizes)

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return conv1 with layer1, then each further layer."""
        first, *others = self._shared_layers()
        return [[self.conv1, self.bn1, first], *([layer] for layer in others)]

    def _shared_layers(self) -> list[nn.Sequential]:
        layers = [self.layer1, self.layer2, self.layer3]
        return layers if self.kind == "c4" else [*layers, self.layer4]


def _apply(
    layer: Iterable[nn.Module], x: Tensor, sizes: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    for block in layer:
        x, sizes = block(x, sizes)
    return x, sizes
