"""Arrays of an ``.npz`` file: a zip archive whose packed entries can claim any size."""

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
_LEAST_ALLOWED = 1 << 20  # bytes of all arrays, even of a small file
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others claim memory themselves


class NpzError(ValueError):
    """A file is no ``.npz`` of plain arrays, or claims more data than it holds."""


def read_npz(path: Path, names: Sequence[str]) -> list[Array]:
    """Read arrays of numbers or of text; nothing in the file is executed.

    Args:
        path: of ``numpy.savez`` or ``numpy.savez_compressed``.
        names: of the arrays to read; others are ignored.

    Returns:
        The arrays, in the order of ``names``.

    Raises:
        NpzError: damaged, without one of the arrays, with arrays of other content, or
            of claims that are beyond its size.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            known = {entry.filename: entry for entry in archive.infolist()}
            missing = [name for name in names if f"{name}.npy" not in known]
            if missing:
                raise NpzError(
                    f"expected the arrays {', '.join(names)}, found no "
                    f"{', '.join(missing)}"
                )
            entries = [known[f"{name}.npy"] for name in names]
            if any(entry.compress_type not in _PACKINGS for entry in entries):
                raise NpzError("expected stored or deflated arrays")
            size = path.stat().st_size
            claimed = sum(entry.file_size for entry in entries)
            allowed = max(_UNPACKED * size, _LEAST_ALLOWED)
            if claimed > allowed:
                raise NpzError(
                    f"its arrays claim {claimed} bytes, the file has {size}; expected "
                    f"at most {allowed}"
                )
            return [_read(archive, entry) for entry in entries]
    except (NpzError, OSError):
        raise
    except Exception as error:
        # Damaged bytes raise errors of any type: BadZipFile, zlib.error, ...
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise NpzError(f"truncated or damaged: {text}") from error


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind not in "biufU":
        raise NpzError(
            f"{entry.filename}: expected numbers or text, found type "
            f"{str(array.dtype)[:40]}"
        )
    return array
