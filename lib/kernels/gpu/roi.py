"""Positions of RoIs on feature maps, shared by the Triton kernels of RoI pooling.

The semantics, and the order of operations where an edge depends on it, are those of
``csrc/roi_axis.h``, ``roi_level.h`` and ``roi_max.c``. All functions work on scalars
and on blocks alike.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# mypy: allow-untyped-decorators

import triton  # type: ignore[import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, unused-ignore]

ALIGN = tl.constexpr(0)
CROP = tl.constexpr(1)
CROP_STN = tl.constexpr(2)
POOL = tl.constexpr(3)


@triton.jit
def pick(values, level, LEVELS: tl.constexpr):
    """Select the value of a level that is only known at run time."""
    value = values[0]
    for k in tl.static_range(1, LEVELS):
        value = tl.where(level == k, values[k], value)
    return value


@triton.jit
def level_of(x1, y1, x2, y2, canonical_size, canonical_level, LEVELS: tl.constexpr):
    """Compute a RoI's level (FPN, eq. 1); the finest level for a box without area."""
    if LEVELS == 1:
        level = tl.zeros_like(x1)
    else:
        side = tl.sqrt_rn((x2 - x1) * (y2 - y1))
        doublings = tl.log2(tl.div_rn(side, canonical_size))
        level = tl.floor(canonical_level + doublings + 1e-6)
        level = tl.where(level > 0.0, level, 0.0)
    return tl.minimum(level, LEVELS - 1.0).to(tl.int32)


@triton.jit
def true_cells(sizes, n, axis, cells, mask=None):
    """Return the unpadded rows (axis 0) or columns (1) of an image's map."""
    found = tl.maximum(tl.load(sizes + 2 * n + axis, mask=mask), 0)
    return tl.minimum(found, cells).to(tl.int32)


@triton.jit
def axis_of(
    low, high, scale,
    SIDE: tl.constexpr, MODE: tl.constexpr, RATIO: tl.constexpr, ALIGNED: tl.constexpr,
):  # fmt: skip
    """Describe a RoI along one axis: start, step from cell to cell, samples per cell.

    For crops, which have one sample per cell: start and end.
    """
    start, end = low * scale, high * scale
    if MODE == ALIGN:
        if ALIGNED:
            start -= 0.5
            end -= 0.5
        length = end - start
        if not ALIGNED:
            length = tl.where(length > 1.0, length, 1.0)
        step = tl.div_rn(length, SIDE * 1.0)
        if RATIO > 0:
            samples = RATIO
        else:
            wanted = tl.ceil(step)
            some = (wanted >= 1.0) & (wanted < 1e6)
            samples = tl.where(some, wanted, 0.0).to(tl.int32)
    else:
        step = end
        samples = 1
    return start, step, samples


@triton.jit
def position(
    start, step, samples, cell, sample, SIDE: tl.constexpr, MODE: tl.constexpr
):
    """Compute the position of a sample of an output cell, in cells of the map."""
    if MODE == ALIGN:
        at = tl.div_rn((sample + 0.5) * step, samples * 1.0)
        at = start + cell * 1.0 * step + at
    elif SIDE > 1:
        # From edge to edge: a weighted mean of both ends, exact at the ends.
        both = start * ((SIDE - 1.0) - cell * 1.0) + step * (cell * 1.0)
        at = tl.div_rn(both, SIDE - 1.0)
    else:
        at = 0.5 * (start + step) + cell * 0.0
    return at


@triton.jit
def corners(at, cells, MODE: tl.constexpr):
    """Return the first of the two cells that a sample reads, and their weights."""
    if MODE == ALIGN:  # up to one cell beyond the edge counts as the edge
        inside = (at >= -1.0) & (at <= cells)
        at = tl.maximum(at, 0.0)
    elif MODE == CROP:  # a sample outside the map is 0
        inside = (at >= 0.0) & (at <= cells - 1)
    else:  # the map is surrounded by zeros
        inside = (at > -1.0) & (at < cells)
    inside &= cells > 0
    at = tl.where(inside, at, 0.0)
    low = tl.floor(at)
    part = at - low
    low = low.to(tl.int32)
    if MODE != CROP_STN:
        part = tl.where(low >= cells - 1, 0.0, part)
        low = tl.minimum(low, cells - 1)
    weight0 = tl.where(inside & (low >= 0), 1.0 - part, 0.0)
    weight1 = tl.where(inside & (low + 1 < cells), part, 0.0)
    return low, weight0, weight1


@triton.jit
def rounded(x):
    """Round to the nearest integer, halves away from zero, as C does."""
    whole = tl.floor(tl.abs(x))
    whole += tl.where(tl.abs(x) - whole >= 0.5, 1.0, 0.0)
    return tl.where(x < 0.0, -whole, whole)


@triton.jit
def bin_of(cell, low, high, scale, cells, SIDE: tl.constexpr):
    """Return the range of cells of one axis in a bin, the end exclusive."""
    start, end = rounded(low * scale), rounded(high * scale)
    length = end - start + 1.0
    length = tl.where(length > 1.0, length, 1.0)
    step = tl.div_rn(length, SIDE * 1.0)
    first = tl.floor(cell * 1.0 * step) + start
    last = tl.ceil((cell + 1) * 1.0 * step) + start
    first = tl.where(first > 0.0, first, 0.0)
    last = tl.where(last > 0.0, last, 0.0)
    return tl.minimum(first, cells).to(tl.int32), tl.minimum(last, cells).to(tl.int32)
