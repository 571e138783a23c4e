"""What MobileNet v2 and v3 share: a sequence of layers, the last ones of which are the
head in C4."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from ..kernels.convolution import Activation
from .backbone import Backbone, Stage
from .layers import ConvNorm, shrink


class SequentialBackbone(Backbone):
    """A stem of stride 2, blocks, and a last 1x1 convolution, as in torchvision.

    The stem and the last convolution are `ConvNorm`, with `activation`. A block maps a
    feature map and its true sizes to its output and the output's true sizes.

    Attributes:
        activation: the activation of the stem and of the last convolution.
        features: all layers, input first; `freeze` counts the shared ones.
        head_start: for C4, the index of the head's first layer.
        stage_ends: indices of the layers whose maps `stages` yields.
    """

    activation: ClassVar[Activation]
    features: nn.Sequential
    head_start: ClassVar[int]
    stage_ends: ClassVar[tuple[int, ...]]

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """See `Backbone.stages`."""
        stem, *others = self._shared_layers()
        sizes = shrink(sizes, 2)
        x = stem(images, self.activation, sizes)
        for index, layer in enumerate(others, start=1):
            if isinstance(layer, ConvNorm):
                x = layer(x, self.activation)
            else:
                x, sizes = self.run(layer, x, sizes)
            if index in self.stage_ends:
                yield x, sizes

    def head_map(self, pooled: Tensor) -> Tensor:
        """Apply the layers after the shared ones; see `Backbone.head_map`."""
        *blocks, last = self.features[self.head_start :]
        x = pooled
        for block in blocks:
            x, _ = block(x, None)
        return cast(Tensor, last(x, self.activation))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the shared layers, one per block."""
        return [[layer] for layer in self._shared_layers()]

    def _shared_layers(self) -> nn.Sequential:
        return self.features[: self.head_start] if self.kind == "c4" else self.features
