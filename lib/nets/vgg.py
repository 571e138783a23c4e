"""VGG16 (Simonyan & Zisserman 2014).

C4: conv1_1 to conv5_3 are shared, fc6 and fc7 are the head. FPN: conv1_1 to pool5 are
shared, and there is no head.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from .backbone import Backbone, FeatureKind, Stage
from .layers import init_convs, shrink, zero_padding

# Configuration D of the paper: channels and number of convolutions per group.
_GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
POOLED_SIZE = 7


class VGG16(Backbone):
    """VGG16 with torchvision's parameter names.

    Blocks for `freeze`: the five groups of convolutions between the pools.

    Args:
        kind: see `FeatureKind`.
        dropout: probability after fc6 and fc7.
    """

    default_fixed_blocks = 2
    fc_channels = 4096

    def __init__(self, *, kind: FeatureKind = "c4", dropout: float = 0.5) -> None:
        super().__init__(kind)
        self.channels, self.head_channels = (512,), self.fc_channels
        self.classifier_prefixes = ("classifier.6.",)
        if kind == "fpn":
            self.strides = (4, 8, 16, 32)
            self.channels, self.head_channels = (256, 512, 512, 512), 0
            self.classifier_prefixes = ("classifier.",)
        features: list[nn.Module] = []
        channels = 3
        for width, count in _GROUPS:
            if features:
                features.append(nn.MaxPool2d(2, 2))
            for _ in range(count):
                features += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(inplace=True)]
                channels = width
        if kind == "fpn":
            features.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*features)
        init_convs(self)
        if kind == "fpn":
            return
        self.classifier = nn.Sequential(
            nn.Linear(channels * POOLED_SIZE**2, self.fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(self.fc_channels, self.fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        for module in self.classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """Yield conv1_2 to conv5_3 with ReLUs, and pool5; see `Backbone.stages`."""
        x, groups = images, self.blocks()
        pools = [layer for layer in self.features if isinstance(layer, nn.MaxPool2d)]
        for index, group in enumerate(groups):
            x = self.run(_convolve, x, sizes, *group)
            yield x, sizes
            if index < len(pools):
                # A pool without padding drops an odd last row or column. On the padded
                # canvas that row makes a cell of its own, which is masked.
                sizes = shrink(sizes, 2, ceil=False)
                x = zero_padding(pools[index](x), sizes)
        if len(pools) == len(groups):
            yield x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """Apply fc6 and fc7; see `Backbone.head`.

        Raises:
            ValueError: regions are not pooled to 7x7, as fc6 requires.
        """
        if pooled.shape[2:] != (POOLED_SIZE, POOLED_SIZE):
            raise ValueError(
                f"vgg16 head: expected regions pooled to {POOLED_SIZE}x{POOLED_SIZE}, "
                f"found {pooled.shape[2]}x{pooled.shape[3]}; pool to {POOLED_SIZE}"
            )
        return cast(Tensor, self.classifier(pooled.flatten(1)))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the groups of convolutions between the pools."""
        groups: list[list[nn.Module]] = [[]]
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                groups.append([])
            else:
                groups[-1].append(layer)
        return [group for group in groups if group]


def _convolve(x: Tensor, sizes: Tensor | None, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = layer(zero_padding(x, sizes) if isinstance(layer, nn.ReLU) else x)
    return x
