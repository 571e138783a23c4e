"""Masks of boxes pasted into the image (Mask R-CNN, section 3.1).

Letters: D detections, S cells per side of a mask, H, W height and width of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import mask_reference, pasting

_NOWHERE = -9.0  # a position outside any mask


def paste_masks(
    masks: Tensor, boxes: Tensor, *, height: int, width: int, whole_pixels: bool = False
) -> Tensor:
    """Decide which pixels of the image belong to each object.

    A pixel belongs to it if its probability in `paste_probabilities` is at least a
    half. Users of torchvision ask for more than a half, which differs in ties alone.

    Args:
        masks: ``(D, S, S)`` probabilities in the frame of their box.
        boxes: ``(D, 4)`` in pixels of the image. A box that is empty or outside the
            image has an empty mask.
        height: H.
        width: W.
        whole_pixels: paste as torchvision does, see `paste_probabilities`.

    Returns:
        ``(D, H, W)`` bool.
    """
    return pasting.paste(*_placed(masks, boxes, height, width, whole_pixels))


def paste_probabilities(
    masks: Tensor, boxes: Tensor, *, height: int, width: int, whole_pixels: bool = False
) -> Tensor:
    """Interpolate each mask at the centres of the image's pixels.

    Args:
        masks: ``(D, S, S)`` probabilities in the frame of their box.
        boxes: ``(D, 4)`` in pixels of the image.
        height: H.
        width: W.
        whole_pixels: as in torchvision, frame the mask by a cell of zeros, and round
            the larger box down to whole pixels, the last one included. Otherwise, as in
            Detectron2, the box stays as it is, and half a cell around it fades out.

    Returns:
        ``(D, H, W)`` float32 in [0, 1].
    """
    return mask_reference.interpolate(
        *_placed(masks, boxes, height, width, whole_pixels)
    )


def _placed(
    masks: Tensor, boxes: Tensor, height: int, width: int, whole_pixels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return masks, and the positions of the image's rows and columns in them."""
    masks, boxes = masks.float(), boxes.float()
    low, high = boxes[:, :2], boxes[:, 2:]
    if whole_pixels:
        size = masks.shape[-1]
        centre = (low + high) * 0.5
        half = (high - low) * 0.5 * ((size + 2) / size)
        low, high = (centre - half).trunc(), (centre + half).trunc()
        high = low + (high - low + 1).clamp(min=1)
        masks = F.pad(masks, (1, 1, 1, 1))
    cells = masks.shape[-1]
    rows = _positions(low[:, 1:], high[:, 1:], height, cells, whole_pixels)
    columns = _positions(low[:, :1], high[:, :1], width, cells, whole_pixels)
    return masks, rows, columns


def _positions(
    low: Tensor, high: Tensor, pixels: int, cells: int, within: bool
) -> Tensor:
    """Compute the position of each pixel's centre along one axis, in cells.

    Args:
        low: ``(D, 1)`` first edge of the cells, in pixels.
        high: ``(D, 1)`` last edge.
        pixels: pixels of the image.
        cells: cells of the mask.
        within: keep positions between the edges, moved to the nearest centre of a cell;
            otherwise all of them.

    Returns:
        ``(D, pixels)``; not finite, or outside the cells, where there is no mask.
    """
    centres = torch.arange(pixels, device=low.device) + 0.5
    # In the steps of detectron2 and grid_sample, so that ties are decided alike.
    at = (((centres - low) / (high - low) * 2 - 1) + 1) * (cells / 2) - 0.5
    there = (high > low) & (at > -1) & (at < cells)
    if within:
        there = there & (centres > low) & (centres < high)
        at = at.clamp(0, cells - 1)
    return at.masked_fill(~there, _NOWHERE)
