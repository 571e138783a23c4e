"""The file format of an index: a data set's annotations as columns, memory-mapped.

It consists of a magic number, a header in JSON, the columns as they are in memory, and
a checksum of these. All processes share the pages of the columns.

    I  images
    N  objects
"""

import itertools
import json
import mmap
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ..records import KeypointNames

Array = npt.NDArray[Any]

MAGIC = b"FRCNNIX5"
"""Changes with the format, and whenever readers interpret a file differently."""

OBJECT_COLUMNS: Mapping[str, Array] = {
    "boxes": np.zeros((0, 4), np.float32),
    "classes": np.zeros(0, np.int32),
    "difficult": np.zeros(0, np.bool_),
    "crowd": np.zeros(0, np.bool_),
    "areas": np.zeros(0, np.float32),
    "object_ids": np.zeros(0, np.int64),
}
"""The fields of objects in `Record`, each as a column without rows."""

OPTIONAL_COLUMNS = ("masks", "keypoints")
"""Further columns of objects, where a data set has them."""

_ALIGNMENT = 64
_CHECKSUM_BYTES = 4
_ENCODING = ("utf-8", "surrogatepass")  # file names may not be valid text


def object_columns(columns: Mapping[str, Array]) -> list[str]:
    """Return the names of the columns that have a row for each object."""
    return [*OBJECT_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in columns)]


@dataclass(frozen=True)
class Index:
    """An index, opened from a file or built in memory.

    ids, names: ``(bytes,)`` image ids, and files relative to the image folder;
    id_ends, name_ends: ``(I + 1,)`` start of each, and the end of the last;
    sizes: ``(I, 2)`` int32 width and height;
    measured: rows of the images whose size was read from their own header;
    starts: ``(I + 1,)`` first object of each image, and N;
    those of `OBJECT_COLUMNS`: ``(N, ...)``;
    masks: ``(N, 2)`` start and end of each object's mask in mask_bytes;
    mask_bytes: masks packed as in `packed_masks`, in any order;
    keypoints: ``(N, K, 3)``.
    """

    # the file, None in memory. Pickling stores only the path: another process opens the
    # file again.
    path: Path | None
    facts: Mapping[str, Any]  # facts added by the annotation reader, as JSON values
    columns: Mapping[str, Array]  # by name

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return Index, (None, self.facts, self.columns)
        return _reopen_index, (self.path,)

    def __len__(self) -> int:
        return len(self.columns["starts"]) - 1

    @property
    def has_masks(self) -> bool:
        """Return whether the objects have masks."""
        return "masks" in self.columns

    @property
    def keypoints(self) -> KeypointNames | None:
        """Return the names of the objects' keypoints."""
        found = self.facts["keypoints"]
        if found is None:
            return None
        pairs = {k: tuple(map(tuple, found[k])) for k in ("flip_pairs", "skeleton")}
        return KeypointNames(tuple(found["names"]), **pairs)

    def string(self, column: str, row: int) -> str:
        """Return one of the strings of ``id`` or ``name``."""
        start, end = self.columns[f"{column}_ends"][row : row + 2]
        return self.columns[f"{column}s"][start:end].tobytes().decode(*_ENCODING)

    def strings(self, column: str) -> list[str]:
        """Return all strings of ``id`` or ``name``."""
        data = self.columns[f"{column}s"].tobytes()
        ends = self.columns[f"{column}_ends"].tolist()
        return [data[a:b].decode(*_ENCODING) for a, b in itertools.pairwise(ends)]


def string_columns(column: str, strings: Sequence[str]) -> dict[str, Array]:
    """Pack strings into the two columns that store them."""
    data = [text.encode(*_ENCODING) for text in strings]
    ends = np.zeros(len(data) + 1, np.int64)
    np.cumsum([len(text) for text in data], out=ends[1:])
    return {
        f"{column}s": np.frombuffer(b"".join(data), np.uint8),
        f"{column}_ends": ends,
    }


def image_columns(
    ids: Sequence[str],
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    measured: Sequence[int],
    counts: npt.ArrayLike,
) -> dict[str, Array]:
    """Make the columns of the images, given the number of objects of each image."""
    starts = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return {
        **string_columns("id", ids),
        **string_columns("name", names),
        "sizes": np.array(sizes, np.int32).reshape(-1, 2),
        "measured": np.array(measured, np.int64),
        "starts": starts,
    }


class Column(NamedTuple):
    """A column to be written, in pieces."""

    dtype: Any
    shape: Sequence[int]
    pieces: Iterable[Array]


def write_index(
    file: BinaryIO, facts: Mapping[str, Any], columns: Mapping[str, Column]
) -> None:
    """Write an index file."""
    length = checksum = 0

    def write(data: bytes | memoryview) -> None:
        nonlocal length, checksum
        file.write(data)
        length += len(data)
        checksum = zlib.crc32(data, checksum)

    layout = {
        name: (np.dtype(column.dtype).str, list(column.shape))
        for name, column in columns.items()
    }
    header = json.dumps({"facts": facts, "columns": layout}).encode()
    write(MAGIC + len(header).to_bytes(8, "little") + header)
    for column in columns.values():
        write(bytes(-length % _ALIGNMENT))
        for piece in column.pieces:
            if piece.size:
                write(np.ascontiguousarray(piece).data.cast("B"))
    file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))


def open_index(path: Path) -> Index:
    """Map an index file after verifying its checksum.

    Raises:
        OSError: it does not exist, or cannot be read.
        ValueError: it is damaged.
    """
    return _open(path, verify=True)


def _reopen_index(path: Path) -> Index:
    """Map an index file that another process of the run has verified."""
    try:
        return _open(path, verify=False)
    except OSError as error:
        raise ValueError(
            f"{path}: expected the index that the run began with, cannot open it "
            f"({error}); start again, and the index is built again"
        ) from error


def _open(path: Path, *, verify: bool) -> Index:
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return read_index(data, path, verify=verify)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected the index of a data set, cannot open it ({error})"
            ) from error


def read_index(
    data: mmap.mmap | bytes, path: Path | None, *, verify: bool = True
) -> Index:
    """Interpret the bytes of an index as columns, without copying them.

    Raises:
        ValueError, KeyError, TypeError: the content is invalid.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("another format")
    written = len(data) - _CHECKSUM_BYTES
    checksum = int.from_bytes(data[written:], "little")
    if verify and zlib.crc32(memoryview(data)[:written]) != checksum:
        raise ValueError("its checksum differs")
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
    if end != written:
        raise ValueError("cut short")
    return Index(path, header["facts"], columns)
