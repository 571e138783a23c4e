"""What every reader of annotations returns, and the checks all of them share.

Frame of the file side, called pixel edges: float32 ``x1, y1, x2, y2`` in pixels of the
image as stored, 0-based, pixel k spanning [k, k + 1), so that ``x2 - x1`` is the width.

    N  objects of a whole data set
    G  objects of one image
    C  classes, background being class 0
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BACKGROUND = "__background__"

logger = logging.getLogger(__name__)


class MissingDataError(ValueError):
    """A known data set is not on disk; the message tells how to get it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One image and its objects.

    Attributes:
        image_id: the file's stem (VOC) or the decimal id (COCO).
        path: the image file.
        width: pixels, of the image as stored.
        height: pixels, of the image as stored.
        boxes: ``(G, 4)`` pixel edges, inside the image, of positive area.
        classes: ``(G,)`` class indices, 1..C-1.
        difficult: ``(G,)`` VOC's flag.
        crowd: ``(G,)`` COCO's iscrowd.
        areas: ``(G,)`` square pixels: COCO's area, else the box's.
        object_ids: ``(G,)`` COCO's annotation ids, else 0..G-1.
    """

    image_id: str
    path: Path
    width: int
    height: int
    boxes: FloatArray
    classes: IntArray
    difficult: BoolArray
    crowd: BoolArray
    areas: FloatArray
    object_ids: IntArray


@dataclass(frozen=True)
class Dataset:
    """The images of one set, and what its reading had to leave out.

    Attributes:
        name: for example voc_2007_trainval or bccd_train.
        layout: which files it came from; evaluation follows it.
        classes: C names, the first being the background's.
        records: one per image.
        drops: how often each kind of fault was found, for example
            ``{"zero-area box": 2}``.
        annotation_file: COCO's JSON file; None for VOC and for joined sets.
        category_ids: COCO's category id of each class, 0 for the background; for VOC
            the class index itself.
    """

    name: str
    layout: Literal["voc", "coco"]
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    drops: dict[str, int]
    annotation_file: Path | None
    category_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RawImage:
    """An image as its annotations give it; `source` is where to look after a fault."""

    image_id: str
    path: Path
    width: int
    height: int
    source: Path


@dataclass(frozen=True, slots=True)
class RawObjects:
    """All objects of a data set as columns, before any check.

    Attributes:
        image: ``(N,)`` index of each object's image.
        boxes: ``(N, 4)`` float64 pixel edges.
        classes: ``(N,)`` class indices, 1..C-1.
        difficult: ``(N,)`` VOC's flag.
        crowd: ``(N,)`` COCO's iscrowd.
        areas: ``(N,)`` float64, NaN where the box's own area is meant; None for all.
        ids: ``(N,)`` annotation ids; None for 0..G-1 within each image.
    """

    image: IntArray
    boxes: npt.NDArray[np.float64]
    classes: IntArray
    difficult: BoolArray
    crowd: BoolArray
    areas: npt.NDArray[np.float64] | None = None
    ids: IntArray | None = None


class Drops:
    """Counts what reading leaves out, and remembers the first example of each kind."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count a fault; `example` names its file and value."""
        before, first = self._found.get(kind, (0, example))
        self._found[kind] = (before + count, first)

    def log(self, name: str) -> dict[str, int]:
        """Log one line per kind for the data set `name`, and return the counts."""
        for kind, (count, first) in self._found.items():
            logger.warning("%s: %d x %s, first: %s", name, count, kind, first)
        return {kind: count for kind, (count, _) in self._found.items()}


