"""Masks of a batch's objects in a few hundred bytes to kilobytes each.

Letters: N images, G ground-truth slots, V vertices, B cells per side of a bitmap.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ...layer_utils.structures import Bitmaps, Polygons

Outline = Sequence[npt.NDArray[np.floating]]
"""The parts of an object, ``(vertices, 2)`` each."""

_VERTEX_SLOTS = 32
_BITMAP_SIDE = 32
MAX_SIDE = 192
"""B at most: 100 objects take less than 4 MB."""


def pack_polygons(objects: Sequence[Sequence[Outline]], *, slots: int) -> Polygons:
    """Pack the outlines of N images' objects, in pixels of the network input.

    Args:
        objects: the objects of each image; an object without parts has an empty mask.
        slots: G.

    Returns:
        Polygons whose V and number of parts are powers of two.
    """
    outlines = [outline for image in objects for outline in image]
    most = max((sum(len(p) + 1 for p in outline) for outline in outlines), default=0)
    width = _round_up(most, _VERTEX_SLOTS)
    vertices = np.zeros((len(objects), slots, width, 2), np.float32)
    parts = np.full((len(objects), slots, width), -1, np.int16)
    for i, image in enumerate(objects):
        for g, outline in enumerate(image):
            first = 0
            for number, part in enumerate(outline):
                last = first + len(part)
                vertices[i, g, first:last] = part
                vertices[i, g, last] = part[0]
                parts[i, g, first : last + 1] = number
                first = last + 1
    num_parts = _round_up(max(map(len, outlines), default=0), 1)
    return Polygons(torch.from_numpy(vertices), torch.from_numpy(parts), num_parts)


def pack_bitmaps(
    objects: Sequence[Sequence[npt.NDArray[np.bool_]]],
    *,
    slots: int,
    max_side: int = MAX_SIDE,
) -> Bitmaps:
    """Pack the masks of N images' objects.

    Args:
        objects: the masks of each image's objects, ``(H, W)`` bool in pixels of the
            network input.
        slots: G.
        max_side: B at most; a larger object is shrunk to it.

    Returns:
        Bitmaps whose B is a power of two, or ``max_side``.
    """
    cut = [[_cut(mask) for mask in masks] for masks in objects]
    largest = max((max(crop.shape) for image in cut for crop, _, _ in image), default=0)
    side = min(_round_up(largest, _BITMAP_SIDE), max_side)
    values = np.zeros((len(objects), slots, side, side), np.uint8)
    frames = np.zeros((len(objects), slots, 4), np.float32)
    for i, image in enumerate(cut):
        for g, (crop, x, y) in enumerate(image):
            height, width = crop.shape
            rows, columns = min(height, side), min(width, side)
            small = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA)
            values[i, g, :rows, :columns] = small
            right, bottom = x + side * width / columns, y + side * height / rows
            frames[i, g] = x, y, right, bottom
    return Bitmaps(torch.from_numpy(values), torch.from_numpy(frames))


def _cut(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Cut an object out with one pixel around it; see `Bitmaps` for these pixels.

    Returns:
        The bitmap in 0 and 255, and the x and y of its first pixel.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return np.zeros((1, 1), np.uint8), 0, 0
    padded = np.pad(mask, 1, mode="edge")
    crop = padded[rows[0] : rows[-1] + 3, columns[0] : columns[-1] + 3]
    bitmap = (crop * np.uint8(255)).astype(np.uint8)
    return bitmap, int(columns[0]) - 1, int(rows[0]) - 1


def _round_up(count: int, start: int) -> int:
    while start < count:
        start *= 2
    return start
