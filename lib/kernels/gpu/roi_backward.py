"""Gradients of RoI pooling in the features, in Triton; launched by ``pooling.py``.

A program owns a few neighbouring cells of one row of one image's map, for a slice of
the channels, and gathers the contributions of the RoIs that touch them, in the RoIs'
order. So each number is written once, in the features' dtype, sums are kept in float32
registers, and repeated runs give identical bits. It finds these RoIs in a table of the
cells that each RoI touches, 128 RoIs at a time.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# mypy: allow-untyped-decorators

import triton  # type: ignore[import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, unused-ignore]

from .roi import (
    ALIGN,
    POOL,
    axis_of,
    bin_of,
    corners,
    level_of,
    pick,
    position,
    true_cells,
)


@triton.jit
def _touched(
    low, high, scale, cells,
    SIDE: tl.constexpr, MODE: tl.constexpr, RATIO: tl.constexpr, ALIGNED: tl.constexpr,
):  # fmt: skip
    """Return the first and last cell of one axis that a RoI may read."""
    if MODE == POOL:
        first, _ = bin_of(0, low, high, scale, cells, SIDE)
        _, last = bin_of(SIDE - 1, low, high, scale, cells, SIDE)
        last -= 1
    else:
        start, step, _ = axis_of(low, high, scale, SIDE, MODE, RATIO, ALIGNED)
        end = start + step * SIDE if MODE == ALIGN else step
        near, far = tl.minimum(start, end), tl.maximum(start, end) + 1.0
        # A sample beyond an edge may count as the edge. A NaN touches no cell, and may
        # give any.
        near = tl.minimum(tl.where(near > 0.0, near, 0.0), cells - 1)
        far = tl.minimum(tl.where(far > 0.0, far, 0.0), cells - 1)
        first, last = near.to(tl.int32), far.to(tl.int32)
    return first, last


@triton.jit
def touched_cells(
    sizes, heights, widths, scales, rois, table,
    per_image, count, canonical_size, canonical_level,
    LEVELS: tl.constexpr, SIDE: tl.constexpr, MODE: tl.constexpr,
    RATIO: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute level, first and last row and column of each RoI: ``(5, count)``."""
    roi = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = roi < count
    x1, y1 = tl.load(rois + 4 * roi, here), tl.load(rois + 4 * roi + 1, here)
    x2, y2 = tl.load(rois + 4 * roi + 2, here), tl.load(rois + 4 * roi + 3, here)
    level = level_of(x1, y1, x2, y2, canonical_size, canonical_level, LEVELS)
    scale = pick(scales, level, LEVELS)
    rows = pick(heights, level, LEVELS).to(tl.int32)
    columns = pick(widths, level, LEVELS).to(tl.int32)
    if sizes is not None:
        of_level, n = pick(sizes, level, LEVELS), roi // per_image
        rows = true_cells(of_level, n, 0, rows, here)
        columns = true_cells(of_level, n, 1, columns, here)
    top, bottom = _touched(y1, y2, scale, rows, SIDE, MODE, RATIO, ALIGNED)
    left, right = _touched(x1, x2, scale, columns, SIDE, MODE, RATIO, ALIGNED)
    tl.store(table + roi, level, here)
    tl.store(table + count + roi, top, here)
    tl.store(table + 2 * count + roi, bottom, here)
    tl.store(table + 3 * count + roi, left, here)
    tl.store(table + 4 * count + roi, right, here)


@triton.jit
def _weight(
    start, step, samples, cell, of, cells, SIDE: tl.constexpr, MODE: tl.constexpr
):
    """Compute the weight with which output cell `cell` reads cell `of` of the map."""
    weight = tl.zeros_like(cell * step + of)
    for k in range(samples):
        at = position(start, step, samples, cell, k, SIDE, MODE)
        low, weight0, weight1 = corners(at, cells, MODE)
        weight += tl.where(low == of, weight0, 0.0)
        weight += tl.where(low + 1 == of, weight1, 0.0)
    if MODE == ALIGN:
        weight = weight * tl.div_rn(1.0, tl.maximum(samples * 1.0, 1.0))
    return weight


