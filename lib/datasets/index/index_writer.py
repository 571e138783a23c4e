"""Write an index: check the objects, sort them by image, write the columns.

Objects arrive in pieces and wait on disk, so the memory needed is a few bytes per
object and image, however large the annotations are.
"""

import dataclasses
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..loading.images import image_size
from ..records import (
    BoolArray,
    Drops,
    FloatArray,
    KeypointNames,
    RawObjects,
    clean_boxes,
)
from .index_format import (
    OBJECT_COLUMNS,
    OPTIONAL_COLUMNS,
    Array,
    Column,
    image_columns,
    write_index,
)

ROWS = 1 << 17
"""Number of objects processed at a time."""

_IN_MEMORY = 1 << 23


@dataclass(frozen=True, slots=True)
class RawImages:
    """The images of a data set as listed in its annotations.

    Attributes:
        folder: folder of their files.
        source: returns where to correct an image's objects, by row.
        ids, names: ``I`` image ids, and file names relative to `folder`.
        sizes: ``I`` pairs of width and height.
        measured: rows whose size was read from the file's header.
    """

    folder: Path
    source: Callable[[int], Path]
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    measured: list[int] = field(default_factory=list)

    def add(self, image_id: str, name: str, width: int, height: int) -> None:
        """Add an image; an impossible size is read from the file by `measure`."""
        if min(width, height) < 1 or max(width, height) >= 2**31:
            width = height = 0
            self.measured.append(len(self.ids))
        self.ids.append(image_id)
        self.names.append(name)
        self.sizes.append((width, height))

    def measure(self) -> None:
        """Read sizes that the annotations lack from the image files.

        Raises:
            ImageError: a file's size cannot be read.
        """
        for row in self.measured:
            self.sizes[row] = image_size(self.folder / self.names[row])


