"""RoI pooling: a fixed-size feature map for each region, in three ways.

Letters: N images, R RoIs per image, C channels, P output cells per side, H x W cells
of the feature map.
"""

from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

PoolingMode = Literal["align", "pool", "crop"]


def pool_rois(
    features: Tensor,
    rois: Tensor,
    feature_sizes: Tensor | None,
    *,
    mode: PoolingMode,
    size: int,
    stride: int,
    sampling_ratio: int = 0,
    aligned: bool = False,
    max_pool: bool = False,
) -> Tensor:
    """Pool every RoI to the same size.

    ``align`` is RoIAlign (Mask R-CNN, section 3), ``pool`` RoI max pooling (Fast R-CNN,
    section 2.1), ``crop`` TensorFlow's crop_and_resize as tf-faster-rcnn uses it.

    Args:
        features: ``(N, C, H, W)``.
        rois: ``(N, R, 4)`` in pixels of the network input, finite.
        feature_sizes: ``(N, 2)`` true rows and columns of each image's features, None
            if nothing is padded. Cells beyond them are never read, and an image's far
            edge acts as the edge of a bare map. RoIs then start inside the image.
        mode: how to pool.
        size: P.
        stride: input pixels per feature cell.
        sampling_ratio: RoIAlign's samples per cell and side; 0 for adaptive.
        aligned: RoIAlign's shift by half a cell.
        max_pool: pool to ``2 P`` first, then take 2x2 maxima.

    Returns:
        ``(N * R, C, P, P)`` float32. Unused slots hold whatever their box gives.

    Raises:
        ValueError: unknown mode, or a crop of a single sample.
    """
    if feature_sizes is not None:
        features, rois = _to_far_corner(features, rois, feature_sizes, stride=stride)
    side = 2 * size if max_pool else size
    # Pooling interpolates, so it is done in float32 whatever the network computes in.
    features = features.float()
    if mode == "crop":
        pooled = _crop_and_resize(features, rois, size=side, stride=stride)
    elif mode in ("align", "pool"):
        flat = _with_image_index(rois)
        if mode == "align":
            pooled = torchvision.ops.roi_align(
                features, flat, side, 1 / stride, sampling_ratio or -1, aligned
            )
        else:
            pooled = torchvision.ops.roi_pool(features, flat, side, 1 / stride)
    else:
        raise ValueError(
            f"pooling.mode must be one of align, pool, crop; found {mode!r}"
        )
    if max_pool:
        pooled = F.max_pool2d(pooled, 2)
    return pooled


def _with_image_index(rois: Tensor) -> Tensor:
    """``(N, R, 4)`` to ``(N * R, 5)`` with the image's index in front."""
    index = torch.arange(rois.shape[0], device=rois.device, dtype=rois.dtype)
    index = index[:, None, None].expand(-1, rois.shape[1], 1)
    return torch.cat((index, rois), dim=2).flatten(0, 1)


def _to_far_corner(
    features: Tensor, rois: Tensor, sizes: Tensor, *, stride: int
) -> tuple[Tensor, Tensor]:
    """Move each image's true features, and its RoIs, to the far corner of the map.

    The operators treat samples beyond the far edge of the map in their own ways (zero,
    clamped, an empty bin), and RoIs reach beyond it where a trunk leaves out an odd
    last row. In that corner the edge of the map is the edge of every image. The first
    row and column are repeated before them.
    """
    images, _, height, width = features.shape
    down, right = height - sizes[:, :1], width - sizes[:, 1:]  # (N, 1)
    rows = torch.arange(height, device=features.device) - down  # (N, H)
    columns = torch.arange(width, device=features.device) - right  # (N, W)
    rows, columns = rows.clamp(min=0), columns.clamp(min=0)
    image = torch.arange(images, device=features.device)[:, None, None]
    # Advanced indexing moves whole channel vectors: one contiguous copy if the map is
    # channels_last.
    picked = features.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    shift = torch.cat((right, down, right, down), dim=1) * stride  # (N, 4)
    return picked.permute(0, 3, 1, 2), rois + shift[:, None]


def _crop_and_resize(
    features: Tensor, rois: Tensor, *, size: int, stride: int
) -> Tensor:
    """TensorFlow's crop_and_resize of boxes given in input pixels.

    Sample ``i`` of ``size`` lies at ``x1 + i * (x2 - x1) / (size - 1)``, in cells of
    the map; samples off the map are 0. Those are the bin centres of a box that is
    larger by half a step on each side, so RoIAlign with one sample per bin takes them.
    """
    if size < 2:
        raise ValueError(
            "pooling.mode crop takes its samples from edge to edge, so it needs at "
            f"least 2 per side; found {size}. Raise pooling.size."
        )
    height, width = features.shape[-2:]
    corners = rois / stride
    step = (corners[..., 2:] - corners[..., :2]) / (size - 1)  # (N, R, 2) x, y
    widened = torch.cat(
        (corners[..., :2] - step / 2, corners[..., 2:] + step / 2), dim=2
    )
    # aligned=True subtracts half a cell, which is added here.
    pooled = torchvision.ops.roi_align(
        features, _with_image_index(widened + 0.5), size, 1.0, 1, True
    )
    index = torch.arange(size, device=rois.device, dtype=rois.dtype)
    samples = corners[..., None, :2] + index[:, None] * step[..., None, :]
    x, y = samples.flatten(0, 1).unbind(2)  # (N * R, P)
    seen_x = (x >= 0) & (x <= width - 1)
    seen_y = (y >= 0) & (y <= height - 1)
    seen = seen_y[:, :, None] & seen_x[:, None, :]  # (N * R, P, P)
    cropped: Tensor = pooled * seen[:, None]
    return cropped
