"""VGG16 (Simonyan & Zisserman 2014): conv1_1 to conv5_3 as trunk, fc6, fc7 as head."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from .backbone import Backbone
from .layers import init_convs, shrink, zero_padding

# Configuration D of the paper: channels and convolutions per group.
_GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
POOLED_SIZE = 7


class VGG16(Backbone):
    """VGG16 with torchvision's parameter names.

    Blocks for `freeze`: the five groups of convolutions between the pools.

    Args:
        dropout: probability after fc6 and fc7.
    """

    channels = 512
    head_channels = 4096
    default_fixed_blocks = 2
    classifier_prefixes = ("classifier.6.",)

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        features: list[nn.Module] = []
        channels = 3
        for width, count in _GROUPS:
            if features:
                features.append(nn.MaxPool2d(2, 2))
            for _ in range(count):
                features += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Linear(channels * POOLED_SIZE**2, self.head_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(self.head_channels, self.head_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        init_convs(self)
        for module in self.classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def trunk(
        self, images: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Conv1_1 to conv5_3 with its ReLU, see `Backbone.trunk`."""
        x = images
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                x = layer(zero_padding(x, sizes))
            elif isinstance(layer, nn.MaxPool2d):
                # A pool without padding leaves an odd last row or column out; on the
                # padded canvas that row makes a cell of its own, which is masked.
                sizes = shrink(sizes, 2, ceil=False)
                x = zero_padding(layer(x), sizes)
            else:
                x = layer(x)
        return x, sizes

    def head(self, pooled: Tensor) -> Tensor:
        """Fc6 and fc7; see `Backbone.head`.

        Raises:
            ValueError: regions are not pooled to 7x7, which fc6 is made for.
        """
        if pooled.shape[2:] != (POOLED_SIZE, POOLED_SIZE):
            raise ValueError(
                f"vgg16 head: expected regions pooled to {POOLED_SIZE}x{POOLED_SIZE}, "
                f"found {pooled.shape[2]}x{pooled.shape[3]}; pool to {POOLED_SIZE}"
            )
        return cast(Tensor, self.classifier(pooled.flatten(1)))

    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """The groups of convolutions between the pools."""
        groups: list[list[nn.Module]] = [[]]
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                groups.append([])
            else:
                groups[-1].append(layer)
        return groups
