"""Masks as COCO's files write them: polygons, or run lengths compressed or not."""

from array import array
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ...utils.run_lengths import bounding_box, checked_counts
from ..index.packed_masks import pack_parts, pack_run_lengths, unpack_mask
from ..records import RunLengths
from .values import whole_number

Found = Callable[[str], None]
"""Function that is told the kind of a fault that costs a mask, or a part of it."""

_MOST_PIXELS = 2**31


def parse_mask(value: Any, found: Found) -> bytes:
    """Pack the mask under "segmentation"; no bytes if nothing is left of it.

    Args:
        value: as in the file. A flat list of numbers counts as one polygon.
        found: is told the faults of a mask of the right form.

    Raises:
        ValueError: it is neither polygons nor run lengths.
    """
    if isinstance(value, dict):
        return _parse_run_lengths(value, found)
    if not value:
        return b""
    try:
        if not isinstance(value[0], list):
            value = [value]
        return parse_polygons([array("f", part) for part in value], found)
    except (TypeError, KeyError, OverflowError):
        raise ValueError("expected polygons or run lengths") from None


def parse_polygons(parts: Sequence["array[float]"], found: Found) -> bytes:
    """Pack polygons of x and y in turn, without invalid ones."""
    good = []
    for part in parts:
        if len(part) % 2:
            found("polygon with an odd number of values")
        elif len(part) < 6:
            found("polygon with fewer than three points")
        elif not isfinite(sum(part)):
            found("polygon with a NaN or infinite coordinate")
        else:
            good.append(part)
    return pack_parts(good)


def _parse_run_lengths(value: dict[str, Any], found: Found) -> bytes:
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and isinstance(counts, str | list)):
        raise ValueError("expected run lengths under 'counts' and a 'size'")
    numbers = [whole_number(number) for number in size]
    if len(numbers) != 2 or None in numbers:
        raise ValueError("expected height and width under 'size'")
    height, width = (number or 0 for number in numbers)
    if min(height, width) < 1 or height * width >= _MOST_PIXELS:
        raise ValueError(f"expected a height and a width, found {height} and {width}")
    try:
        checked = checked_counts(counts, height, width)
    except ValueError:
        found("run lengths that are not those of a mask of their size")
        return b""
    return pack_run_lengths(checked, (height, width))


def mask_size(packed: bytes) -> tuple[int, int]:
    """Return width and height of run lengths; 0, 0 for polygons and without a mask."""
    if packed[:4] != bytes(4):
        return 0, 0
    height, width = np.frombuffer(packed, np.int32, 2, 4).tolist()
    return width, height


def mask_box(packed: bytes) -> tuple[float, float, float, float]:
    """Return the pixel edges x1, y1, x2, y2 around a mask."""
    mask = unpack_mask(packed)
    if isinstance(mask, RunLengths):
        return bounding_box(mask.counts, *mask.size)
    vertices = np.concatenate(mask).astype(np.float64)
    (x1, y1), (x2, y2) = vertices.min(0).tolist(), vertices.max(0).tolist()
    return x1, y1, x2, y2