class Spool:
    """A column that grows on disk; a small one stays in memory.

    Args:
        empty: a column of this type without rows.
        scratch: folder of the temporary file; if None, the system's.
    """

    def __init__(self, empty: Array, scratch: Path | None) -> None:
        self.dtype, self.row = empty.dtype, empty.shape[1:]
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.row))
        folder = None if scratch is None else str(scratch)
        self.file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=folder)  # noqa: SIM115
        weakref.finalize(self, self.file.close)
        self.bytes = 0

    def __len__(self) -> int:
        return int(self.bytes // self.row_bytes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the whole column."""
        return (len(self), *self.row)

    def append(self, rows: Any) -> None:
        """Add rows at the end."""
        data = np.ascontiguousarray(rows, self.dtype)
        self.file.write(data.tobytes())
        self.bytes += data.nbytes

    def pieces(self, rows: int = ROWS) -> Iterator[Array]:
        """Read the column from its start, `rows` rows at a time."""
        self.file.seek(0)
        while data := self.file.read(rows * self.row_bytes):
            yield np.frombuffer(data, self.dtype).reshape(-1, *self.row)

    def read(self) -> Array:
        """Return the whole column."""
        self.file.seek(0)
        return np.frombuffer(self.file.read(), self.dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class RawDataset:
    """What the annotations of a data set say, before the objects are checked."""

    images: RawImages  # in the order of the records
    objects: Iterable[RawObjects]  # objects of those images, in any order, in pieces
    masks: Spool | None = None  # the packed masks that the objects' masks refer to
    keypoints: KeypointNames | None = None  # names of the objects' keypoints
    closing: float = 0.0  # see `clean_boxes`
    # further facts for the index
    facts: Mapping[str, Any] = field(default_factory=dict)


def pack(
    file: BinaryIO, raw: RawDataset, drops: Drops, *, scratch: Path | None = None
) -> None:
    """Check all objects of a data set and write its index, objects in file order.

    Args:
        drops: counts dropped and clipped objects; stored in the index's facts.
        scratch: folder of temporary files; if None, the system's.
    """
    images, keypoints = raw.images, raw.keypoints
    spools = {name: Spool(empty, scratch) for name, empty in OBJECT_COLUMNS.items()}
    owners = Spool(np.zeros(0, np.int32), scratch)
    sizes = np.array(images.sizes, np.int32).reshape(-1, 2)
    if keypoints is not None:
        empty = np.zeros((0, len(keypoints.names), 3), np.float32)
        spools["keypoints"] = Spool(empty, scratch)
    for piece in raw.objects:
        boxes, kept = _clean(images, sizes, piece, drops, raw.closing)
        owners.append(piece.image[kept])
        spools["boxes"].append(boxes)
        spools["areas"].append(_areas(piece, boxes, kept))
        spools["classes"].append(piece.classes[kept])
        for name, flags in (("difficult", piece.difficult), ("crowd", piece.crowd)):
            spools[name].append(~kept[kept] if flags is None else flags[kept])
        if piece.ids is not None:
            spools["object_ids"].append(piece.ids[kept])
        for name in OPTIONAL_COLUMNS:
            rows = getattr(piece, name)
            if rows is not None:
                spool = spools.setdefault(name, Spool(rows[:0], scratch))
                spool.append(rows[kept])
    image = owners.read()
    counts = np.bincount(image, minlength=len(images.ids))
    small = image_columns(
        images.ids, images.names, images.sizes, images.measured, counts
    )
    # A stable sort by image: each image's objects become one slice, in file order.
    order = None
    if (image[1:] < image[:-1]).any():
        order = np.argsort(image, kind="stable")
    if len(spools["object_ids"]) < len(image):  # annotations without ids
        del spools["object_ids"]
        first = np.repeat(small["starts"][:-1], counts)
        small["object_ids"] = np.arange(len(image)) - first
    if "masks" in spools and not _has_masks(
        images, image, spools["masks"].read(), drops
    ):
        del spools["masks"]
    del image
    columns = {
        name: Column(column.dtype, column.shape, [column])
        for name, column in small.items()
    }
    masks = raw.masks
    if masks is not None and "masks" in spools:
        columns["mask_bytes"] = Column(masks.dtype, masks.shape, masks.pieces(1 << 20))
    for name, spool in spools.items():
        columns[name] = Column(spool.dtype, spool.shape, _sorted_pieces(spool, order))
    names = keypoints and dataclasses.asdict(keypoints)
    facts = {**raw.facts, "drops": drops.found(), "keypoints": names}
    write_index(file, facts, columns)


def _clean(
    images: RawImages,
    sizes: Array,
    objects: RawObjects,
    drops: Drops,
    closing: float,
) -> tuple[FloatArray, BoolArray]:
    def example(row: int) -> str:
        x1, y1, x2, y2 = objects.boxes[row]
        image = int(objects.image[row])
        width, height = images.sizes[image]
        return (
            f"corners ({x1 + closing:g}, {y1 + closing:g}) and ({x2:g}, {y2:g}) in the "
            f"{width} x {height} image {images.ids[image]} of {images.source(image)}"
        )

    own = sizes[objects.image].astype(np.float64)
    return clean_boxes(objects.boxes, own, example, drops, closing=closing)


def _has_masks(images: RawImages, image: Array, spans: Array, drops: Drops) -> bool:
    """Return whether any object has a mask, and count the others if so."""
    empty = spans[:, 0] == spans[:, 1]
    if empty.all():
        return False
    if empty.any():
        row = int(image[int(np.argmax(empty))])
        example = f"in image {images.ids[row]} of {images.source(row)}"
        drops.add("object without a mask", example, int(np.count_nonzero(empty)))
    return True


def _areas(objects: RawObjects, boxes: FloatArray, kept: BoolArray) -> FloatArray:
    """Return the given areas; the boxes' own where a given one is not finite."""
    own = cast(FloatArray, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    if objects.areas is None:
        return own
    with np.errstate(over="ignore"):
        given = objects.areas[kept].astype(np.float32)
    return np.where(np.isfinite(given), given, own)


def _sorted_pieces(spool: Spool, order: Array | None) -> Iterator[Array]:
    if order is None:
        yield from spool.pieces()
        return
    column = spool.read()
    for start in range(0, len(order), ROWS):
        yield column[order[start : start + ROWS]]
