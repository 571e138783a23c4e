"""The index of a data set: its annotations as columns, parsed once and then mapped.

A file holds a magic number, a header in JSON, and the columns, each as it lies in
memory. Opening maps it: nothing is read before it is used, and all processes share the
pages. `index_writer.py` writes it, `index_files.py` says where it is kept.

    I  images
    N  objects
"""

import itertools
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import numpy.typing as npt

from .records import BoolArray, FloatArray, IntArray, Record

Array = npt.NDArray[Any]

MAGIC = b"FRCNNIX1"
"""Changes with the format, and with every change of what the readers make of a file."""

_ALIGNMENT = 64
_ENCODING = ("utf-8", "surrogatepass")  # file names need not be text


@dataclass(frozen=True)
class Index:
    """An index as opened, or made in memory.

    Attributes:
        path: the file, None in memory. In another process it is opened anew: pickled,
            an index is its path.
        facts: what the reader of the annotations has added, as JSON has it.
        columns: by name.

            ids, names: ``(bytes,)`` image ids, and files relative to the image folder;
            id_ends, name_ends: ``(I + 1,)`` where each begins and the last ends;
            sizes: ``(I, 2)`` int32 width and height;
            measured: rows of the images whose own header told the size;
            starts: ``(I + 1,)`` first object of each image, and N;
            boxes, classes, difficult, crowd, areas, object_ids: ``(N, ...)``, as in
            `Record`, but classes are int32.
    """

    path: Path | None
    facts: Mapping[str, Any]
    columns: Mapping[str, Array]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return Index, (None, self.facts, self.columns)
        return open_index, (self.path,)

    def __len__(self) -> int:
        return len(self.columns["starts"]) - 1

    def string(self, column: str, row: int) -> str:
        """One of the strings of ``id`` or ``name``."""
        start, end = self.columns[f"{column}_ends"][row : row + 2]
        return self.columns[f"{column}s"][start:end].tobytes().decode(*_ENCODING)

    def strings(self, column: str) -> list[str]:
        """All strings of ``id`` or ``name``."""
        data = self.columns[f"{column}s"].tobytes()
        ends = self.columns[f"{column}_ends"].tolist()
        return [data[a:b].decode(*_ENCODING) for a, b in itertools.pairwise(ends)]


def string_columns(column: str, strings: Sequence[str]) -> dict[str, Array]:
    """The two columns that strings are kept in."""
    data = [text.encode(*_ENCODING) for text in strings]
    ends = np.zeros(len(data) + 1, np.int64)
    np.cumsum([len(text) for text in data], out=ends[1:])
    return {
        f"{column}s": np.frombuffer(b"".join(data), np.uint8),
        f"{column}_ends": ends,
    }


def write_header(
    file: BinaryIO, facts: Mapping[str, Any], layout: Mapping[str, tuple[Any, Any]]
) -> None:
    """Write all but the columns, which follow in order, each by `write_column`.

    Args:
        file: opened for writing, empty.
        facts: of the index.
        layout: dtype and shape of each column, by name.
    """
    columns = {
        name: (np.dtype(dtype).str, list(shape))
        for name, (dtype, shape) in layout.items()
    }
    header = json.dumps({"facts": facts, "columns": columns}).encode()
    file.write(MAGIC + len(header).to_bytes(8, "little") + header)


def write_column(file: BinaryIO, pieces: Iterator[Array]) -> None:
    """Write a column, given in pieces."""
    file.write(bytes(-file.tell() % _ALIGNMENT))
    for piece in pieces:
        file.write(np.ascontiguousarray(piece).data if piece.size else b"")


def open_index(path: Path) -> Index:
    """Map an index file.

    Raises:
        ValueError: it is not there or not whole.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return read_index(data, path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the index of a data set, cannot open it ({error}); "
            "start again, and it is made anew"
        ) from error


def read_index(data: mmap.mmap | bytes, path: Path | None) -> Index:
    """Make the columns of an index out of its bytes, without copying them.

    Raises:
        ValueError, KeyError, TypeError: they are not what was written.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("another format")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    header = json.loads(data[start:end])
    columns: dict[str, Array] = {}
    for name, (dtype, shape) in header["columns"].items():
        end += -end % _ALIGNMENT
        count = int(np.prod(shape))
        column = np.frombuffer(data, dtype, count, end if count else 0).reshape(shape)
        column.flags.writeable = False
        columns[name] = column
        end += column.nbytes
    if end > len(data):
        raise ValueError("cut short")
    return Index(path, header["facts"], columns)


