"""Masks of a batch's objects in a few hundred bytes to kilobytes each.

Letters: N images, G ground-truth slots, V vertices, P parts, B cells per side of a
bitmap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ...kernels.polygons import draw_polygons
from ...layer_utils.structures import Bitmaps, Polygons

Outline = Sequence[npt.NDArray[np.floating]]
"""The parts of an object, ``(vertices, 2)`` each."""

_VERTEX_SLOTS = 256
_PARTS = 4
_STEP = 4
"""V and P are powers of four, so that their combinations, for each of which a graph is
compiled or recorded, are few: on COCO nearly always 256 vertices and 4 parts. Unused
slots take no time."""
MAX_VERTICES = 1024
"""V at most; a batch with a more detailed outline gets bitmaps."""
_BITMAP_SIDE = 32
_HALF = 127
MAX_SIDE = 192
"""B at most: 100 objects take less than 4 MB."""


class ObjectBitmap(NamedTuple):
    """The mask of an object, cut out of its image's; see `Bitmaps` for its edge."""

    values: npt.NDArray[np.uint8]  # ``(h, w)`` uint8, 255 inside and 0 outside
    # ``(4,)`` box of all these pixels, in pixels of the network input; all 0 for an
    # empty mask
    frame: npt.NDArray[np.float32]


ObjectMask = Outline | ObjectBitmap
"""A mask in pixels of the network input; an outline without parts for none."""


def pack_masks(
    objects: Sequence[Sequence[ObjectMask]],
    *,
    slots: int,
    sizes: Sequence[tuple[int, int]],
    bitmaps: bool = False,
) -> Polygons | Bitmaps:
    """Pack the masks of N images' objects: outlines as polygons where all are outlines.

    Args:
        slots: G.
        sizes: height and width of each image.
        bitmaps: draw outlines, and pack bitmaps.
    """
    masks = [mask for image in objects for mask in image]
    drawn = any(isinstance(mask, ObjectBitmap) for mask in masks)
    if not (bitmaps or drawn or max(map(_vertices, masks), default=0) > MAX_VERTICES):
        return pack_polygons(objects, slots=slots)  # type: ignore[arg-type]
    return pack_bitmaps(
        [
            [m if isinstance(m, ObjectBitmap) else _draw(m, size) for m in image]
            for image, size in zip(objects, sizes, strict=True)
        ],
        slots=slots,
    )


def _vertices(mask: ObjectMask) -> int:
    """Return the number of vertices of an outline, as V counts them."""
    return 0 if isinstance(mask, ObjectBitmap) else sum(len(p) + 1 for p in mask)


def pack_polygons(objects: Sequence[Sequence[Outline]], *, slots: int) -> Polygons:
    """Pack the outlines of N images' objects, in pixels of the network input.

    V and P are powers of four.

    Args:
        objects: the objects of each image; an object without parts has an empty mask.
        slots: G.
    """
    outlines = [outline for image in objects for outline in image]
    most = max(map(_vertices, outlines), default=0)
    width = _round_up(most, _VERTEX_SLOTS, step=_STEP)
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
    num_parts = _round_up(max(map(len, outlines), default=0), _PARTS, step=_STEP)
    return Polygons(torch.from_numpy(vertices), torch.from_numpy(parts), num_parts)


def pack_bitmaps(
    objects: Sequence[Sequence[npt.NDArray[np.bool_] | ObjectBitmap]],
    *,
    slots: int,
    max_side: int = MAX_SIDE,
) -> Bitmaps:
    """Pack the masks of N images' objects; B is a power of two, or ``max_side``.

    Args:
        objects: the masks of each image's objects: ``(H, W)`` bool in pixels of the
            network input, or cut out of that.
        slots: G.
        max_side: B at most; a larger object is shrunk to it.
    """
    cut = [
        [mask if isinstance(mask, ObjectBitmap) else cut_out(mask) for mask in image]
        for image in objects
    ]
    largest = max((max(m.values.shape) for image in cut for m in image), default=0)
    side = min(_round_up(largest, _BITMAP_SIDE), max_side)
    values = np.zeros((len(objects), slots, side, side), np.uint8)
    frames = np.zeros((len(objects), slots, 4), np.float32)
    sizes = np.ones((len(objects), slots, 2), np.int64)
    for i, image in enumerate(cut):
        for g, (bitmap, frame) in enumerate(image):
            height, width = bitmap.shape
            rows, columns = min(height, side), min(width, side)
            small = cv2.resize(bitmap, (columns, rows), interpolation=cv2.INTER_AREA)
            values[i, g, :rows, :columns] = small
            sizes[i, g] = rows, columns
            frames[i, g, :2] = frame[:2]
            whole = np.array([side / columns, side / rows], np.float32)
            frames[i, g, 2:] = frame[:2] + (frame[2:] - frame[:2]) * whole
    return Bitmaps(*map(torch.from_numpy, (values, frames, sizes)))


def cut_out(mask: npt.NDArray[np.bool_]) -> ObjectBitmap:
    """Cut an object out of the mask of its image, with one pixel of it around."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return ObjectBitmap(np.zeros((1, 1), np.uint8), np.zeros(4, np.float32))
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    bottom, right = np.minimum((rows[-1] + 2, columns[-1] + 2), mask.shape)
    crop = mask[top:bottom, left:right].astype(np.uint8) * np.uint8(255)
    return ObjectBitmap(crop, np.array([left, top, right, bottom], np.float32))


def mask_bounds(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the pixel edges ``x1, y1, x2, y2`` of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return np.array(edges, np.float32)


def draw_whole(mask: ObjectMask, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Draw a mask at the pixels of its image, of this height and width."""
    values, frame = mask if isinstance(mask, ObjectBitmap) else _draw(mask, size)
    whole = np.zeros(size, np.bool_)
    x, y, right, bottom = np.rint(frame).astype(int).tolist()
    if right > x and bottom > y:
        fitted = cv2.resize(values, (right - x, bottom - y)) > _HALF
        seen = fitted[max(-y, 0) : size[0] - y, max(-x, 0) : size[1] - x]
        whole[max(y, 0) : bottom, max(x, 0) : right] = seen
    return whole


def _draw(outline: Outline, size: tuple[int, int]) -> ObjectBitmap:
    """Draw an outline at the pixels of its image, of this height and width."""
    if not outline:
        return cut_out(np.zeros((1, 1), np.bool_))
    corners = np.concatenate(outline)
    height, width = size
    # Its pixels and one around them, within the image.
    limit = np.array([width, height])
    x, y = (np.floor(corners.min(0)).astype(int) - 1).clip(0, limit - 1)
    right, bottom = (np.ceil(corners.max(0)).astype(int) + 1).clip(0, limit)
    side = int(max(right - x, bottom - y, 1))
    polygons = pack_polygons([[outline]], slots=1)
    box = torch.tensor([[[x, y, x + side, y + side]]], dtype=torch.float32)
    drawn = draw_polygons(
        polygons.vertices,
        polygons.parts,
        box,
        torch.zeros(1, 1, dtype=torch.int64),
        size=side,
        num_parts=polygons.num_parts,
    )
    values, frame = cut_out(drawn[0, 0, : bottom - y, : right - x].numpy())
    if frame.any():
        frame += np.array([x, y, x, y], np.float32)
    return ObjectBitmap(values, frame)


def _round_up(count: int, start: int, *, step: int = 2) -> int:
    while start < count:
        start *= step
    return start
