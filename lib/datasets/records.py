"""Records, which every annotation reader returns, and the checks that readers share.

Boxes of records are pixel edges: float32 ``x1, y1, x2, y2`` in pixels of the
image as stored, 0-based, pixel k spanning [k, k + 1), so that ``x2 - x1`` is the width.

    N  objects of a whole data set
    G  objects of one image
    C  classes, background being class 0
"""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .origins import own_files

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BACKGROUND = "__background__"

BOX_FAULTS = (
    "box with a NaN or infinite coordinate",
    "inverted box",
    "zero-area box",
    "box outside the image",
    "clipped box",
)
"""Faults of a box in the order of the checks: a box counts under the first one."""

logger = logging.getLogger(__name__)


class RunLengths(NamedTuple):
    """A mask of the whole image in COCO's compressed form.

    Attributes:
        counts: run lengths, column by column, compressed as pycocotools does.
        size: height and width of the image in pixels.
    """

    counts: bytes
    size: tuple[int, int]


Parts = tuple[FloatArray, ...]
"""Polygons of an object, ``(V, 2)`` pixel edges each; empty for one without a mask."""

Mask = Parts | RunLengths


class Wanted(NamedTuple):
    """Parts of annotations to read besides boxes; readers skip the others."""

    masks: bool = False
    keypoints: bool = False


BOXES = Wanted()
"""Only boxes."""


@dataclass(frozen=True, slots=True)
class KeypointNames:
    """The K keypoints of a data set.

    Attributes:
        names: K names.
        flip_pairs: pairs of indices that a mirrored image exchanges, such as the left
            and the right eye.
        skeleton: pairs of indices that a drawing connects.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One image and its objects.

    Attributes:
        image_id: the file's stem (VOC, YOLO; the path where stems repeat) or the
            decimal id (COCO).
        path: the image file.
        width: pixels, of the image as stored.
        height: pixels, of the image as stored.
        boxes: ``(G, 4)`` pixel edges, inside the image, of positive area.
        classes: ``(G,)`` class indices, 1..C-1.
        difficult: ``(G,)`` VOC's flag.
        crowd: ``(G,)`` COCO's iscrowd.
        areas: ``(G,)`` square pixels: COCO's area, else the box's.
        object_ids: ``(G,)`` COCO's annotation ids, else 0..G-1.
        masks: G masks; None if the data set has none.
        keypoints: ``(G, K, 3)`` float32 x and y in continuous pixels of the stored
            image (a whole pixel index of COCO's files plus 0.5), and visibility: 0 not
            labelled, 1 hidden, 2 visible. None if the data set has none.
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
    masks: tuple[Mask, ...] | None = None
    keypoints: FloatArray | None = None


@dataclass(frozen=True)
class Dataset:
    """The images of one set, and the faults found while reading it.

    Attributes:
        name: for example voc_2007_trainval or bccd_train.
        layout: layout whose rules evaluation follows: VOC's for files in YOLO layout.
        classes: C names, background first.
        records: one per image; readers return `Records`, which also has columns.
        drops: number of faults of each kind, for example ``{"zero-area box": 2}``.
        annotation_file: COCO's JSON file; None for other layouts, joined sets, and
            sets without ground truth.
        category_ids: COCO's category id of each class, 0 for the background; for VOC
            the class index itself.
        has_masks: whether records have masks.
        keypoints: the keypoints of the records; None if they have none.
        joined: name and number of images of each set that the records come from, in
            order; empty if they are of one set.
    """

    name: str
    layout: Literal["voc", "coco"]
    classes: tuple[str, ...]
    records: Sequence[Record]
    drops: dict[str, int]
    annotation_file: Path | None
    category_ids: tuple[int, ...]
    has_masks: bool = False
    keypoints: KeypointNames | None = None
    joined: tuple[tuple[str, int], ...] = ()

    @classmethod
    def with_voc_rules(
        cls,
        name: str,
        classes: Iterable[str],
        records: Sequence[Record],
        drops: dict[str, int],
    ) -> "Dataset":
        """Make a data set for VOC's evaluation; `classes` lack the background."""
        names = (BACKGROUND, *classes)
        numbers = tuple(range(len(names)))
        return cls(name, "voc", names, records, drops, None, numbers)


