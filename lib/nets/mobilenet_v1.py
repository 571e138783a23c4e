"""MobileNet v1 (Howard et al. 2017).

C4: layers 0-11 are shared, 12 and 13 are the head. FPN: all layers are
shared.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from .backbone import Backbone, FeatureKind, Stage
from .layers import ConvNorm, NormKind, shrink

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
_HEAD_START = 12  # for C4; this layer's stride is the head's
_STAGE_ENDS = (3, 5, 11, 13)  # the last layers at strides 4, 8, 16 and 32


class SeparableConv(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with norm and ReLU6.

    Its input and output maps have zero padding.
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
        """Map ``(N, C, H, W)`` and its sizes to the layer's output and its sizes."""
        sizes = shrink(sizes, self.stride)
        return self.pointwise(self.depthwise(x, "relu6"), "relu6", sizes), sizes


class MobileNetV1(Backbone):
    """MobileNet v1 of width 1, with the parameter names of tf-faster-rcnn's ports.

    Blocks for `freeze`: layers 0 to 11; with FPN 0 to 13.

    Args:
        kind: see `FeatureKind`.
        norm: see `Norm`.
        head_stride: stride of layer 12 as C4's head: 1 as in tf-faster-rcnn, 2 as in
            the classification network.
    """

    default_fixed_blocks = 5
    classifier_prefixes = ("classifier.", "fc.")

    def __init__(
        self,
        *,
        kind: FeatureKind = "c4",
        norm: NormKind = "frozen",
        head_stride: int = 1,
    ) -> None:
        super().__init__(kind)
        self.channels, self.head_channels = (512,), 1024
        if kind == "fpn":
            self.strides, head_stride = (4, 8, 16, 32), 2
            self.channels, self.head_channels = (128, 256, 512, 1024), 0
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
                # tf-faster-rcnn's N(0, 0.09), truncated at two standard deviations.
                nn.init.trunc_normal_(module.weight, 0.0, 0.09, -0.18, 0.18)

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """See `Backbone.stages`."""
        stem, *layers = self._shared_layers()
        sizes = shrink(sizes, 2)
        x = stem(images, "relu6", sizes)
        for index, layer in enumerate(layers, start=1):
            x, sizes = self.run(layer, x, sizes)
            if index in _STAGE_ENDS:
                yield x, sizes

    def head_map(self, pooled: Tensor) -> Tensor:
        """Apply layers 12 and 13; see `Backbone.head_map`."""
        x = pooled
        for layer in list(self.children())[_HEAD_START:]:
            x = cast(Tensor, layer(x, None)[0])
        return x

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the shared layers, one per block."""
        return [[layer] for layer in self._shared_layers()]

    def _shared_layers(self) -> list[nn.Module]:
        layers = list(self.children())
        return layers[:_HEAD_START] if self.kind == "c4" else layers
