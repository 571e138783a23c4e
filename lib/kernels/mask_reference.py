"""Drawing and pasting of masks with PyTorch's operators, for any device.

Letters: M boxes of all images, V vertices of an object, P parts of an object, D masks,
S cells per side of a mask, H, W height and width of the image.
"""

import torch
from torch import Tensor

_FINE = 5  # COCO's tools draw outlines on a grid that is this many times finer
_CHUNK = 8_000_000  # pixels whose values are in memory at once


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
