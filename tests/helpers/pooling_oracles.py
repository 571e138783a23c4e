"""RoI pooling of one channel and one RoI, cell by cell, in plain Python."""

import math

import numpy as np

STRIDE = 16
"""Input pixels per cell."""


def bilinear(plane, y, x):
    height, width = plane.shape
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = min(y - top, 1.0), min(x - left, 1.0)
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[bottom, left] * (1 - dx) + plane[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def slow_align(plane, roi, size, ratio, aligned):
    height, width = plane.shape
    x1, y1, x2, y2 = (v / STRIDE - 0.5 * aligned for v in roi)
    wide, high = x2 - x1, y2 - y1
    if not aligned:
        wide, high = max(wide, 1.0), max(high, 1.0)
    per_row, per_column = (
        ratio or max(math.ceil(side / size), 0) for side in (high, wide)
    )
    pooled = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        for a, b in np.ndindex(per_row, per_column):
            y = y1 + (i + (a + 0.5) / per_row) * high / size
            x = x1 + (j + (b + 0.5) / per_column) * wide / size
            if -1 <= y <= height and -1 <= x <= width:
                value = bilinear(plane, max(y, 0.0), max(x, 0.0))
                pooled[i, j] += value / (per_row * per_column)
    return pooled


def slow_pool(plane, roi, size):
    height, width = plane.shape
    x1, y1, x2, y2 = (math.floor(v / STRIDE + 0.5) for v in roi)
    wide, high = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    pooled = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        rows = range(y1 + i * high // size, y1 - (-(i + 1) * high // size))
        columns = range(x1 + j * wide // size, x1 - (-(j + 1) * wide // size))
        cells = [
            plane[y, x]
            for y in rows
            for x in columns
            if 0 <= y < height and 0 <= x < width
        ]
        pooled[i, j] = max(cells, default=0.0)
    return pooled


def slow_crop(plane, roi, size):
    height, width = plane.shape
    x1, y1, x2, y2 = (v / STRIDE for v in roi)
    pooled = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        y = y1 + i * (y2 - y1) / (size - 1)
        x = x1 + j * (x2 - x1) / (size - 1)
        if 0 <= y <= height - 1 and 0 <= x <= width - 1:
            pooled[i, j] = bilinear(plane, y, x)
    return pooled


def slow_crop_stn(plane, roi, size):
    height, width = plane.shape
    x1, y1, x2, y2 = (v / STRIDE for v in roi)
    # The affine map of [-1, 1] onto the box, where -1 and 1 are the outer cells; there
    # written times (width - 1) / 2 and (height - 1) / 2, so one cell is no exception.
    centre_x, centre_y = (x1 + x2 - width + 1) / 2, (y1 + y2 - height + 1) / 2
    pooled = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        down, right = (2 * k / (size - 1) - 1 for k in (i, j))
        y = (y2 - y1) / 2 * down + centre_y + (height - 1) / 2
        x = (x2 - x1) / 2 * right + centre_x + (width - 1) / 2
        for row, column in np.ndindex(height, width):
            weight = max(1 - abs(y - row), 0) * max(1 - abs(x - column), 0)
            pooled[i, j] += weight * plane[row, column]
    return pooled
