"""RoI pooling by bilinear samples, differentiable in the features and in the RoIs.

A sample changes smoothly with its position, so the head's loss can move the box that is
pooled (Spatial Transformer Networks, section 3.3; DenseCap, section 3.3). Positions are
in cells of the map here: the value of cell k is at k.

Letters: N images, R RoIs per image, C channels, P output cells per side, H x W cells
of the feature map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(features: Tensor, corners: Tensor, *, size: int, zeros_beyond: bool) -> Tensor:
    """Sample every RoI from edge to edge.

    Sample ``i`` of P is at ``x1 + i * (x2 - x1) / (P - 1)``, as in TensorFlow's
    crop_and_resize and in the affine grid of Spatial Transformer Networks. The two
    differ only outside the map.

    Args:
        features: ``(N, C, H, W)`` floating.
        corners: ``(N, R, 4)`` x1, y1, x2, y2 in cells, of the features' dtype.
        size: P, at least 2.
        zeros_beyond: if True, the map continues as cells of 0, so that samples fade out
            over one cell (affine grid); if False, a sample outside the map is 0.

    Returns:
        ``(N * R, C, P, P)``.
    """
    height, width = features.shape[-2:]
    index = _range(size, corners)
    x1, y1, x2, y2 = corners[..., None].unbind(2)  # (N, R, 1)
    # The weighted mean of both ends, so that the ends are exact: boxes clipped to the
    # image often end on the last cell, where a rounding error would leave the map.
    x = (x1 * (size - 1 - index) + x2 * index) / (size - 1)  # (N, R, P)
    y = (y1 * (size - 1 - index) + y2 * index) / (size - 1)
    if not zeros_beyond:
        x, y = _onto_map(x, width, margin=0), _onto_map(y, height, margin=0)
    return sample_grid(_pad(features), y, x)


def align(
    features: Tensor,
    corners: Tensor,
    *,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign (Mask R-CNN, section 3): the mean of evenly spaced samples of each bin.

    Values are torchvision's. The samples of all bins are in memory at once, where
    torchvision adds them up one by one; in return the RoIs get a gradient.

    Args:
        features: ``(N, C, H, W)`` floating.
        corners: ``(N, R, 4)`` x1, y1, x2, y2 in cells, of the features' dtype.
        size: P.
        sampling_ratio: samples per bin and side; 0: one per cell that the bin spans,
            rounded up. RoIs with the same number are then pooled together, for which
            the host waits for the boxes. The number itself has no gradient.
        aligned: shift RoIs by half a cell. If False, a RoI is also at least one cell
            wide and high.

    Returns:
        ``(N * R, C, P, P)``.
    """
    if aligned:
        corners = corners - 0.5
    start, extent = corners[..., :2], corners[..., 2:] - corners[..., :2]  # x, y
    if not aligned:
        extent = extent.clamp(min=1)
    if sampling_ratio:
        per_bin = (sampling_ratio, sampling_ratio)
        limits = features.shape[3], features.shape[2]
        return _mean_samples(_pad(features), start, extent, limits, size, per_bin)
    return _align_adaptively(features, start, extent, size)


def _align_adaptively(
    features: Tensor, start: Tensor, extent: Tensor, size: int
) -> Tensor:
    """RoIAlign with one sample per cell that a bin spans, rounded up.

    There is one call per image and number of samples; results are put back in order.
    """
    counts = (extent.detach() / size).ceil().long()  # (N, R, 2)
    image = torch.arange(len(counts), device=counts.device)[:, None, None]
    keys = torch.cat((image.expand(-1, counts.shape[1], 1), counts), dim=2)
    groups, group, lengths = torch.unique(
        keys.flatten(0, 1), dim=0, return_inverse=True, return_counts=True
    )
    order = group.argsort(stable=True)  # (N * R,)
    start, extent = start.flatten(0, 1)[order], extent.flatten(0, 1)[order]
    limits = features.shape[3], features.shape[2]
    maps = _pad(features)[:, None].unbind()
    # Start with an empty result, so that the output depends on its inputs even then.
    pooled = [
        _mean_samples(maps[0], start[None, :0], extent[None, :0], limits, size, (1, 1))
    ]
    first = 0
    for (i, *per_bin), length in zip(groups.tolist(), lengths.tolist(), strict=True):
        if min(per_bin) > 0:
            group_i = slice(first, first + length)
            corner, sides = start[None, group_i], extent[None, group_i]
            pooled.append(_mean_samples(maps[i], corner, sides, limits, size, per_bin))
        else:  # an empty RoI has no samples
            pooled.append(features.new_zeros(length, features.shape[1], size, size))
        first += length
    return torch.cat(pooled)[order.argsort()]


