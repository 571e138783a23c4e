"""How well the anchors of a recipe cover the objects (Faster R-CNN, section 3.1.1).

Letters: G objects of all images, K base anchors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...layer_utils.anchors import Centre, Rounding, base_anchors
from ..index.indexed_records import as_records
from ..loading.samples import Preparation
from ..readiness import is_tiny
from ..records import Dataset
from .entries import Entry

Array = npt.NDArray[np.float64]

POOR = 0.5
"""An object whose best anchor has a smaller IoU is hard to find."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a configuration that decide how anchors meet objects."""

    name: str  # name of the recipe
    short_side: int  # target of the shorter side in pixels
    long_side: int  # upper limit of the longer side in pixels
    strides: tuple[int, ...]  # input pixels per cell, of each level
    ratios: tuple[float, ...]  # heights of the anchors divided by their widths
    # scales of the anchors of each level, in units of its stride
    scales: tuple[tuple[float, ...], ...]
    offset: float  # 1 for legacy boxes, 0 for continuous ones
    # pixels by which a training anchor may leave the image; negative for no limit
    border: float
    centre: Centre  # see `base_anchors`
    rounding: Rounding  # see `base_anchors`
    use_ignored: bool  # whether difficult objects are trained on
    # sides of the crops of larger images; None for whole images
    crop: int | None = None

    def scale(self, height: int, width: int) -> float:
        """Return network pixels per pixel of an image, or of its crops."""
        preparation = Preparation(self.long_side, self.offset, crop=self.crop)
        return preparation.usual(height, width, self.short_side).scale

    @property
    def sides(self) -> list[float]:
        """Return the sides of the anchors in pixels, ascending."""
        levels = zip(self.strides, self.scales, strict=True)
        return sorted({stride * scale for stride, scales in levels for scale in scales})


