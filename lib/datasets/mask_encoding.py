"""Masks of whole images as run lengths, and back.

Letters: D masks, H, W height and width of the image.
"""

from collections.abc import Sequence
from typing import Any

import hotcoco.mask
import numpy as np

from .records import BoolArray, Mask, RunLengths


def run_lengths(mask: Mask, height: int, width: int) -> RunLengths:
    """Rasterise a record's mask as COCO's tools do."""
    if isinstance(mask, RunLengths):
        return mask
    if mask:
        parts: Any = [part.reshape(-1).tolist() for part in mask]
        drawn = hotcoco.mask.merge(hotcoco.mask.frPyObjects(parts, height, width))
    else:
        drawn = hotcoco.mask.encode(np.zeros((height, width), np.uint8, order="F"))
    return RunLengths(drawn["counts"], (height, width))


def encode_masks(masks: BoolArray) -> tuple[RunLengths, ...]:
    """Encode masks ``(D, H, W)``.

    Fastest where each mask is stored column by column.
    """
    height, width = masks.shape[1:]
    found = hotcoco.mask.encode(masks.transpose(1, 2, 0))
    return tuple(RunLengths(entry["counts"], (height, width)) for entry in found)


def decode_masks(masks: Sequence[RunLengths], size: tuple[int, int]) -> BoolArray:
    """Decode masks of one image of a height and width as ``(D, H, W)``.

    Raises:
        ValueError: run lengths that do not fit the image.
    """
    if not masks:
        return np.zeros((0, *size), np.bool_)
    for number, mask in enumerate(masks):
        if mask.size != size:
            raise ValueError(
                f"mask {number}: expected one of {size[0]} x {size[1]} pixels, as its "
                f"image, found {mask.size[0]} x {mask.size[1]}; encode it again"
            )
    rows = [{"size": list(mask.size), "counts": mask.counts} for mask in masks]
    decoded: BoolArray = hotcoco.mask.decode(rows).transpose(2, 0, 1).view(np.bool_)
    return decoded