def _mean_samples(
    maps: Tensor,
    start: Tensor,
    extent: Tensor,
    limits: tuple[int, int],
    size: int,
    per_bin: Sequence[int],
) -> Tensor:
    """RoIAlign of padded maps with a given number of samples per bin.

    The first corners ``start``, the sizes ``extent`` (both ``(N, R, 2)``), the true
    sizes ``limits`` of the maps and the samples ``per_bin`` are all in order x, y.
    """
    places = []  # (N, R, P * columns) and (N, R, P * rows)
    for axis, count in enumerate(per_bin):
        # torchvision's order of operations, for the same rounding.
        bins = extent[..., axis, None] / size  # (N, R, 1)
        edges = start[..., axis, None] + _range(size, bins) * bins
        within = (_range(count, bins) + 0.5) * bins / count
        place = (edges[..., None] + within[..., None, :]).flatten(2)
        places.append(_onto_map(place, limits[axis], margin=1))
    x, y = places
    columns, rows = per_bin
    sampled = sample_grid(maps, y, x)
    sampled = sampled.view(*sampled.shape[:2], size, rows, size, columns)
    return sampled.mean(dim=(3, 5))


def _range(count: int, like: Tensor) -> Tensor:
    """Return 0 to ``count - 1`` with the device and dtype of another tensor."""
    return torch.arange(count, device=like.device, dtype=like.dtype)


def _onto_map(place: Tensor, cells: int, *, margin: int) -> Tensor:
    """Move positions within ``margin`` cells of the map onto it, and others far away.

    The gradient at a position on a cell is that of moving right or down, as in
    `sample_grid`: 0 on the last cell.
    """
    last = float(cells - 1)
    seen = (place >= -margin) & (place <= last + margin)
    # Not clamp: its gradient at the limits differs between versions of PyTorch.
    place = torch.where(place < 0, 0.0, torch.where(place < last, place, last))
    return torch.where(seen, place, -2.0)


def _pad(features: Tensor) -> Tensor:
    """Pad with zeros below and to the right, by at least one cell, to powers of two.

    ``grid_sample`` takes positions as fractions of the map. Fractions of a power of two
    are exact, so whole cells are read as such. If they were rounded to either side of a
    cell, gradients of the RoIs would differ between padded and unpadded images.
    """
    height, width = features.shape[-2:]
    down, right = (1 << cells.bit_length() for cells in (height, width))
    return F.pad(features, (0, right - width, 0, down - height))


def sample_grid(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample every RoI bilinearly at each crossing of its rows and columns.

    One call samples all RoIs of all images, and no map is repeated per RoI. The map
    continues as cells of 0 on all sides.

    Args:
        maps: ``(N, C, H, W)`` floating.
        y: ``(N, R, Py)`` rows of the samples in cells, of the maps' dtype.
        x: ``(N, R, Px)`` columns of the samples in cells, of the maps' dtype.

    Returns:
        ``(N * R, C, Py, Px)``.
    """
    images, channels, height, width = maps.shape
    count, rows, columns = y.shape[1], y.shape[2], x.shape[2]
    # -1 and 1 are the outer edges of the map, half a cell beyond the outer cells.
    across = ((2 * x + 1) / width - 1)[:, :, None].expand(-1, -1, rows, -1)
    along = ((2 * y + 1) / height - 1)[..., None].expand(-1, -1, -1, columns)
    grid = torch.stack((across, along), dim=4).flatten(1, 2)  # (N, R * Py, Px, 2)
    sampled = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
    sampled = sampled.view(images, channels, count, rows, columns)
    return sampled.transpose(1, 2).flatten(0, 1)  # (N * R, C, Py, Px)
