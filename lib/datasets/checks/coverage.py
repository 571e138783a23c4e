"""How well the anchors of a recipe meet the objects (Faster R-CNN, section 3.1.1).

Letters: G objects of all images, K base anchors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...layer_utils.anchors import Centre, Rounding, base_anchors
from ..loading.resizing import resize_scale
from ..readiness import is_tiny
from .annotations import box_fault
from .entries import Entry

Array = npt.NDArray[np.float64]

POOR = 0.5
"""An object whose best anchor overlaps it less is hard to find."""


class Objects(NamedTuple):
    """The objects that are trained on, in pixels of the network input.

    Attributes:
        entries: image of each object.
        places: `Written.place` of each object.
        names: class of each object.
        boxes: ``(G, 4)`` in the configured convention.
        sizes: ``(G, 2)`` width and height of each object's image.
    """

    entries: list[Entry]
    places: list[int]
    names: list[str]
    boxes: Array
    sizes: Array

    def sides(self, offset: float) -> Array:
        """Square roots of the areas, ``(G,)``."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2] + offset
        return np.asarray(np.sqrt(sides.prod(axis=1)), np.float64)

    def ratios(self, offset: float) -> Array:
        """Heights divided by widths, ``(G,)``."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2] + offset
        return np.asarray(sides[:, 1] / sides[:, 0], np.float64)


def network_objects(
    entries: Sequence[Entry],
    *,
    short_side: int,
    long_side: int,
    offset: float,
    use_ignored: bool,
) -> Objects:
    """Resize the sound objects as training does.

    Args:
        entries: their images; those in no list or of unknown size are left out.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        use_ignored: whether difficult and crowd objects count.
    """
    owners, places, names, rows, sizes = [], [], [], [], []
    for entry in entries:
        width, height = entry.size
        if not entry.splits or min(width, height) < 1:
            continue
        scale = resize_scale(height, width, short_side, long_side)
        closing = 1.0 if entry.source.layout == "voc" else 0.0
        for written in entry.objects:
            fault = box_fault(written.box, entry.size, closing=closing)
            if fault not in (None, "clipped box") or is_tiny(written.box):
                continue
            # Crowds, which only COCO has, are never trained on.
            if written.ignored and not (use_ignored and closing):
                continue
            x1, y1, x2, y2 = written.box
            rows.append(
                (
                    max(x1, 0.0) * scale,
                    max(y1, 0.0) * scale,
                    (min(x2, width) - offset) * scale,
                    (min(y2, height) - offset) * scale,
                )
            )
            sizes.append((round(width * scale), round(height * scale)))
            owners.append(entry)
            places.append(written.place)
            names.append(written.name)
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    return Objects(
        owners, places, names, boxes, np.array(sizes, np.float64).reshape(-1, 2)
    )


def best_overlaps(
    boxes: Array,
    sizes: Array,
    *,
    stride: int,
    ratios: Sequence[float],
    scales: Sequence[float],
    offset: float,
    border: float,
    centre: Centre = "cell",
    rounding: Rounding = "auto",
) -> Array:
    """Largest IoU of each object with any anchor that training may use.

    An anchor's overlap is its overlap along x times that along y, and each is largest
    for the allowed column and row nearest to the object's centre. So one anchor of each
    shape is looked at instead of all cells, and the result is exact.

    Args:
        boxes: ``(G, 4)`` in pixels of the network input.
        sizes: ``(G, 2)`` width and height of each object's image.
        stride: input pixels per cell.
        ratios: heights divided by widths.
        scales: sides in units of ``stride``.
        offset: 1 for legacy boxes, 0 for continuous ones.
        border: pixels by which an anchor may leave the image; negative for no limit.
        centre: as of `base_anchors`.
        rounding: as of `base_anchors`.

    Returns:
        ``(G,)`` in [0, 1]; 0 where no anchor fits into the image.
    """
    base = base_anchors(
        stride=stride,
        ratios=ratios,
        scales=scales,
        offset=offset,
        centre=centre,
        rounding=rounding,
    )
    best = np.zeros(len(boxes))
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(axis=1)
    for anchor in base.numpy().astype(np.float64):  # K times, all objects at once
        common, allowed = np.ones(len(boxes)), np.ones(len(boxes), np.bool_)
        for axis in (0, 1):
            low, high = anchor[axis], anchor[axis + 2]
            near, far = boxes[:, axis], boxes[:, axis + 2]
            first = np.zeros(len(boxes))
            last = np.ceil(sizes[:, axis] / stride) - 1
            if border >= 0:
                limit = sizes[:, axis] - offset + border
                first = np.maximum(first, np.ceil((-border - low) / stride))
                last = np.minimum(last, np.floor((limit - high) / stride))
            cell = np.round((near + far - low - high) / (2 * stride))
            cell = np.clip(cell, first, np.maximum(first, last))
            allowed &= first <= last
            overlap = np.minimum(high + cell * stride, far)
            overlap -= np.maximum(low + cell * stride, near)
            common *= np.maximum(overlap + offset, 0)
        area = (anchor[2] - anchor[0] + offset) * (anchor[3] - anchor[1] + offset)
        iou = common / np.maximum(area + areas - common, 1e-9)
        best = np.maximum(best, np.where(allowed, iou, 0))
    return best


def suggest_scales(sides: Array, *, stride: int) -> tuple[float, ...]:
    """Propose anchor scales: powers of two that span nearly all objects.

    Squares whose sides differ by a factor of the square root of 2 overlap by half, so
    each power covers its neighbourhood up to the next. The ends are the 2nd and 98th
    percentile of the objects.

    Args:
        sides: ``(G,)`` square roots of the objects' areas, pixels of the network input.
        stride: input pixels per cell.

    Returns:
        Sides in units of `stride`, rising; empty without objects.
    """
    if not len(sides):
        return ()
    ends = np.quantile(np.maximum(sides, 1.0), [0.02, 0.98]) / stride
    low, high = np.round(np.log2(ends)).astype(int)
    return tuple(float(2.0**power) for power in range(low, high + 1))
