"""Input patches of a 3x3 convolution at selected cells of feature maps.

Letters: N images, S cells per image, C channels, H x W cells of a map.
"""

import torch
from torch import Tensor

from .structures import FeatureMaps


def cell_patches(features: FeatureMaps, cells: Tensor) -> Tensor:
    """Gather each cell with its eight neighbours.

    Args:
        features: maps ``(N, C, H, W)``; values beyond the images' true sizes may be
            anything.
        cells: ``(N, S)`` int64 cell indices, row by row through all maps in order.

    Returns:
        ``(N, S, 9, C)``, neighbours row by row, zero outside the image.
    """
    near = torch.arange(-1, 2, device=cells.device)
    images = torch.arange(cells.shape[0], device=cells.device)[:, None, None]
    patches, start = None, 0
    for level, x in enumerate(features.maps):
        height, width = x.shape[2:]
        own = cells - start
        start += height * width
        here = ((own >= 0) & (own < height * width))[:, :, None]  # (N, S, 1)
        rows = (own // width)[:, :, None] + near.repeat_interleave(3)  # (N, S, 9)
        columns = (own % width)[:, :, None] + near.repeat(3)
        inside = here & (rows >= 0) & (columns >= 0)
        if features.sizes is None:
            inside = inside & (rows < height) & (columns < width)
        else:
            true = features.sizes[level][:, :, None, None]  # (N, 2, 1, 1)
            inside = inside & (rows < true[:, 0]) & (columns < true[:, 1])
        index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        index = images * (height * width) + index
        flat = x.permute(0, 2, 3, 1).flatten(0, 2)  # (N * H * W, C)
        found = flat.index_select(0, index.flatten()).view(*index.shape, -1)
        found = found.masked_fill(~inside[..., None], 0.0)
        patches = found if patches is None else patches + found
    assert patches is not None
    return patches
