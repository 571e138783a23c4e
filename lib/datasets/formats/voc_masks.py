"""The masks of VOC's SegmentationObject: an image whose values number the objects."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..index.packed_masks import pack_mask
from ..mask_encoding import encode_masks
from .coco_masks import Found

_BORDER = 255
_BORDER_COLOUR = 224 << 16 | 224 << 8 | 192
_MOST_VALUES = 1000
_SAME = 0.3
"""IoU of a mask's box and its object's. The border around masks is part of neither."""


def mask_files(folder: Path) -> dict[str, Path]:
    """Find the masks of each stem."""
    found = (folder / "SegmentationObject").glob("*.png")
    return {path.stem: path for path in found if path.name[0] != "."}


def read_masks(
    data: bytes,
    size: tuple[int, int],
    boxes: Sequence[tuple[float, float, float, float]],
    found: Found,
) -> list[bytes]:
    """Match the masks of an image with its objects, and pack them.

    Value i + 1 is normally the i-th object. The overlap of boxes decides, because files
    exist in which objects were removed, and in which colours stand for the numbers.

    Args:
        size: width and height of the image.
        boxes: pixel edges of the image's objects.

    Returns:
        A packed mask for each object; no bytes for one without.

    Raises:
        ValueError: the file is no such image; the message does not name it.
    """
    values = _read_values(data, size, found)
    if values is None:
        return [b""] * len(boxes)
    numbers = np.unique(values[values > 0]).tolist()
    if len(numbers) > _MOST_VALUES:
        raise ValueError(f"expected a number for each object, found {len(numbers)}")
    masks = [values == number for number in numbers]
    ious = np.array([[_iou(_box(m), box) for box in boxes] for m in masks])
    ious = ious.reshape(len(masks), len(boxes))
    for row, number in enumerate(numbers):
        if number <= len(boxes):
            ious[row, number - 1] *= 1.01  # of equal ones, the one in order
    packed = [b""] * len(boxes)
    for place in np.argsort(-ious, axis=None, kind="stable").tolist():
        row, column = divmod(place, len(boxes))
        if ious[row, column] < _SAME:
            continue
        packed[column] = pack_mask(encode_masks(masks[row][None])[0])
        ious[row] = ious[:, column] = 0
        numbers[row] = 0
    for number in numbers:
        if number:
            found("mask that no box belongs to")
    return packed


def _read_values(
    data: bytes, size: tuple[int, int], found: Found
) -> npt.NDArray[np.int64] | None:
    """Decode the numbers of the objects, 0 for the background and the border."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != size:
                found("masks of another size than their image")
                return None
            if image.mode in ("RGB", "RGBA"):
                red, green, blue = np.moveaxis(np.array(image, np.int64)[..., :3], 2, 0)
                values = red << 16 | green << 8 | blue
                return np.where(values == _BORDER_COLOUR, 0, values)
            values = np.array(image, np.int64)
    except Exception as error:  # Pillow may raise anything for a damaged file
        raise ValueError(f"expected masks as a PNG, cannot read it ({error})") from None
    if values.ndim != 2:
        raise ValueError(f"expected a palette or grey values, found {image.mode}")
    is_border = (values == _BORDER) & (image.mode in ("P", "L"))
    return np.where(is_border, 0, values)


def _box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _iou(ours: Sequence[float], theirs: Sequence[float]) -> float:
    width = min(ours[2], theirs[2]) - max(ours[0], theirs[0])
    height = min(ours[3], theirs[3]) - max(ours[1], theirs[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (ours, theirs))
    return float(shared / (areas - shared)) if shared else 0.0