class Objects(NamedTuple):
    """The objects that are trained on, in pixels of the network input."""

    entries: list[Entry]  # image of each object
    places: list[int]  # `Written.place` of each object
    names: list[str]  # class of each object
    boxes: Array  # ``(G, 4)`` in the configured convention
    extents: Array  # ``(G, 2)`` width and height in the configured convention
    sizes: Array  # ``(G, 2)`` width and height of each object's image

    @property
    def sides(self) -> Array:
        """Return ``(G,)`` square roots of the areas."""
        return np.asarray(np.sqrt(self.extents.prod(axis=1)), np.float64)

    @property
    def ratios(self) -> Array:
        """Return ``(G,)`` heights divided by widths."""
        return np.asarray(self.extents[:, 1] / self.extents[:, 0], np.float64)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How anchors cover the objects that are trained on."""

    recipe: Recipe  # recipe of the anchors
    objects: Objects  # G objects in pixels of the network input
    overlaps: Array  # ``(G,)`` best IoU of each object with a usable anchor
    free_overlaps: Array  # ``(G,)`` the same if anchors could leave the image
    suggested: tuple[float, ...]  # proposed scales, in units of the stride
    suggested_overlaps: Array  # ``(G,)`` best IoU with these scales

    @property
    def poor(self) -> int:
        """Return the number of objects without an anchor of IoU 0.5."""
        return int((self.overlaps < POOR).sum())

    @property
    def suggested_poor(self) -> int:
        """Return that number for the proposed scales."""
        return int((self.suggested_overlaps < POOR).sum())

    @property
    def at_border(self) -> int:
        """Return the part of that number that is due to the border."""
        return int(((self.overlaps < POOR) & (self.free_overlaps >= POOR)).sum())

    @property
    def small(self) -> tuple[int, float]:
        """Return the number of objects below the smallest scale, and their scale."""
        recipe, sides = self.recipe, self.objects.sides
        own = sides[sides < recipe.sides[0] / 2**0.5]
        if not len(own):
            return 0, 0.0
        power = np.round(np.log2(max(np.median(own), 1.0) / recipe.strides[0]))
        return len(own), float(2.0**power)


def measure_coverage(entries: Sequence[Entry], recipe: Recipe) -> Coverage:
    """Match the objects with the anchors of a recipe, and with proposed ones."""
    return cover(network_objects(entries, recipe), recipe)


def cover(objects: Objects, recipe: Recipe) -> Coverage:
    """Match objects with the anchors of a recipe, and with proposed ones."""

    def overlaps(scales: Sequence[Sequence[float]], border: float) -> Array:
        best = np.zeros(len(objects.boxes))
        for stride, own in zip(recipe.strides, scales, strict=True):
            anchors = base_anchors(
                stride=stride,
                ratios=recipe.ratios,
                scales=own,
                offset=recipe.offset,
                centre=recipe.centre,
                rounding=recipe.rounding,
            )
            base = anchors.numpy().astype(np.float64)
            found = best_overlaps(
                objects, base, stride=stride, offset=recipe.offset, border=border
            )
            best = np.maximum(best, found)
        return best

    if len(recipe.strides) == 1:
        options = [suggest_scales(objects.sides, stride=recipe.strides[0])]
    else:  # the levels of a pyramid are its scales: all may be halved or doubled
        options = [
            tuple(factor * scale for scale in recipe.scales[0])
            for factor in (0.5, 2)
            if len(set(recipe.scales)) == 1
        ]
    measured = {
        option: overlaps([option] * len(recipe.strides), recipe.border)
        for option in options
        if option and len(objects.boxes)
    }
    suggested = max(measured, key=lambda s: float(measured[s].mean()), default=())
    return Coverage(
        recipe=recipe,
        objects=objects,
        overlaps=overlaps(recipe.scales, recipe.border),
        free_overlaps=overlaps(recipe.scales, -1),
        suggested=suggested,
        suggested_overlaps=measured.get(suggested, np.zeros(0)),
    )


def network_objects(entries: Sequence[Entry], recipe: Recipe) -> Objects:
    """Resize the valid objects of images in a split as training does."""
    owners, places, names, rows, sizes = [], [], [], [], []
    for entry in entries:
        width, height = entry.size
        if not entry.splits or min(width, height) < 1:
            continue
        scale = recipe.scale(height, width)
        for written, fault in zip(entry.objects, entry.box_faults, strict=True):
            if fault not in (None, "clipped box") or is_tiny(written.box):
                continue
            # Only COCO has crowds, which are never trained on.
            if written.ignored and (
                entry.source.layout == "coco" or not recipe.use_ignored
            ):
                continue
            edges = np.clip(written.box, 0, (width, height, width, height))
            rows.append((edges - (0, 0, recipe.offset, recipe.offset)) * scale)
            sizes.append((round(width * scale), round(height * scale)))
            owners.append(entry)
            places.append(written.place)
            names.append(written.name)
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    return Objects(
        entries=owners,
        places=places,
        names=names,
        boxes=boxes,
        extents=boxes[:, 2:] - boxes[:, :2] + recipe.offset,
        sizes=np.array(sizes, np.float64).reshape(-1, 2),
    )


def dataset_objects(dataset: Dataset, recipe: Recipe) -> Objects:
    """Return the objects of a data set that are trained on, resized likewise.

    Their entries, places and names stay empty.
    """
    records = as_records(dataset.records)
    left = ~records.crowd & (recipe.use_ignored | ~records.difficult)
    left &= (records.boxes[:, 2:] - records.boxes[:, :2] > 1).any(axis=1)
    scales = np.array(
        [recipe.scale(height, width) for width, height in records.sizes.tolist()]
    )
    images = records.images[left]
    edges = records.boxes[left].astype(np.float64)
    boxes = (edges - (0, 0, recipe.offset, recipe.offset)) * scales[images, None]
    sizes = np.round(records.sizes[images] * scales[images, None])
    extents = boxes[:, 2:] - boxes[:, :2] + recipe.offset
    return Objects([], [], [], boxes, extents, sizes)


def best_overlaps(
    objects: Objects, anchors: Array, *, stride: int, offset: float, border: float
) -> Array:
    """Compute ``(G,)`` largest IoUs of objects with any anchor that training may use.

    It is 0 where no anchor fits into the image. An anchor's overlap is its overlap
    along x times that along y, and each is largest for the allowed column and row
    nearest to the object's centre. Therefore one anchor of each shape is examined
    instead of all cells, and the result is exact.

    Args:
        anchors: ``(K, 4)`` anchors of the first cell, see `base_anchors`.
        stride: input pixels per cell.
        offset: 1 for legacy boxes, 0 for continuous ones.
        border: pixels by which an anchor may leave the image; negative for no limit.
    """
    boxes, sizes = objects.boxes, objects.sizes
    best = np.zeros(len(boxes))
    areas = objects.extents.prod(axis=1)
    for anchor in anchors:  # K times, all objects at once
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
        area = (anchor[2:] - anchor[:2] + offset).prod()
        iou = common / np.maximum(area + areas - common, 1e-9)
        best = np.maximum(best, np.where(allowed, iou, 0))
    return best


def suggest_scales(sides: Array, *, stride: int) -> tuple[float, ...]:
    """Propose anchor scales in units of `stride`: powers of two for nearly all objects.

    Squares whose sides differ by a factor of the square root of 2 overlap by half, so
    each power covers its neighbourhood up to the next. The ends are the 2nd and 98th
    percentile of the objects.

    Args:
        sides: ``(G,)`` square roots of the objects' areas, pixels of the network input.
        stride: input pixels per cell.
    """
    if not len(sides):
        return ()
    ends = np.quantile(np.maximum(sides, 1.0), [0.02, 0.98]) / stride
    low, high = np.round(np.log2(ends)).astype(int)
    return tuple(float(2.0**power) for power in range(low, high + 1))
