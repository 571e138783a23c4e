"""RoI pooling: a fixed-size feature map for each region, in four ways.

Letters: N images, R RoIs per image, C channels, P output cells per side, H x W cells
of a feature map, L levels of a pyramid.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import bilinear
from ..kernels import pooling as kernels
from .structures import FeatureMaps

PoolingMode = Literal["align", "pool", "crop", "crop_stn"]

# FPN, eq. 1: a RoI of 224 pixels a side, ImageNet's size, is pooled at stride 16.
CANONICAL_SIZE = 224.0
CANONICAL_STRIDE = 16


def pool_rois(
    features: FeatureMaps,
    rois: Tensor,
    *,
    mode: PoolingMode,
    size: int,
    strides: Sequence[int],
    sampling_ratio: int = 0,
    aligned: bool = False,
    max_pool: bool = False,
    box_gradient: bool = False,
) -> Tensor:
    """Pool every RoI to the same size, from its level if there are several.

    ``align`` is RoIAlign (Mask R-CNN, section 3), ``pool`` RoI max pooling (Fast R-CNN,
    section 2.1), ``crop`` TensorFlow's crop_and_resize as tf-faster-rcnn uses it, and
    ``crop_stn`` the affine grid of the first PyTorch ports. The last two differ past
    the outer cells of the map: the one is 0 there, the other fades to 0 over one cell.

    Args:
        features: L maps ``(N, C, H, W)``, finest first. Cells beyond an image's true
            size are never read, and its far edge acts as the edge of a bare map; RoIs
            then start inside the image.
        rois: ``(N, R, 4)`` in pixels of the network input, finite.
        mode: how to pool.
        size: P.
        strides: input pixels per cell of each map, each twice the one before.
        sampling_ratio: RoIAlign's samples per cell and side; 0 for adaptive.
        aligned: RoIAlign's shift by half a cell.
        max_pool: pool to ``2 P`` first, then take 2x2 maxima.
        box_gradient: let the gradient reach ``rois`` too (DenseCap, section 3.3); not
            with ``pool``. If they require one, ``align`` holds all its samples at once,
            and with adaptive sampling the host waits for their number.

    Returns:
        ``(N * R, C, P, P)`` in the type of the features, computed in float32 at least.
        Unused slots hold whatever their box gives.

    Raises:
        ValueError: unknown mode, a crop of a single sample, or a gradient to the boxes
            of RoI max pooling.
    """
    if mode not in get_args(PoolingMode):
        raise ValueError(
            f"pooling.mode must be one of {', '.join(get_args(PoolingMode))}; found "
            f"{mode!r}"
        )
    side = 2 * size if max_pool else size
    if side < 2 and mode in ("crop", "crop_stn"):
        raise ValueError(
            "pooling.mode crop and crop_stn take their samples from edge to edge, so "
            f"they need at least 2 per side; found {side}. Raise pooling.size."
        )
    if box_gradient and mode == "pool":
        raise ValueError(
            "box_gradient needs a bilinear mode (align, crop or crop_stn); RoI max "
            "pooling has no gradient in the coordinates. Change pooling.mode or leave "
            "out pooling.box_gradient."
        )
    if not box_gradient:
        rois = rois.detach()  # from here on requires_grad tells
    if kernels.serves(features.maps[0]) and not rois.requires_grad:
        return kernels.roi_pool(
            features.maps,
            rois,
            features.sizes,
            scales=[1 / stride for stride in strides],
            size=size,
            mode=mode,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            max_pool=max_pool,
            canonical_size=CANONICAL_SIZE,
            canonical_level=_canonical_level(strides),
        )
    pooled = [
        _pool_by_library(
            x,
            rois,
            None if features.sizes is None else features.sizes[level],
            mode=mode,
            size=size,
            stride=stride,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            max_pool=max_pool,
        )
        for level, (x, stride) in enumerate(zip(features.maps, strides, strict=True))
    ]
    if len(pooled) == 1:
        return pooled[0]
    # Every RoI is pooled from every level, since their numbers are not known.
    levels = roi_levels(rois, strides).flatten()[:, None, None, None]
    chosen = pooled[0]
    for i, x in enumerate(pooled[1:], start=1):
        chosen = torch.where(levels == i, x, chosen)
    return chosen


def roi_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """The level that each RoI is pooled from (FPN, eq. 1).

    Args:
        rois: ``(N, R, 4)`` in pixels of the network input.
        strides: of the L levels, each twice the one before.

    Returns:
        ``(N, R)`` int64, 0 for the finest; of RoIs without area too.
    """
    side = ((rois[..., 2] - rois[..., 0]) * (rois[..., 3] - rois[..., 1])).sqrt()
    level = (_canonical_level(strides) + (side / CANONICAL_SIZE).log2() + 1e-6).floor()
    return level.nan_to_num(0.0, neginf=0.0).clamp(0, len(strides) - 1).long()


def _canonical_level(strides: Sequence[int]) -> int:
    """Level of `CANONICAL_STRIDE`, counted from the finest."""
    return CANONICAL_STRIDE.bit_length() - strides[0].bit_length()


def _pool_by_library(
    features: Tensor,
    rois: Tensor,
    feature_sizes: Tensor | None,
    *,
    mode: PoolingMode,
    size: int,
    stride: int,
    sampling_ratio: int,
    aligned: bool,
    max_pool: bool,
) -> Tensor:
    """The same through torchvision and PyTorch: any device, any gradient."""
    import torchvision  # seconds of every start, and seldom needed

    dtype = features.dtype
    if feature_sizes is not None:
        features, rois = _to_far_corner(features, rois, feature_sizes, stride=stride)
    side = 2 * size if max_pool else size
    # Pooling interpolates, so it is done in float32 whatever the network computes in.
    if dtype != torch.float64:
        features = features.float()
    rois = rois.to(features.dtype)
    scale = 1 / stride
    if mode == "crop":
        pooled = bilinear.crop(features, rois / stride, size=side, zeros_beyond=False)
    elif mode == "crop_stn":
        pooled = bilinear.crop(features, rois / stride, size=side, zeros_beyond=True)
    elif mode == "align" and rois.requires_grad:
        pooled = bilinear.align(
            features,
            rois * scale,
            size=side,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
        )
    elif mode == "align":
        pooled = torchvision.ops.roi_align(
            features,
            _with_image_index(rois),
            side,
            scale,
            sampling_ratio or -1,
            aligned,
        )
    else:
        pooled = torchvision.ops.roi_pool(
            features, _with_image_index(rois), side, scale
        )
    if max_pool:
        pooled = F.max_pool2d(pooled, 2)
    return pooled.to(dtype)


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
