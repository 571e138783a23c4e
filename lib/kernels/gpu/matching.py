"""Matching of boxes and objects on GPUs, in Triton, like ``csrc/match.c``.

Letters: N images, A boxes, G ground-truth slots.

There are two sweeps over tiles of boxes, one warp per tile, so that an object's best
box in a tile is found without a barrier. The first sweep stores each box's best object
and, per tile, each object's best overlap. The second marks the boxes that reach an
object's best, in the few tiles that contain one. Both compute overlaps with the same
instructions, so that equality is exact.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# mypy: allow-untyped-decorators

import torch
import triton  # type: ignore[import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

from ..reference import empty_matches

TILE = 128  # boxes of one program, 4 per thread


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    offset: float,
    usable: Tensor | None,
    crowd: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the fields of `Matches` for contiguous tensors."""
    (images, slots), count = gt_boxes.shape[:2], boxes.shape[-2]
    overlap, matched, is_best, crowd_share = empty_matches(boxes, gt_boxes)
    if overlap.numel() == 0:
        return overlap, matched, is_best, crowd_share
    tiles = triton.cdiv(count, TILE)
    # -1: an object that matches no box has no best box.
    best = boxes.new_full((images, slots, tiles), -1.0)
    objects = (boxes, gt_boxes, gt_valid, usable, crowd)
    sizes = (count, slots, 0 if boxes.dim() == 2 else 4 * count, offset)
    with torch.cuda.device(boxes.get_device()):
        meet_objects[(tiles, images)](
            *objects, overlap, matched, crowd_share, best, *sizes,
            TILE=TILE, enable_fp_fusion=False, num_warps=1,
        )  # fmt: skip
        top = best.amax(dim=2) if slots else best
        mark_best[(tiles, images)](
            *objects, best, top, is_best, *sizes,
            TILE=TILE, enable_fp_fusion=False, num_warps=1,
        )  # fmt: skip
    return overlap, matched, is_best, crowd_share


@triton.jit
def _corners(boxes, at, mask, offset):
    x1 = tl.load(boxes + 4 * at, mask=mask)
    y1 = tl.load(boxes + 4 * at + 1, mask=mask)
    x2 = tl.load(boxes + 4 * at + 2, mask=mask)
    y2 = tl.load(boxes + 4 * at + 3, mask=mask)
    return x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)


@triton.jit
def _quotient(inter, whole):
    """Compute inter / whole, 0 where whole is 0, dividing by 1 as 0 / x may be slow."""
    some = (inter > 0.0) & (whole > 0.0)
    divided = tl.div_rn(tl.where(some, inter, 1.0), tl.where(some, whole, 1.0))
    return tl.where(some, divided, 0.0)


@triton.jit
def _intersection(x1, y1, x2, y2, x1_, y1_, x2_, y2_, offset):
    """Compute the intersections of boxes with an object.

    The object's coordinate replaces a NaN of the box, and a NaN of the object is kept.
    Hence no minimum and maximum, which would drop the object's NaN.
    """
    left, top = tl.where(x1 > x1_, x1, x1_), tl.where(y1 > y1_, y1, y1_)
    right, bottom = tl.where(x2 < x2_, x2, x2_), tl.where(y2 < y2_, y2, y2_)
    width, height = right - left + offset, bottom - top + offset
    return tl.where(width > 0.0, width, 0.0) * tl.where(height > 0.0, height, 0.0)


@triton.jit
def meet_objects(
    boxes, gt_boxes, gt_valid, usable, crowd, overlap, matched, crowd_share, best,
    count, slots, box_stride, offset, TILE: tl.constexpr,
):  # fmt: skip
    """Find each box's best object and, for each object, the tile's best overlap."""
    tile, n = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = tile * TILE + tl.arange(0, TILE)
    here = at < count
    x1, y1, x2, y2, area = _corners(boxes + n * box_stride, at, here, offset)
    may = here
    if usable is not None:
        may = here & (tl.load(usable + n * count + at, mask=here, other=0) != 0)
    overlaps = tl.zeros([TILE], tl.float32)
    shares = tl.zeros([TILE], tl.float32)
    objects = tl.zeros([TILE], tl.int32)
    for g in range(slots):
        slot = n * slots + g
        if tl.load(gt_valid + slot) != 0:
            x1_, y1_, x2_, y2_, area_ = _corners(gt_boxes, slot, None, offset)
            inter = _intersection(x1, y1, x2, y2, x1_, y1_, x2_, y2_, offset)
            is_crowd = False
            if crowd is not None:
                is_crowd = tl.load(crowd + slot) != 0
            if is_crowd:
                shares = tl.maximum(_quotient(inter, area), shares)
            else:
                iou = _quotient(inter, area + area_ - inter)
                better = iou > overlaps
                overlaps = tl.where(better, iou, overlaps)
                objects = tl.where(better, g, objects)
                top = tl.max(tl.where(may, iou, -1.0), axis=0)
                tl.store(best + slot * tl.num_programs(0) + tile, top)
    tl.store(overlap + n * count + at, overlaps, mask=here)
    tl.store(matched + n * count + at, objects.to(tl.int64), mask=here)
    tl.store(crowd_share + n * count + at, shares, mask=here)


@triton.jit
def mark_best(
    boxes, gt_boxes, gt_valid, usable, crowd, best, top, is_best,
    count, slots, box_stride, offset, TILE: tl.constexpr,
):  # fmt: skip
    """Mark the boxes that reach an object's best overlap. `top` is ``(N, G)``."""
    tile, n = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = tile * TILE + tl.arange(0, TILE)
    here = at < count
    x1, y1, x2, y2, area = _corners(boxes + n * box_stride, at, here, offset)
    marked = tl.zeros([TILE], tl.int1)
    for g in range(slots):
        slot = n * slots + g
        highest = tl.load(top + slot)
        mine = tl.load(best + slot * tl.num_programs(0) + tile)
        if (highest > 0.0) & (mine == highest):
            x1_, y1_, x2_, y2_, area_ = _corners(gt_boxes, slot, None, offset)
            inter = _intersection(x1, y1, x2, y2, x1_, y1_, x2_, y2_, offset)
            marked |= _quotient(inter, area + area_ - inter) == highest
    if usable is not None:
        marked &= tl.load(usable + n * count + at, mask=here, other=0) != 0
    tl.store(is_best + n * count + at, marked, mask=here)
