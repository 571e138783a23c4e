"""RoI pooling: a fixed-size feature map for each region, in four ways.

Letters: N images, R RoIs per image, C channels, P output cells per side, H x W cells
of a feature map, L levels of a pyramid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Pooling:
    """How RoIs are pooled.

    ``align`` is RoIAlign (Mask R-CNN, section 3), ``pool`` RoI max pooling (Fast R-CNN,
    section 2.1), ``crop`` TensorFlow's crop_and_resize as tf-faster-rcnn uses it, and
    ``crop_stn`` the affine grid of the first PyTorch ports. Outside the outer cells of
    the map, ``crop`` samples 0, and ``crop_stn`` fades to 0 over one cell.

    Attributes:
        mode: pooling mode, see above.
        size: P.
        sampling_ratio: RoIAlign's samples per cell and side; 0 for adaptive.
        aligned: shift RoIAlign's samples by half a cell.
        max_pool: pool to ``2 P`` first, then take 2x2 maxima.
        box_gradient: let gradients reach the RoIs too (DenseCap, section 3.3); not
            supported by ``pool``. If the RoIs require a gradient, ``align`` keeps all
            its samples in memory, and adaptive sampling makes the host wait for their
            number.

    Raises:
        ValueError: the mode is unknown, a crop has a single sample per side, or
            ``box_gradient`` is set for RoI max pooling.
    """

    mode: PoolingMode
    size: int
    sampling_ratio: int = 0
    aligned: bool = False
    max_pool: bool = False
    box_gradient: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if self.mode not in get_args(PoolingMode):
            raise ValueError(
                f"pooling.mode must be one of {', '.join(get_args(PoolingMode))}; "
                f"found {self.mode!r}"
            )
        if self.side < 2 and self.mode in ("crop", "crop_stn"):
            raise ValueError(
                "pooling.mode crop and crop_stn take their samples from edge to edge, "
                f"so they need at least 2 per side; found {self.side}. Raise "
                "pooling.size."
            )
        if self.box_gradient and self.mode == "pool":
            raise ValueError(
                "box_gradient needs a bilinear mode (align, crop or crop_stn); RoI max "
                "pooling has no gradient in the coordinates. Change pooling.mode or "
                "leave out pooling.box_gradient."
            )

    @property
    def side(self) -> int:
        """Return the cells per side before the maxima."""
        return 2 * self.size if self.max_pool else self.size


def pool_rois(
    features: FeatureMaps, rois: Tensor, pooling: Pooling, *, strides: Sequence[int]
) -> Tensor:
    """Pool every RoI to the same size, from its pyramid level if there are several.

    Args:
        features: L maps ``(N, C, H, W)``, finest first. Cells beyond an image's true
            size are never read: the far edge of the true size acts as the edge of the
            map, and RoIs are assumed to start inside the image.
        rois: ``(N, R, 4)`` in pixels of the network input, finite.
        pooling: mode, P and options.
        strides: input pixels per cell of each map, each twice the previous one.

    Returns:
        ``(N * R, C, P, P)`` in the features' dtype, computed in at least float32.
        Unused slots hold the values pooled from their box.
    """
    if not pooling.box_gradient:
        rois = rois.detach()  # from here on, rois.requires_grad decides
    if kernels.serves(features.maps[0]) and not rois.requires_grad:
        return kernels.roi_pool(
            features.maps,
            rois,
            features.sizes,
            scales=[1 / stride for stride in strides],
            size=pooling.size,
            mode=pooling.mode,
            sampling_ratio=pooling.sampling_ratio,
            aligned=pooling.aligned,
            max_pool=pooling.max_pool,
            canonical_size=CANONICAL_SIZE,
            canonical_level=_canonical_level(strides),
        )
    pooled = [
        _pool_by_library(
            x,
            rois,
            None if features.sizes is None else features.sizes[level],
            pooling,
            stride=stride,
        )
        for level, (x, stride) in enumerate(zip(features.maps, strides, strict=True))
    ]
    if len(pooled) == 1:
        return pooled[0]
    # RoIs are pooled from all levels: shapes must not depend on each level's count.
    levels = roi_levels(rois, strides).flatten()[:, None, None, None]
    chosen = pooled[0]
    for i, x in enumerate(pooled[1:], start=1):
        chosen = torch.where(levels == i, x, chosen)
    return chosen


def roi_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """Assign each RoI to a pyramid level (FPN, eq. 1).

    Args:
        rois: ``(N, R, 4)`` in pixels of the network input.
        strides: strides of the L levels, each twice the previous one.

    Returns:
        ``(N, R)`` int64, 0 for the finest level and for RoIs without area.
    """
    side = ((rois[..., 2] - rois[..., 0]) * (rois[..., 3] - rois[..., 1])).sqrt()
    level = (_canonical_level(strides) + (side / CANONICAL_SIZE).log2() + 1e-6).floor()
    return level.nan_to_num(0.0, neginf=0.0).clamp(0, len(strides) - 1).long()


def _canonical_level(strides: Sequence[int]) -> int:
    """Return the index of the level with `CANONICAL_STRIDE`, 0 for the finest."""
    return CANONICAL_STRIDE.bit_length() - strides[0].bit_length()


def _pool_by_library(
    features: Tensor,
    rois: Tensor,
    feature_sizes: Tensor | None,
    pooling: Pooling,
    *,
    stride: int,
) -> Tensor:
    """Pool through torchvision and PyTorch: on any device, with any gradient."""
    import torchvision  # takes seconds to import, and is seldom needed

    dtype = features.dtype
    if feature_sizes is not None:
        features, rois = _to_far_corner(features, rois, feature_sizes, stride=stride)
    mode, side = pooling.mode, pooling.side
    # Pooling interpolates, so it runs in float32 whatever the network's dtype.
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
            sampling_ratio=pooling.sampling_ratio,
            aligned=pooling.aligned,
        )
    elif mode == "align":
        pooled = torchvision.ops.roi_align(
            features,
            _with_image_index(rois),
            side,
            scale,
            pooling.sampling_ratio or -1,
            pooling.aligned,
        )
    else:
        pooled = torchvision.ops.roi_pool(
            features, _with_image_index(rois), side, scale
        )
    if pooling.max_pool:
        pooled = F.max_pool2d(pooled, 2)
    return pooled.to(dtype)


def _with_image_index(rois: Tensor) -> Tensor:
    """Turn ``(N, R, 4)`` into ``(N * R, 5)`` with the image's index in front."""
    index = torch.arange(rois.shape[0], device=rois.device, dtype=rois.dtype)
    index = index[:, None, None].expand(-1, rois.shape[1], 1)
    return torch.cat((index, rois), dim=2).flatten(0, 1)


def _to_far_corner(
    features: Tensor, rois: Tensor, sizes: Tensor, *, stride: int
) -> tuple[Tensor, Tensor]:
    """Move each image's true features, and its RoIs, to the far corner of the map.

    torchvision's operators treat samples beyond the far edge of the map in different
    ways (zero, clamped, an empty bin), and RoIs reach beyond that edge if the backbone
    drops an odd last row. In the far corner, the edge of the map is the edge of every
    image. The first row and column are repeated before the moved features.
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