def build_records(
    images: Sequence[RawImage],
    objects: RawObjects,
    drops: Drops,
    *,
    closing: float,
) -> tuple[Record, ...]:
    """Check all objects of a data set and hand each image its own, in file order.

    Args:
        images: in the order of the records.
        objects: of those images, in any order.
        drops: counts what is left out or clipped.
        closing: as in `clean_boxes`.
    """

    def example(row: int) -> str:
        x1, y1, x2, y2 = objects.boxes[row]
        raw = images[objects.image[row]]
        return (
            f"corners ({x1 + closing:g}, {y1 + closing:g}) and ({x2:g}, {y2:g}) in the "
            f"{raw.width} x {raw.height} image {raw.image_id} of {raw.source}"
        )

    sizes = np.array([(raw.width, raw.height) for raw in images], np.float64)
    boxes, kept = clean_boxes(
        objects.boxes,
        sizes.reshape(-1, 2)[objects.image],
        example,
        drops,
        closing=closing,
    )
    own_areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    if objects.areas is None:
        areas = own_areas
    else:
        with np.errstate(over="ignore"):
            given = objects.areas[kept].astype(np.float32)
        areas = np.where(np.isfinite(given), given, own_areas)
    # A stable sort by image: each image's objects become one slice, in file order.
    image = objects.image[kept]
    order = np.argsort(image, kind="stable")
    ends = np.cumsum(np.bincount(image, minlength=len(images)))
    starts = ends - np.bincount(image, minlength=len(images))
    ids = (
        np.arange(len(image)) - starts[image[order]]
        if objects.ids is None
        else objects.ids[kept][order]
    )
    boxes, areas = boxes[order], areas[order]
    classes = objects.classes[kept][order]
    difficult = objects.difficult[kept][order]
    crowd = objects.crowd[kept][order]
    slices = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
    return tuple(
        Record(
            image_id=raw.image_id,
            path=raw.path,
            width=raw.width,
            height=raw.height,
            boxes=boxes[own],
            classes=classes[own],
            difficult=difficult[own],
            crowd=crowd[own],
            areas=areas[own],
            object_ids=ids[own],
        )
        for raw, own in zip(images, slices, strict=True)
    )


def clean_boxes(
    boxes: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    example: Callable[[int], str],
    drops: Drops,
    *,
    closing: float,
) -> tuple[FloatArray, BoolArray]:
    """Clip boxes to their images and leave out those that bound nothing.

    Moving an edge by up to one pixel is the usual slack of 1-based files and is not
    counted; an x1 of 0 in a VOC file becomes -1 here and is then clipped to 0.

    Args:
        boxes: ``(N, 4)`` pixel edges, possibly NaN, inverted or outside.
        sizes: ``(N, 2)`` width and height of each box's image.
        example: describes the box of a row, for the log.
        drops: counts what is left out or clipped.
        closing: what the change to pixel edges added to the width and height as
            written: 1 for VOC, where equal corners are a click without a drag and
            count as zero area, 0 for COCO.

    Returns:
        the ``(M, 4)`` boxes that are kept, and the ``(N,)`` mask of them.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        written = boxes[:, 2:] - boxes[:, :2] - closing
    limits = np.concatenate([sizes, sizes], axis=1)
    inside = np.clip(boxes, 0.0, limits)
    cleaned = inside.astype(np.float32)
    kept = np.ones(len(boxes), np.bool_)
    # The kinds exclude each other: a box counts under the first that applies. The last
    # is a width that float32 cannot hold at that place.
    for kind, faulty in (
        ("box with a NaN or infinite coordinate", ~np.isfinite(boxes).all(axis=1)),
        ("inverted box", (written < 0).any(axis=1)),
        ("zero-area box", (written == 0).any(axis=1)),
        ("box outside the image", (inside[:, 2:] <= inside[:, :2]).any(axis=1)),
        ("zero-area box", (cleaned[:, 2:] <= cleaned[:, :2]).any(axis=1)),
    ):
        _count(kind, faulty & kept, example, drops)
        kept &= ~faulty
    moved = kept & (np.abs(inside - boxes) > 1).any(axis=1)
    _count("clipped box", moved, example, drops)
    return cleaned[kept], kept


def _count(
    kind: str, faulty: BoolArray, example: Callable[[int], str], drops: Drops
) -> None:
    rows = np.flatnonzero(faulty)
    if len(rows):
        drops.add(kind, example(int(rows[0])), len(rows))


def few(names: Sequence[str], shown: int = 5) -> str:
    """Name the first few of many, and say how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give ``" (did you mean 'x'?)"`` for the nearest known word, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
