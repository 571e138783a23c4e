"""The anchors of every level, for the RPN and for dense heads."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .anchors import (
    Centre,
    Rounding,
    base_anchors,
    cells_inside,
    grid_anchors,
)
from .structures import FeatureMaps


class Anchors(NamedTuple):
    """The anchors of a batch's feature maps, finest level first.

    Attributes:
        boxes: ``(A, 4)``.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        levels: number of anchors of each level.
    """

    boxes: Tensor
    usable: Tensor | None
    levels: tuple[int, ...]


class AnchorGrid(nn.Module):
    """Places the same K anchors on every cell of a level.

    Args:
        strides: of the levels, finest first.
        scales: sides of the anchors of each level, in units of its stride.
        ratios: see `base_anchors`, like the following three.
        offset: 1 for legacy boxes, 0 for continuous ones.
        centre: "cell" or "corner".
        rounding: which coordinates are rounded.
        fitted: whether the distance between neighbouring cells is the padded image's
            side divided by the map's, rounded down, in place of the stride.

    Attributes:
        base: ``(L, K, 4)`` anchors of the first cell of each level.
    """

    base: Tensor

    def __init__(
        self,
        strides: Sequence[int],
        scales: Sequence[Sequence[float]],
        *,
        ratios: Sequence[float],
        offset: float,
        centre: Centre = "cell",
        rounding: Rounding = "auto",
        fitted: bool = False,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.fitted = fitted
        base = [
            base_anchors(
                stride=stride,
                ratios=ratios,
                scales=own,
                offset=offset,
                centre=centre,
                rounding=rounding,
            )
            for stride, own in zip(strides, scales, strict=True)
        ]
        self.register_buffer("base", torch.stack(base), persistent=False)

    @property
    def per_cell(self) -> int:
        """K."""
        return self.base.shape[1]

    def forward(self, features: FeatureMaps) -> Anchors:
        """Compute the anchors of all cells of the maps."""
        boxes, usable = [], []
        # The padded image, as the finest map covers it.
        image = [side * self.strides[0] for side in features.maps[0].shape[-2:]]
        for level, (x, stride) in enumerate(
            zip(features.maps, self.strides, strict=True)
        ):
            height, width = x.shape[-2:]
            step = (stride, stride)
            if self.fitted:
                step = (image[0] // height, image[1] // width)
            boxes.append(grid_anchors(self.base[level], height, width, stride=step))
            sizes = None if features.sizes is None else features.sizes[level]
            inside = cells_inside(height, width, sizes, anchors_per_cell=self.per_cell)
            if inside is not None:
                usable.append(inside)
        return Anchors(
            joined(boxes, dim=0),
            joined(usable, dim=1) if usable else None,
            tuple(level.shape[0] for level in boxes),
        )


def joined(levels: Sequence[Tensor], *, dim: int) -> Tensor:
    """Concatenate all levels, without a copy if there is only one."""
    return levels[0] if len(levels) == 1 else torch.cat(list(levels), dim)
