"""The records of an indexed data set: columns, and a record on request.

I  images
N  objects
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..records import BoolArray, FloatArray, IntArray, Mask, Record
from .index_format import OBJECT_COLUMNS, Array, Index, image_columns, object_columns
from .packed_masks import MaskBytes, pack_mask, unpack_mask

_NO_SIZES = np.zeros((0, 2), np.int32)


@dataclass(frozen=True)
class Part:
    """One of the indices of joined records."""

    index: Index  # index of one data set
    folder: Path  # folder that its image names are relative to
    prefix: str = ""  # prefix of its image ids


class Records(Sequence[Record]):
    """The records of one index or of several joined, each built on request.

    For one quantity of all images or objects, use its column: a loop over records costs
    a second per 100,000 images. Columns are read-only; a record's arrays are its own.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        lengths = [len(part.index) for part in self.parts]
        self._ends = list(itertools.accumulate(lengths))

    def __reduce__(self) -> tuple[Any, ...]:
        return Records, (self.parts,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Record, ...]: ...

    def __getitem__(self, place: int | slice) -> Record | tuple[Record, ...]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(*place.indices(len(self))))
        row = range(len(self))[place]
        for part, end in zip(self.parts, self._ends, strict=True):
            if row < end:
                return _record(part, row - end + len(part.index))
        raise AssertionError("range() has checked the place")

    def __iter__(self) -> Iterator[Record]:
        for part in self.parts:
            for row in range(len(part.index)):
                yield _record(part, row)

    @property
    def image_ids(self) -> list[str]:
        """Return the I ids, in order."""
        return [p.prefix + text for p in self.parts for text in p.index.strings("id")]

    @property
    def paths(self) -> list[str]:
        """Return the I image files, in order."""
        return [
            str(part.folder / text)
            for part in self.parts
            for text in part.index.strings("name")
        ]

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """Return ``(I, 2)`` width and height in pixels, of the images as stored."""
        return self._column("sizes")

    @property
    def images(self) -> IntArray:
        """Return ``(N,)`` the image that contains each object."""
        starts = [np.diff(part.index.columns["starts"]) for part in self.parts]
        counts = np.concatenate([np.zeros(0, np.int64), *starts])
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def boxes(self) -> FloatArray:
        """``(N, 4)`` pixel edges."""
        return self._column("boxes")

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """``(N,)`` class indices, 1..C-1."""
        return self._column("classes")

    @property
    def difficult(self) -> BoolArray:
        """``(N,)`` VOC's flag."""
        return self._column("difficult")

    @property
    def crowd(self) -> BoolArray:
        """``(N,)`` COCO's iscrowd."""
        return self._column("crowd")

    @property
    def areas(self) -> FloatArray:
        """``(N,)`` square pixels."""
        return self._column("areas")

    def masks(self) -> Iterator[Mask]:
        """Yield the N masks; none of a data set without masks."""
        for part in self.parts:
            columns = part.index.columns
            if "masks" in columns:
                yield from _masks(columns, slice(None))

    def _column(self, name: str) -> Array:
        columns = [part.index.columns[name] for part in self.parts]
        empty = _NO_SIZES if name == "sizes" else OBJECT_COLUMNS[name]
        return columns[0] if len(columns) == 1 else np.concatenate([empty, *columns])


def _record(part: Part, row: int) -> Record:
    columns = part.index.columns
    own = slice(*columns["starts"][row : row + 2].tolist())
    width, height = columns["sizes"][row].tolist()
    objects = {name: columns[name][own].copy() for name in object_columns(columns)}
    objects["classes"] = objects["classes"].astype(np.int64)
    if "masks" in objects:
        objects["masks"] = tuple(_masks(columns, own))
    return Record(
        image_id=part.prefix + part.index.string("id", row),
        path=part.folder / part.index.string("name", row),
        width=width,
        height=height,
        **objects,
    )


def _masks(columns: Mapping[str, Array], objects: slice) -> Iterator[Mask]:
    packed = columns["mask_bytes"]
    for start, end in columns["masks"][objects].tolist():
        yield unpack_mask(packed[start:end])


def as_records(records: Sequence[Record]) -> Records:
    """Give a list of records its columns; records made by hand are packed in memory."""
    if isinstance(records, Records):
        return records
    columns = image_columns(
        [record.image_id for record in records],
        [str(record.path) for record in records],
        [(record.width, record.height) for record in records],
        [],
        [len(record.boxes) for record in records],
    )
    for name, empty in OBJECT_COLUMNS.items():
        joined = np.concatenate([empty, *(getattr(r, name) for r in records)])
        columns[name] = joined.astype(empty.dtype, copy=False)
    if records and records[0].masks is not None:
        masks = MaskBytes(None)
        objects = [mask for record in records for mask in record.masks or ()]
        columns["masks"] = masks.add([pack_mask(mask) for mask in objects])
        columns["mask_bytes"] = masks.read()
    keypoints = [r.keypoints for r in records if r.keypoints is not None]
    if keypoints:
        columns["keypoints"] = np.concatenate(keypoints)
    return Records([Part(Index(None, {}, columns), Path())])