@dataclass(frozen=True)
class Part:
    """An index among the joined ones.

    Attributes:
        index: of one data set.
        folder: what the names of its images are relative to.
        prefix: stands before its image ids.
    """

    index: Index
    folder: Path
    prefix: str = ""


class Records(Sequence[Record]):
    """The records of one index or of several joined, each made when asked for.

    Who needs one quantity of all images or objects takes the column: the loop would
    cost a second per 100,000 images. Columns are read-only; a record's arrays are its
    own.
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
        """I ids, in order."""
        return [p.prefix + text for p in self.parts for text in p.index.strings("id")]

    @property
    def paths(self) -> list[str]:
        """I image files, in order."""
        return [
            str(part.folder / text)
            for part in self.parts
            for text in part.index.strings("name")
        ]

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """``(I, 2)`` width and height in pixels, of the images as stored."""
        return self._column("sizes", np.zeros((0, 2), np.int32))

    @property
    def images(self) -> IntArray:
        """``(N,)`` the image that each object lies in."""
        starts = [np.diff(part.index.columns["starts"]) for part in self.parts]
        counts = np.concatenate([np.zeros(0, np.int64), *starts])
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def boxes(self) -> FloatArray:
        """``(N, 4)`` pixel edges."""
        return self._column("boxes", np.zeros((0, 4), np.float32))

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """``(N,)`` class indices, 1..C-1."""
        return self._column("classes", np.zeros(0, np.int32))

    @property
    def difficult(self) -> BoolArray:
        """``(N,)`` VOC's flag."""
        return self._column("difficult", np.zeros(0, np.bool_))

    @property
    def crowd(self) -> BoolArray:
        """``(N,)`` COCO's iscrowd."""
        return self._column("crowd", np.zeros(0, np.bool_))

    @property
    def areas(self) -> FloatArray:
        """``(N,)`` square pixels."""
        return self._column("areas", np.zeros(0, np.float32))

    def _column(self, name: str, none: Array) -> Array:
        columns = [part.index.columns[name] for part in self.parts]
        return columns[0] if len(columns) == 1 else np.concatenate([none, *columns])


def _record(part: Part, row: int) -> Record:
    columns = part.index.columns
    own = slice(*columns["starts"][row : row + 2].tolist())
    width, height = columns["sizes"][row].tolist()
    return Record(
        image_id=part.prefix + part.index.string("id", row),
        path=part.folder / part.index.string("name", row),
        width=width,
        height=height,
        boxes=columns["boxes"][own].copy(),
        classes=columns["classes"][own].astype(np.int64),
        difficult=columns["difficult"][own].copy(),
        crowd=columns["crowd"][own].copy(),
        areas=columns["areas"][own].copy(),
        object_ids=columns["object_ids"][own].copy(),
    )


def as_records(records: Sequence[Record]) -> Records:
    """Give records their columns; those made by hand are packed in memory."""
    if isinstance(records, Records):
        return records
    boxes = [record.boxes for record in records]
    sizes = [(record.width, record.height) for record in records]
    starts = np.zeros(len(records) + 1, np.int64)
    np.cumsum([len(own) for own in boxes], out=starts[1:])

    def join(none: Array, arrays: list[Any]) -> Array:
        return np.concatenate([none, *arrays]).astype(none.dtype, copy=False)

    flags, numbers = np.zeros(0, np.bool_), np.zeros(0, np.int64)
    columns = {
        **string_columns("id", [record.image_id for record in records]),
        **string_columns("name", [str(record.path) for record in records]),
        "sizes": np.array(sizes, np.int32).reshape(-1, 2),
        "measured": numbers,
        "starts": starts,
        "boxes": join(np.zeros((0, 4), np.float32), boxes),
        "classes": join(np.zeros(0, np.int32), [r.classes for r in records]),
        "difficult": join(flags, [r.difficult for r in records]),
        "crowd": join(flags, [r.crowd for r in records]),
        "areas": join(np.zeros(0, np.float32), [r.areas for r in records]),
        "object_ids": join(numbers, [r.object_ids for r in records]),
    }
    return Records([Part(Index(None, {}, columns), Path())])
