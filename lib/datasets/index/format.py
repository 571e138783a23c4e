"""The file of an index: the annotations of a data set as columns, mapped when opened.

It holds a magic number, a header in JSON, and the columns, each as it lies in memory.
Opening reads none of them before it is used, and all processes share the pages.

    I  images
    N  objects
"""

import itertools
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAGIC = b"FRCNNIX2"
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
