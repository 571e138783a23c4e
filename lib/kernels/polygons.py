"""Polygons drawn into the frames of boxes, as COCO's own tools draw them.

Letters: N images, G ground-truth slots, R boxes per image, V vertices of an object, P
parts of an object, S cells per side.
"""

import torch
from torch import Tensor

from .library import kernels_for
from .operator import operator

_FINE = 5  # COCO's tools draw outlines on a grid that is this many times finer


def draw_polygons(
    vertices: Tensor,
    parts: Tensor,
    boxes: Tensor,
    matched: Tensor,
    *,
    size: int,
    num_parts: int,
) -> Tensor:
    """Draw the polygons of each box's object into S x S cells of the box.

    This equals ``rleFrPoly`` of pycocotools cell by cell:

    1. Stretch the box to S x S cells, and round the vertices to a grid five times
       finer.
    2. Find where each edge, stepped along its longer side, passes the centre line of
       each column, and the first cell below that point.
    3. A cell is inside a part if edges pass its column an odd number of times above it,
       and inside the object if it is inside any part.

    Args:
        vertices: ``(N, G, V, 2)`` float32 x and y in the frame of the boxes. Each part
            is a closed ring: its last vertex repeats its first one.
        parts: ``(N, G, V)`` int16 in ascending order, the part of each vertex, below
            ``num_parts``; -1 for unused slots, which come last.
        boxes: ``(N, R, 4)`` float32.
        matched: ``(N, R)`` int64, slot of each box's object.
        size: S.
        num_parts: P.

    Returns:
        ``(N, R, S, S)`` bool, rows from the top.

    Raises:
        ValueError: arguments do not match; the message names them.
    """
    images, objects, slots = parts.shape
    for name, tensor, shape, dtype in (
        ("vertices", vertices, (images, objects, slots, 2), torch.float32),
        ("parts", parts, (images, objects, slots), torch.int16),
        ("boxes", boxes, (images, boxes.shape[1], 4), torch.float32),
        ("matched", matched, (images, boxes.shape[1]), torch.int64),
    ):
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name}: expected {shape} of {dtype}, found {tuple(tensor.shape)} of "
                f"{tensor.dtype}"
            )
    masks: Tensor = _draw(
        vertices.contiguous(),
        parts.contiguous(),
        boxes.detach().contiguous(),
        matched.contiguous(),
        size,
        num_parts,
    )
    return masks


@operator(
    "faster_rcnn::draw_polygons",
    "(Tensor vertices, Tensor parts, Tensor boxes, Tensor matched, int size, "
    "int num_parts) -> Tensor",
)
def _draw(
    vertices: Tensor,
    parts: Tensor,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    num_parts: int,
) -> Tensor:
    kernels = kernels_for("draw_polygons", boxes.device.type)
    draw = draw_by_columns if kernels is None else kernels.draw_polygons
    masks: Tensor = draw(vertices, parts, boxes, matched, size, num_parts)
    return masks


@_draw.register_fake
def _draw_fake(
    vertices: Tensor, parts: Tensor, boxes: Tensor, matched: Tensor, size: int, _: int
) -> Tensor:
    return boxes.new_empty((*matched.shape, size, size), dtype=torch.bool)


def draw_by_columns(
    vertices: Tensor,
    parts: Tensor,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    num_parts: int,
) -> Tensor:
    """Draw polygons with PyTorch's operators: each edge at each column at once."""
    image = torch.arange(len(matched), device=matched.device)[:, None]
    rings = parts[image, matched].flatten(0, 1)  # (M, V), M = N * R
    corners = vertices[image, matched].flatten(0, 1).double()  # (M, V, 2)
    frames = boxes.flatten(0, 1)  # (M, 4)
    # 1. Coordinates on the fine grid: whole numbers in float64.
    scale = (size / (frames[:, 2:] - frames[:, :2]).clamp(min=0.1)).double()
    cells = (corners - frames[:, None, :2].double()) * scale[:, None]
    fine = (_FINE * cells + 0.5).trunc()
    # 2. Row of each passage, (M, V - 1, S).
    passes, row = _passages(fine[:, :-1], fine[:, 1:], size)
    part = rings[:, :-1].long()
    passes = passes & ((part >= 0) & (rings[:, :-1] == rings[:, 1:]))[:, :, None]
    # 3. Count the passages at each cell of each part and column, then above it.
    column = torch.arange(size, device=boxes.device)
    index = (part.clamp(min=0)[:, :, None] * size + column) * (size + 1) + row
    counts = torch.zeros(
        len(frames), num_parts * size * (size + 1), dtype=torch.int32, device=row.device
    ).scatter_add(1, index.flatten(1), passes.flatten(1).int())
    above = counts.view(-1, num_parts, size, size + 1).cumsum(3)[..., :size]
    inside = (above % 2 == 1).any(dim=1).transpose(1, 2)
    return inside.reshape(*matched.shape, size, size)


def _passages(start: Tensor, end: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find where edges ``(M, E, 2)`` on the fine grid pass the columns' centre lines.

    Returns:
        ``(M, E, S)`` bool, whether the edge passes, and int64, the first row whose
        centre lies below, 0 to S.
    """
    sides = (end - start).abs()
    steep = (sides[..., 0] < sides[..., 1])[..., None]  # (M, E, 1)
    # a along the longer side, from its smaller coordinate; b along the shorter one.
    first = torch.where(steep, start.flip(-1), start)
    last = torch.where(steep, end.flip(-1), end)
    back = first[..., :1] > last[..., :1]
    first, last = torch.where(back, last, first), torch.where(back, first, last)
    a, b = first[..., :1], first[..., 1:]  # (M, E, 1)
    slope = (last[..., 1:] - b) / (last[..., :1] - a)
    # The centre line of a column lies between the points `left` and `left + 1`.
    left = _FINE * torch.arange(size, device=start.device).double() + 2  # (S,)
    passes = torch.minimum(start, end)[..., :1] <= left
    passes = passes & (left < torch.maximum(start, end)[..., :1])
    # Steep edge: the last step before it passes the line; division may be one off.
    step = ((left + 0.5 - b) / slope).floor()

    def before(steps: Tensor) -> Tensor:
        return (b + slope * steps + 0.5 >= left + 1) == (slope < 0)

    step = step + before(step + 1).double() - (~before(step)).double()
    # Flat edge: the upper one of the points on both sides of the line.
    along = left - a
    flat = torch.minimum(
        (b + slope * along + 0.5).trunc(), (b + slope * (along + 1) + 0.5).trunc()
    )
    row = ((torch.where(steep, a + step, flat) + 2) / _FINE).floor()
    return passes, row.nan_to_num(0.0).clamp(0, size).long()
