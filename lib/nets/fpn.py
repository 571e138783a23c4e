"""Feature pyramid network (Lin et al. 2017).

Letters: N images in the batch, L levels.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ..layer_utils.structures import FeatureMaps
from .layers import ConvNorm, shrink, zero_padding

PyramidNorm = Literal["none", "batch"]
CoarserLevels = Literal["subsample", "p5", "c5"]
"""How the levels beyond the backbone's are computed:

subsample  every other cell of the previous level (FPN, section 4.1's P6)
p5         convolutions of stride 2, the first on the pyramid's last map (torchvision)
c5         convolutions of stride 2, the first on the backbone's last map (RetinaNet,
           section 4; Detectron2)
"""


class FeaturePyramid(nn.Module):
    """A top-down path over the backbone's maps (section 3, figure 3).

    Args:
        in_channels: channels of the backbone's maps, finest first.
        channels: channels of every map of the pyramid.
        strides: strides of the backbone's maps, each equal to the previous one or twice
            it.
        norm: "none", or "batch" after every convolution of the top-down path.
        coarser: number of levels beyond the backbone's.
        coarser_by: how these levels are computed.
        finest: smallest stride of a level; finer maps of the backbone are not used.

    Attributes:
        channels: channels of every map.
        strides: strides of all L levels.

    Raises:
        ValueError: ``norm`` or ``coarser_by`` is unknown.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        strides: Sequence[int],
        norm: PyramidNorm = "none",
        coarser: int = 1,
        coarser_by: CoarserLevels = "subsample",
        finest: int = 1,
    ) -> None:
        super().__init__()
        if norm not in get_args(PyramidNorm):
            raise ValueError(f"norm: expected none or batch, found {norm!r}")
        if coarser_by not in get_args(CoarserLevels):
            raise ValueError(
                f"coarser_by: expected one of {', '.join(get_args(CoarserLevels))}; "
                f"found {coarser_by!r}"
            )
        strides = [stride for stride in strides if stride >= finest]
        in_channels = in_channels[-len(strides) :]
        self.channels = channels
        self.coarser_by = coarser_by
        self.coarser = coarser
        self.strides = (*strides, *(strides[-1] << i + 1 for i in range(coarser)))
        self.factors = [below // above for above, below in pairwise(strides)]
        self.lateral = nn.ModuleList(_conv(c, channels, 1, norm) for c in in_channels)
        self.output = nn.ModuleList(
            _conv(channels, channels, 3, norm) for _ in in_channels
        )
        if coarser_by != "subsample":
            first = channels if coarser_by == "p5" else in_channels[-1]
            self.down = nn.ModuleList(
                _conv(channels if i else first, channels, 3, "none", stride=2)
                for i in range(coarser)
            )

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Compute the maps of the pyramid.

        1. A 1x1 convolution gives each map the same number of channels.
        2. From the coarsest down, the map above is enlarged by copying cells, and
           added.
        3. A 3x3 convolution smooths each sum.
        4. Coarser levels follow from the last one.

        Args:
            features: the backbone's maps; values beyond the images' true sizes may be
                anything.

        Returns:
            L maps ``(N, channels, Hf, Wf)``, finest first.
        """
        used = len(self.lateral)
        sizes: list[Tensor | None] = [None] * used
        if features.sizes is not None:
            sizes = [*features.sizes[-used:]]
        # 1. The mask serves both the 3x3 convolution and the sum with the finer map.
        inner = [
            zero_padding(lateral(x), size)
            for lateral, x, size in zip(
                self.lateral, features.maps[-used:], sizes, strict=True
            )
        ]
        # 2.
        for i in reversed(range(len(self.factors))):
            above = _enlarge(inner[i + 1], self.factors[i], inner[i])
            inner[i] = inner[i] + zero_padding(above, sizes[i])
        # 3.
        maps = [smooth(x) for smooth, x in zip(self.output, inner, strict=True)]
        # 4.
        last = features.maps[-1] if self.coarser_by == "c5" else maps[-1]
        for i in range(self.coarser):
            if self.coarser_by == "subsample":
                last = last[:, :, ::2, ::2]
            else:
                last = last if i == 0 else F.relu(last)
                last = self.down[i](zero_padding(last, sizes[-1]))
            maps.append(last)
            sizes.append(shrink(sizes[-1], 2))
        true = [size for size in sizes if size is not None]
        return FeatureMaps(maps, true if features.sizes is not None else None)


def _enlarge(x: Tensor, factor: int, like: Tensor) -> Tensor:
    """Copy each cell ``factor`` times each way, to the height and width of another map.

    If a stride rounded sizes up, the surplus cells are cut off. If it rounded down
    (VGG16), the last row or column has no cell above it, and gets zeros.
    """
    if factor > 1:
        x = F.interpolate(x, scale_factor=float(factor), mode="nearest")
    height, width = like.shape[2:]
    down, right = height - x.shape[2], width - x.shape[3]
    return x if down == right == 0 else F.pad(x, (0, right, 0, down))


def _conv(
    in_channels: int, out_channels: int, kernel: int, norm: str, *, stride: int = 1
) -> nn.Module:
    layer: nn.Module
    if norm == "none":
        layer = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2)
    else:
        layer = ConvNorm(in_channels, out_channels, kernel, norm="batch")
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight, a=1)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return layer
