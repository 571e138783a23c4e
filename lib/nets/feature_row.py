"""MobileNet v2 and v3: a row of features, the last of which are the head under C4."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from .backbone import Backbone, Stage
from .layers import ConvNorm, shrink, zero_padding


class FeatureRow(Backbone):
    """A stem of stride 2, blocks, and a last 1x1 convolution, as in torchvision.

    Stem and last convolution are `ConvNorm`, whose activation is `activate`; a block
    maps a feature map and its true sizes to those of its output.

    Attributes:
        features: all of them, input first; blocks for `freeze` are the trunk's.
        head_start: of C4: the first feature of the head.
        stage_ends: the features that `stages` gives.
    """

    features: nn.Sequential
    activate: ClassVar[Callable[..., Tensor]]
    head_start: ClassVar[int]
    stage_ends: ClassVar[tuple[int, ...]]

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """See `Backbone.stages`."""
        stem, *others = self._trunk_features()
        sizes = shrink(sizes, 2)
        x = type(self).activate(zero_padding(stem(images), sizes), inplace=True)
        for index, feature in enumerate(others, start=1):
            if isinstance(feature, ConvNorm):
                x = type(self).activate(feature(x), inplace=True)
            else:
                x, sizes = feature(x, sizes)
            if index in self.stage_ends:
                yield x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """The features behind the trunk, averaged over each region."""
        *blocks, last = self.features[self.head_start :]
        x = pooled
        for block in blocks:
            x, _ = block(x, None)
        return type(self).activate(last(x), inplace=True).mean((2, 3))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """The trunk's features, one each."""
        return [[feature] for feature in self._trunk_features()]

    def _trunk_features(self) -> nn.Sequential:
        return self.features[: self.head_start] if self.kind == "c4" else self.features
