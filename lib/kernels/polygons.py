"""Polygons drawn into the frames of boxes, as COCO's own tools draw them.

Letters: N images, G ground-truth slots, R boxes per image, V vertices of an object, P
parts of an object, S cells per side.
"""

import torch
from torch import Tensor

from .library import kernels_for
from .mask_reference import draw_by_columns
from .operator import operator


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
    if boxes.device.type == "mps":  # which has no float64
        here = (tensor.cpu() for tensor in (vertices, parts, boxes, matched))
        drawn: Tensor = _draw(*here, size, num_parts)
        return drawn.to(boxes.device)
    kernels = kernels_for("draw_polygons", boxes.device.type)
    draw = draw_by_columns if kernels is None else kernels.draw_polygons
    masks: Tensor = draw(vertices, parts, boxes, matched, size, num_parts)
    return masks


@_draw.register_fake
def _draw_fake(
    vertices: Tensor, parts: Tensor, boxes: Tensor, matched: Tensor, size: int, _: int
) -> Tensor:
    return boxes.new_empty((*matched.shape, size, size), dtype=torch.bool)
