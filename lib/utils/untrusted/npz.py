"""Arrays of an ``.npz`` file, held against the file's size before memory is taken.

An ``.npz`` is a zip archive of ``.npy`` files, and a few bytes of it can ask for any
amount: packed entries (a zip bomb), entries that share their bytes, a header whose
shape is of billions.
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_UNPACKED = 32
"""Bytes of arrays per byte of the file; deflate packs 14 of a grid's boxes, 1000 of
zeros."""
_LEAST_ALLOWED = 1 << 20  # bytes of all arrays, of even a small file
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others claim memory themselves
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpzError(ValueError):
    """A file that is no ``.npz`` of plain arrays, or claims what it does not hold."""


def read_npz(path: Path, names: Sequence[str]) -> list[Array]:
    """Read arrays of numbers or of text; nothing in the file is executed.

    Args:
        path: of ``numpy.savez`` or ``numpy.savez_compressed``.
        names: of the arrays that are wanted; others are not looked at.

    Returns:
        The arrays, in the order of ``names``.

    Raises:
        NpzError: damaged, without one of the arrays, with arrays of other content, or
            of claims that are beyond its size.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = _entries(archive, names, path.stat().st_size)
            for entry in entries:
                _survey(archive, entry)
            return [_read(archive, entry) for entry in entries]
    except (NpzError, OSError):
        raise
    except Exception as error:
        # Damaged bytes make the readers fail in any way: BadZipFile, zlib.error, ...
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise NpzError(f"truncated or damaged: {text}") from error


def _entries(
    archive: zipfile.ZipFile, names: Sequence[str], size: int
) -> list[zipfile.ZipInfo]:
    """The arrays' entries, which together are not larger than the file can justify."""
    known = {entry.filename: entry for entry in archive.infolist()}
    missing = [name for name in names if f"{name}.npy" not in known]
    if missing:
        raise NpzError(
            f"expected the arrays {', '.join(names)}, found no {', '.join(missing)}"
        )
    entries = [known[f"{name}.npy"] for name in names]
    if any(entry.compress_type not in _PACKINGS for entry in entries):
        raise NpzError("expected arrays as they are or deflated, found another packing")
    claimed = sum(entry.file_size for entry in entries)
    allowed = max(_UNPACKED * size, _LEAST_ALLOWED)
    if claimed > allowed:
        raise NpzError(
            f"its arrays claim {claimed} bytes, the file has {size}; expected at most "
            f"{allowed}"
        )
    return entries


def _survey(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Make sure that an array's header describes just the bytes behind it."""
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise NpzError(f"{entry.filename}: unknown version {version} of its header")
        shape, _, dtype = _HEADERS[version](stream)
        held = entry.file_size - stream.tell()
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        raise NpzError(
            f"{entry.filename}: expected numbers or text, found type {str(dtype)[:40]}"
        )
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != held:
        raise NpzError(
            f"{entry.filename}: expected the bytes of its shape {str(shape)[:80]} of "
            f"{dtype}, found {held}"
        )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array
