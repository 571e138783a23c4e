"""RoI pooling forward, in Triton; launched by ``pooling.py``.

A program computes one row of output cells of one RoI, for a slice of the channels. Its
block is cells x channels if channels are contiguous in memory (LAST), else channels x
cells, so that neighbouring threads read neighbouring memory as far as possible.

A map may have over 2^31 numbers: offsets of images, rows and channels are int64, only
those within a row, or a cell's number on the map, are int32.
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

LOWEST = tl.constexpr(-3.4028234663852886e38)  # the lowest float32


@triton.jit
def _add(value, row, x, weight_y, weight_x, x_stride, here):
    """Add cells of one row of the map; cells of weight 0 are not read."""
    weight = weight_y * weight_x
    cell = tl.load(row + x * x_stride, mask=(weight != 0.0) & here, other=0.0)
    return tl.fma(weight, cell.to(tl.float32), value)


@triton.jit
def _bilinear(
    data, here, i, j, x1, y1, x2, y2, scale, rows, columns, width, x_stride,
    P: tl.constexpr, MODE: tl.constexpr, RATIO: tl.constexpr, ALIGNED: tl.constexpr,
    MAXIMA: tl.constexpr,
):  # fmt: skip
    """Compute means of bilinear samples; with maxima, also which of 2x2 is largest."""
    M: tl.constexpr = 2 if MAXIMA else 1
    SIDE: tl.constexpr = M * P
    row_step = width.to(tl.int64) * x_stride
    start_y, step_y, samples_y = axis_of(y1, y2, scale, SIDE, MODE, RATIO, ALIGNED)
    start_x, step_x, samples_x = axis_of(x1, x2, scale, SIDE, MODE, RATIO, ALIGNED)
    best = tl.zeros(here.shape, tl.float32)
    place = tl.zeros(here.shape, tl.int32)
    for sub in tl.static_range(M * M):
        down, across = i * M + sub // M, j * M + sub % M
        value = tl.zeros(here.shape, tl.float32)
        for k in range(samples_y):
            at_y = position(start_y, step_y, samples_y, down, k, SIDE, MODE)
            y, upper, lower = corners(at_y, rows, MODE)
            row = data + y * row_step
            below = row + row_step
            for s in range(samples_x):
                at_x = position(start_x, step_x, samples_x, across, s, SIDE, MODE)
                x, left, right = corners(at_x, columns, MODE)
                value = _add(value, row, x, upper, left, x_stride, here)
                value = _add(value, row, x + 1, upper, right, x_stride, here)
                value = _add(value, below, x, lower, left, x_stride, here)
                value = _add(value, below, x + 1, lower, right, x_stride, here)
        if MODE == ALIGN:
            value = value * tl.div_rn(1.0, tl.maximum(samples_y * samples_x * 1.0, 1.0))
        if sub == 0:
            best = value
        else:
            place = tl.where(value > best, sub, place)
            best = tl.where(value > best, value, best)
    return best, place


@triton.jit
def _largest(
    data, here, i, j, x1, y1, x2, y2, scale, rows, columns, width, x_stride,
    P: tl.constexpr,
):  # fmt: skip
    """Compute maxima of cells, and which cell; -1 for none. A NaN is never largest."""
    top, bottom = bin_of(i, y1, y2, scale, rows, P)
    left, right = bin_of(j, x1, x2, scale, columns, P)
    best = tl.full(here.shape, LOWEST, tl.float32)
    place = tl.full(here.shape, -1, tl.int32)
    widest = tl.max(tl.where(j < P, right - left, 0))
    row_step = width.to(tl.int64) * x_stride
    for y in range(top, bottom):
        row = data + y * row_step
        for k in range(widest):
            x = left + k
            value = tl.load(row + x * x_stride, mask=(x < right) & here, other=LOWEST)
            value = value.to(tl.float32)
            place = tl.where(value > best, y * width + x, place)
            best = tl.where(value > best, value, best)
    empty = (top >= bottom) | (left >= right)
    return tl.where(empty, 0.0, best), place


@triton.jit
def roi_forward(
    maps, sizes, heights, widths, scales, rois, pooled, places,
    channels, per_image, canonical_size, canonical_level,
    LEVELS: tl.constexpr, P: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
    LAST: tl.constexpr, MODE: tl.constexpr, RATIO: tl.constexpr,
    ALIGNED: tl.constexpr, MAXIMA: tl.constexpr,
):  # fmt: skip
    """Pool one row of cells of a RoI; CELLS, at least P, and BLOCK are powers of 2."""
    roi, i = (tl.program_id(0) // P).to(tl.int64), tl.program_id(0) % P
    n = roi // per_image
    x1, y1 = tl.load(rois + 4 * roi), tl.load(rois + 4 * roi + 1)
    x2, y2 = tl.load(rois + 4 * roi + 2), tl.load(rois + 4 * roi + 3)
    level = level_of(x1, y1, x2, y2, canonical_size, canonical_level, LEVELS)
    scale = pick(scales, level, LEVELS)
    height = pick(heights, level, LEVELS).to(tl.int32)
    width = pick(widths, level, LEVELS).to(tl.int32)
    rows, columns = height, width
    if sizes is not None:
        of_level = pick(sizes, level, LEVELS)
        rows = true_cells(of_level, n, 0, height)
        columns = true_cells(of_level, n, 1, width)
    data = pick(maps, level, LEVELS) + n * channels * height * width
    if LAST:
        j = tl.arange(0, CELLS)[:, None]
        c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
        data += c
        x_stride = channels
        to = (roi * P * P + i * P + j) * channels + c
    else:
        j = tl.arange(0, CELLS)[None, :]
        c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
        data += c.to(tl.int64) * (height * width)
        x_stride = 1
        to = (roi * channels + c) * (P * P) + i * P + j
    here = (c < channels) & (j < P)
    if MODE == POOL:
        best, place = _largest(
            data, here, i, j, x1, y1, x2, y2, scale, rows, columns, width, x_stride, P
        )
    else:
        best, place = _bilinear(
            data, here, i, j, x1, y1, x2, y2, scale, rows, columns, width, x_stride,
            P, MODE, RATIO, ALIGNED, MAXIMA,
        )  # fmt: skip
    tl.store(pooled + to, best.to(pooled.dtype.element_ty), mask=here)
    if (MODE == POOL) | MAXIMA:
        to = (roi * P * P + i * P + j) * channels + c
        tl.store(places + to, place.to(places.dtype.element_ty), mask=here)
