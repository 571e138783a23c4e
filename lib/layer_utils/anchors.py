"""Anchors: the reference boxes of the RPN (Faster R-CNN, section 3.1.1).

Letters: K anchors per cell, A = H * W * K anchors of a feature map of H x W cells.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Centre = Literal["cell", "corner"]
Rounding = Literal["auto", "none", "sides", "corners"]


def base_anchors(
    *,
    stride: int,
    ratios: Sequence[float],
    scales: Sequence[float],
    offset: float,
    centre: Centre = "cell",
    rounding: Rounding = "auto",
) -> Tensor:
    """Compute the anchors of the first cell.

    Published weights need the anchors that they were trained with, and there are three
    conventions of rounding: py-faster-rcnn rounds the width and height of each ratio
    before scaling, torchvision rounds the final corners, Detectron2 does not round.

    Args:
        stride: input pixels per feature cell; also the side of a scale-1 anchor.
        ratios: heights divided by widths.
        scales: sides in units of ``stride``.
        offset: 1 for legacy boxes, 0 for continuous ones.
        centre: "cell" centres the anchors on the cell, "corner" on its top left corner
            (torchvision, Detectron2).
        rounding: coordinates rounded to whole pixels: ``sides``, ``corners``, ``none``,
            or ``auto`` (sides if ``offset`` is 1, none if it is 0).

    Returns:
        ``(K, 4)`` float32, ratio-major and scale-minor, K = ratios * scales.

    Raises:
        ValueError: ratios or scales are empty, or a value is not positive.
    """
    if not ratios or not scales or min(*ratios, *scales) <= 0:
        raise ValueError(
            "anchors need at least one ratio and one scale, all positive; found "
            f"ratios {list(ratios)} and scales {list(scales)}. Set anchors.ratios and "
            "anchors.scales."
        )
    if rounding == "auto":
        rounding = "sides" if offset else "none"
    middle = 0.5 * (stride - offset) if centre == "cell" else 0.0
    rows = []
    for ratio in ratios:
        width = (stride * stride / ratio) ** 0.5
        height = width * ratio
        if rounding == "sides":
            width = float(round(width))
            height = float(round(width * ratio))
        for scale in scales:
            half_width = 0.5 * (width * scale - offset)
            half_height = 0.5 * (height * scale - offset)
            rows.append(
                (
                    middle - half_width,
                    middle - half_height,
                    middle + half_width,
                    middle + half_height,
                )
            )
    # On the CPU, so that anchors have values even in a model built on the meta device.
    anchors = torch.tensor(rows, dtype=torch.float32, device="cpu")
    return anchors.round() if rounding == "corners" else anchors


def grid_anchors(
    base: Tensor, height: int, width: int, *, stride: int | tuple[int, int]
) -> Tensor:
    """Compute the anchors of every cell of a feature map.

    Args:
        base: ``(K, 4)`` anchors of the first cell.
        height: rows of the feature map.
        width: columns of the feature map.
        stride: input pixels per cell, or per row and per column.

    Returns:
        ``(A, 4)``, ordered by row, then column, then base anchor.
    """
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    y = torch.arange(height, device=base.device, dtype=base.dtype) * down
    x = torch.arange(width, device=base.device, dtype=base.dtype) * right
    shift_y, shift_x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack((shift_x, shift_y, shift_x, shift_y), dim=-1)  # (H, W, 4)
    return (shifts[:, :, None, :] + base).reshape(-1, 4)  # (A, 4)


def cells_inside(
    height: int, width: int, sizes: Tensor | None, *, anchors_per_cell: int
) -> Tensor | None:
    """Mark the anchors whose cell lies inside the unpadded image.

    Args:
        height: rows of the padded feature map.
        width: columns of the padded feature map.
        sizes: ``(N, 2)`` true rows and columns of each image's map; None if unpadded.
        anchors_per_cell: K.

    Returns:
        ``(N, A)`` bool in the order of `grid_anchors`; None if unpadded.
    """
    if sizes is None:
        return None
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]  # (N, H)
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]  # (N, W)
    cells = rows[:, :, None] & columns[:, None, :]  # (N, H, W)
    return cells.flatten(1).repeat_interleave(anchors_per_cell, dim=1)  # (N, A)
