"""MobileNet v2 and v3: a sequence of features, whose last ones are C4's head."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from .backbone import Backbone, Stage
from .layers import ConvNorm, shrink, zero_padding


class FeatureRow(Backbone):
    """A stem of stride 2, blocks, and a last 1x1 convolution, as in torchvision.

    The stem and the last convolution are `ConvNorm`, with activation `activate`. A
    block maps a feature map and its true sizes to its output and the output's true
    sizes.

    Attributes:
        features: all layers, input first; `freeze` counts the shared ones.
        head_start: for C4, the index of the head's first feature.
        stage_ends: indices of the features that `stages` yields.
    """

    features: nn.Sequential
    activate: ClassVar[Callable[..., Tensor]]
    head_start: ClassVar[int]
    stage_ends: ClassVar[tuple[int, ...]]

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """See `Backbone.stages`."""
        stem, *others = self._shared_layers()
        sizes = shrink(sizes, 2)
        x = type(self).activate(zero_padding(stem(images), sizes), inplace=True)
        for index, feature in enumerate(others, start=1):
            if isinstance(feature, ConvNorm):
                x = type(self).activate(feature(x), inplace=True)
            else:
                x, sizes = feature(x, sizes)
            if index in self.stage_ends:
                yield x, sizes

    def head_map(self, pooled: Tensor) -> Tensor:
        """Apply the features after the shared ones; see `Backbone.head_map`."""
        *blocks, last = self.features[self.head_start :]
        x = pooled
        for block in blocks:
            x, _ = block(x, None)
        return type(self).activate(last(x), inplace=True)

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the shared features, one per block."""
        return [[feature] for feature in self._shared_layers()]

    def _shared_layers(self) -> nn.Sequential:
        return self.features[: self.head_start] if self.kind == "c4" else self.features