@triton.jit
def _add_bilinear(
    sums, grad, places, roi, x1, y1, x2, y2, scale, rows, columns, y, x, first_x,
    c, channels, P: tl.constexpr, MODE: tl.constexpr, RATIO: tl.constexpr,
    ALIGNED: tl.constexpr, MAXIMA: tl.constexpr, CELLS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Add the contribution of one RoI to the sums ``(WIDTH, channels)`` of (y, x)."""
    M: tl.constexpr = 2 if MAXIMA else 1
    SIDE: tl.constexpr = M * P
    start_y, step_y, samples_y = axis_of(y1, y2, scale, SIDE, MODE, RATIO, ALIGNED)
    start_x, step_x, samples_x = axis_of(x1, x2, scale, SIDE, MODE, RATIO, ALIGNED)
    i = tl.arange(0, CELLS)[:, None]  # sampled rows of the RoI, M for each output cell
    weight_y = _weight(start_y, step_y, samples_y, i, y, rows, SIDE, MODE)
    weight_y = tl.where(i < SIDE, weight_y, 0.0)
    here = (weight_y != 0.0) & (c < channels)
    for j in range(SIDE):
        a = position(start_x, step_x, samples_x, j, 0, SIDE, MODE)
        b = position(start_x, step_x, samples_x, j, samples_x - 1, SIDE, MODE)
        # A cell is read from at most one cell away.
        near = tl.minimum(a, b) <= first_x + WIDTH
        if near & (tl.maximum(a, b) >= first_x - 1):
            weight_x = _weight(start_x, step_x, samples_x, j, x, columns, SIDE, MODE)
            at = ((roi * P + i // M) * P + j // M) * channels + c
            value = tl.load(grad + at, mask=here, other=0.0).to(tl.float32)
            if MAXIMA:
                place = tl.load(places + at, mask=here, other=0).to(tl.int32)
                value = tl.where(place == i % M * M + j % M, value, 0.0)
            column = tl.sum(value * weight_y, axis=0)[None, :]
            sums = tl.fma(weight_x, column, sums)
    return sums


@triton.jit
def _add_largest(
    sums, grad, places, roi, x1, y1, x2, y2, scale, rows, columns, y, x, first_x,
    width, c, channels, P: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Add the contribution of one RoI for maxima of whole cells."""
    for i in range(P):
        top, bottom = bin_of(i, y1, y2, scale, rows, P)
        if (top <= y) & (y < bottom):
            for j in range(P):
                left, right = bin_of(j, x1, x2, scale, columns, P)
                if (left < first_x + WIDTH) & (right > first_x):
                    at = ((roi * P + i) * P + j) * channels + c
                    place = tl.load(places + at, mask=c < channels, other=-1)
                    value = tl.load(grad + at, mask=c < channels, other=0.0)
                    mine = place == y * width + x
                    sums += tl.where(mine, value.to(tl.float32), 0.0)
    return sums


@triton.jit(do_not_specialize=["height", "width"])
def roi_backward(
    sizes, table, rois, grad, places, grad_map, height, width, scale,
    channels, per_image, count, LEVEL: tl.constexpr, P: tl.constexpr,
    CELLS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, LAST: tl.constexpr,
    MODE: tl.constexpr, RATIO: tl.constexpr, ALIGNED: tl.constexpr,
    MAXIMA: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Sum WIDTH cells of a row of one level; `grad`, `places` are channels_last."""
    across = tl.cdiv(width, WIDTH)
    y, first_x = tl.program_id(0) // across, tl.program_id(0) % across * WIDTH
    n = tl.program_id(2).to(tl.int64)
    x = first_x + tl.arange(0, WIDTH)[:, None]
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    rows, columns = height, width
    if sizes is not None:
        rows, columns = true_cells(sizes, n, 0, rows), true_cells(sizes, n, 1, columns)
    sums = tl.zeros([WIDTH, BLOCK], tl.float32)
    for start in range(0, per_image, AT_ONCE):
        mine = start + tl.arange(0, AT_ONCE)
        here = mine < per_image
        at = table + n * per_image + mine
        touches = here & (tl.load(at, here, other=-1) == LEVEL)
        touches &= tl.load(at + count, here, other=0) <= y
        touches &= tl.load(at + 2 * count, here, other=-1) >= y
        touches &= tl.load(at + 3 * count, here, other=0) < first_x + WIDTH
        touches &= tl.load(at + 4 * count, here, other=-1) >= first_x
        roi = tl.min(tl.where(touches, mine, per_image), axis=0)
        while roi < per_image:
            k = n * per_image + roi
            x1, y1 = tl.load(rois + 4 * k), tl.load(rois + 4 * k + 1)
            x2, y2 = tl.load(rois + 4 * k + 2), tl.load(rois + 4 * k + 3)
            if MODE == POOL:
                sums = _add_largest(
                    sums, grad, places, k, x1, y1, x2, y2, scale, rows, columns,
                    y, x, first_x, width, c, channels, P, WIDTH,
                )  # fmt: skip
            else:
                sums = _add_bilinear(
                    sums, grad, places, k, x1, y1, x2, y2, scale, rows, columns,
                    y, x, first_x, c, channels, P, MODE, RATIO, ALIGNED, MAXIMA,
                    CELLS, WIDTH,
                )  # fmt: skip
            later = touches & (mine > roi)
            roi = tl.min(tl.where(later, mine, per_image), axis=0)
    if LAST:
        to = ((n * height + y) * width + x) * channels + c
    else:
        to = ((n * channels + c) * height + y) * width + x
    sums = sums.to(grad_map.dtype.element_ty)
    tl.store(grad_map + to, sums, mask=(x < width) & (c < channels))