@dataclass(frozen=True, slots=True)
class RawObjects:
    """Objects of a data set as columns, before any check.

    Attributes:
        image: ``(N,)`` index of each object's image.
        boxes: ``(N, 4)`` float64 pixel edges.
        classes: ``(N,)`` class indices, 1..C-1.
        difficult: ``(N,)`` VOC's flag; if None, no object is difficult.
        crowd: ``(N,)`` COCO's iscrowd; if None, no object is a crowd.
        areas: ``(N,)`` float64, NaN for the box's area; if None, all areas are NaN.
        ids: ``(N,)`` annotation ids; if None, 0..G-1 within each image.
        masks: ``(N, 2)`` start and end of each packed mask (see `MaskBytes`), equal for
            an object without one; if None, no object has a mask.
        keypoints: ``(N, K, 3)`` as in `Record`; if None, there are none.

    If a reader hands objects over in pieces, all pieces have ids, or none has. The same
    holds for masks and keypoints.
    """

    image: IntArray
    boxes: npt.NDArray[np.float64]
    classes: IntArray
    difficult: BoolArray | None = None
    crowd: BoolArray | None = None
    areas: npt.NDArray[np.float64] | None = None
    ids: IntArray | None = None
    masks: IntArray | None = None
    keypoints: FloatArray | None = None


class Drops:
    """Counts the faults found while reading, with the first example of each kind."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def update(self, found: Mapping[str, Sequence[Any]]) -> None:
        """Add the faults that `found` returned, here or in an earlier run."""
        for kind, (count, example) in found.items():
            self.add(kind, example, count)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count a fault; `example` names its file and value."""
        before, first = self._found.get(kind, (0, example))
        self._found[kind] = (before + count, first)

    def found(self) -> dict[str, tuple[int, str]]:
        """Return count and first example by kind, faults of boxes last."""

        def rank(kind: str) -> int:
            return BOX_FAULTS.index(kind) if kind in BOX_FAULTS else -1

        return {kind: self._found[kind] for kind in sorted(self._found, key=rank)}

    def log(self, name: str) -> dict[str, int]:
        """Log one line per kind for the data set `name`, and return the counts."""
        for kind, (count, first) in self.found().items():
            logger.warning(
                "%s: %d x %s, first: %s", name, count, kind, own_files(first)
            )
        return {kind: count for kind, (count, _) in self.found().items()}


def clean_boxes(
    boxes: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    example: Callable[[int], str],
    drops: Drops,
    *,
    closing: float,
) -> tuple[FloatArray, BoolArray]:
    """Clip boxes to their images, and drop invalid boxes.

    Clipping by up to one pixel, which is usual in 1-based files, is not counted: an x1
    of 0 in a VOC file becomes -1 here and is then clipped to 0.

    Args:
        boxes: ``(N, 4)`` pixel edges, possibly NaN, inverted or outside.
        sizes: ``(N, 2)`` width and height of each box's image.
        example: describes the box of a row, for the log.
        closing: what the change to pixel edges added to the written width and height:
            0 for COCO; 1 for VOC, where equal corners are a click without a drag and
            count as zero area.

    Returns:
        The ``(M, 4)`` boxes that are kept, and their ``(N,)`` mask.
    """
    faults = box_faults(boxes, sizes, closing=closing)
    for number, kind in enumerate(BOX_FAULTS):
        rows = np.flatnonzero(faults == number)
        if len(rows):
            drops.add(kind, example(int(rows[0])), len(rows))
    kept = (faults < 0) | (faults == BOX_FAULTS.index("clipped box"))
    limits = np.concatenate([sizes, sizes], axis=1)
    return np.clip(boxes, 0.0, limits).astype(np.float32)[kept], kept


def box_faults(
    boxes: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], *, closing: float
) -> IntArray:
    """Return ``(N,)`` first faults that apply, by index in `BOX_FAULTS`; -1 for none.

    Args:
        boxes: ``(N, 4)`` pixel edges as written.
        sizes: ``(N, 2)`` width and height of each box's image; 0 if unknown, in which
            case no box is outside.
        closing: see `clean_boxes`.
    """
    known = (sizes > 0).all(axis=1, keepdims=True)
    limits = np.where(known, np.concatenate([sizes, sizes], axis=1), np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        written = boxes[:, 2:] - boxes[:, :2] - closing
        inside = np.clip(boxes, np.where(known, 0.0, -np.inf), limits)
        cleaned = inside.astype(np.float32)
        # The second "flat" is a width that float32 cannot hold at that place.
        infinite, inverted, flat, outside, clipped = range(len(BOX_FAULTS))
        conditions = (
            (infinite, ~np.isfinite(boxes).all(axis=1)),
            (inverted, (written < 0).any(axis=1)),
            (flat, (written == 0).any(axis=1)),
            (outside, (inside[:, 2:] <= inside[:, :2]).any(axis=1)),
            (flat, (cleaned[:, 2:] <= cleaned[:, :2]).any(axis=1)),
            (clipped, (np.abs(inside - boxes) > 1).any(axis=1)),
        )
    kinds, faulty = zip(*conditions, strict=True)
    return np.asarray(np.select(faulty, kinds, -1), np.int64)


def few(names: Sequence[str], shown: int = 5) -> str:
    """List the first few names, and the number of the others."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known word, else ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
