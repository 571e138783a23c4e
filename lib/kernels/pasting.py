"""Masks interpolated at the pixels of an image, and compared with a half.

Letters: D masks, S cells per side of a mask, H, W height and width of the image.
"""

import torch
from torch import Tensor

from .library import kernels_for
from .operator import operator

_CHUNK = 8_000_000  # pixels whose values are in memory at once


def paste(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return where `interpolate` gives a half or more, without keeping its values.

    Args:
        masks: ``(D, S, S)`` float32.
        rows: ``(D, H)`` float32, ascending.
        columns: ``(D, W)`` float32, ascending.

    Returns:
        ``(D, H, W)`` bool.
    """
    pasted: Tensor = _paste(masks.contiguous(), rows.contiguous(), columns.contiguous())
    return pasted


@operator(
    "faster_rcnn::paste_masks", "(Tensor masks, Tensor rows, Tensor columns) -> Tensor"
)
def _paste(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    kernels = kernels_for("paste_masks", masks.device.type)
    pasted: Tensor = (paste_by_matrices if kernels is None else kernels.paste_masks)(
        masks, rows, columns
    )
    return pasted


@_paste.register_fake
def _paste_fake(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return masks.new_empty((*rows.shape, columns.shape[1]), dtype=torch.bool)


def paste_by_matrices(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Paste with PyTorch's operators, a few masks at a time."""
    count = max(_CHUNK // max(rows.shape[1] * columns.shape[1], 1), 1)
    parts = (torch.split(tensor, count) for tensor in (masks, rows, columns))
    return torch.cat([interpolate(*p) >= 0.5 for p in zip(*parts, strict=True)])


def interpolate(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolate masks bilinearly, with zeros around them.

    The weights are products of those of rows and of columns: two matrices per mask.

    Args:
        masks: ``(D, S, S)`` float32, the centre of cell i at position i.
        rows: ``(D, H)`` positions of the image's rows, in cells of the mask.
        columns: ``(D, W)`` positions of its columns.

    Returns:
        ``(D, H, W)`` float32.
    """
    cells = torch.arange(masks.shape[-1], device=masks.device)
    down, across = (
        (1 - (at[:, :, None] - cells).abs()).clamp(min=0) for at in (rows, columns)
    )
    return down @ (masks @ across.mT)
