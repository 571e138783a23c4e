"""Mask targets of sampled RoIs (Mask R-CNN, section 3.1).

Letters: N images, R RoIs per image, S cells per side, B cells per side of a bitmap.
"""

import torch
from torch import Tensor

from ..kernels.polygons import draw_polygons
from .roi_pooling import Pooling, pool_rois
from .structures import Bitmaps, FeatureMaps, Polygons


def mask_targets(
    masks: Polygons | Bitmaps,
    rois: Tensor,
    matched: Tensor,
    *,
    size: int,
    soft: bool = False,
) -> Tensor:
    """Compute the part of each RoI's object that lies inside the RoI.

    Polygons are drawn into the RoI, as in Detectron2. Bitmaps are cropped by aligned
    RoIAlign and rounded, as Detectron2 crops bitmaps; or, with ``soft``, by unaligned
    RoIAlign without rounding, as in torchvision.

    Args:
        masks: of the ground truth.
        rois: ``(N, R, 4)`` in pixels of the network input, inside the image or not.
            Bitmaps are cropped as from the whole image. (Without the kernels, samples
            left of the image or above it see its edge, where others see nothing.)
        matched: ``(N, R)`` int64, slot of each RoI's object.
        size: S.
        soft: crop as torchvision does; without effect on polygons.

    Returns:
        ``(N, R, S, S)`` float32 in [0, 1].
    """
    if isinstance(masks, Polygons):
        drawn = draw_polygons(
            masks.vertices,
            masks.parts,
            rois,
            matched,
            size=size,
            num_parts=masks.num_parts,
        )
        return drawn.float()
    image = torch.arange(len(rois), device=rois.device)[:, None]
    bitmaps = masks.values[image, matched].flatten(0, 1)[:, None]  # (N * R, 1, B, B)
    frames = masks.frames[image, matched]  # (N, R, 4)
    sizes = masks.sizes[image, matched].flatten(0, 1)  # (N * R, 2)
    pixels = (frames[..., 2:] - frames[..., :2]).clamp(min=1) / bitmaps.shape[-1]
    inside = (rois - frames[..., :2].repeat(1, 1, 2)) / pixels.repeat(1, 1, 2)
    if soft:
        # Without alignment, samples are half a pixel off: of the input, not of a bitmap
        # that was shrunk.
        inside = inside + (0.5 / pixels - 0.5).repeat(1, 1, 2)
    cropped = pool_rois(
        FeatureMaps([bitmaps.float() / 255], [sizes]),
        inside.view(-1, 1, 4),
        Pooling("align", size, aligned=not soft),
        strides=(1,),
    ).view(*matched.shape, size, size)
    return cropped if soft else (cropped >= 0.5).float()


def annotated(masks: Polygons | Bitmaps) -> Tensor:
    """Return which objects have a mask, ``(N, G)`` bool."""
    if isinstance(masks, Polygons):
        return masks.parts[..., 0] >= 0
    return masks.frames[..., 2] > masks.frames[..., 0]
