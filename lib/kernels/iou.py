"""Sizes and overlaps of boxes; `layer_utils.boxes` re-exports them.

Boxes are ``(..., 4)`` x1, y1, x2, y2 in pixels. ``offset`` is 1 for legacy and 0 for
continuous boxes.
"""

import torch
from torch import Tensor


def box_sizes(boxes: Tensor, *, offset: float) -> tuple[Tensor, Tensor]:
    """Compute the widths and heights of boxes.

    Args:
        boxes: ``(..., 4)``.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        Widths ``(...)`` and heights ``(...)`` in pixels; negative if inverted.
    """
    widths = boxes[..., 2] - boxes[..., 0] + offset
    heights = boxes[..., 3] - boxes[..., 1] + offset
    return widths, heights


def pairwise_iou(boxes: Tensor, others: Tensor, *, offset: float) -> Tensor:
    """Compute the intersection over union of every pair.

    Args:
        boxes: ``(..., A, 4)``.
        others: ``(..., G, 4)``.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        ``(..., A, G)`` in [0, 1]; 0 where the union is empty.
    """
    inter = pairwise_intersection(boxes, others, offset=offset)
    widths, heights = box_sizes(boxes, offset=offset)
    other_widths, other_heights = box_sizes(others, offset=offset)
    areas = (widths * heights)[..., :, None]
    union = areas + (other_widths * other_heights)[..., None, :] - inter
    return torch.where(union > 0, inter / union, torch.zeros_like(inter))


def pairwise_intersection(boxes: Tensor, others: Tensor, *, offset: float) -> Tensor:
    """Compute the intersection area of every pair.

    Args:
        boxes: ``(..., A, 4)``.
        others: ``(..., G, 4)``.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        ``(..., A, G)`` in square pixels.
    """
    # One coordinate at a time: (..., A, G) and never (..., A, G, 2), which needs twice
    # the memory traffic for the 17100 anchors of an image.
    left = torch.maximum(boxes[..., :, None, 0], others[..., None, :, 0])
    right = torch.minimum(boxes[..., :, None, 2], others[..., None, :, 2])
    top = torch.maximum(boxes[..., :, None, 1], others[..., None, :, 1])
    bottom = torch.minimum(boxes[..., :, None, 3], others[..., None, :, 3])
    widths, heights = right - left + offset, bottom - top + offset
    return widths.clamp(min=0) * heights.clamp(min=0)
