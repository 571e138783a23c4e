"""Masks interpolated at the pixels of an image, and compared with a half.

Letters: D masks, S cells per side of a mask, H, W height and width of the image.
"""

import torch
from torch import Tensor

from .library import kernels_for
from .mask_reference import paste_by_matrices
from .operator import operator


def paste(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return where interpolated masks are a half or more.

    The values are those of `mask_reference.interpolate`, which are not kept.

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
