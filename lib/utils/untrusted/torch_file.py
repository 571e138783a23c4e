"""Files of torch.save, read without running code or believing their sizes.

``weights_only`` runs no code. A mapped file takes no memory for what it claims: packed
entries are not unpacked, and no storage is longer than the file. What is left to check
are the archive's list and tensors that repeat their numbers (stride 0).
"""

import copy
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEAST_ALLOWED = 1 << 30
"""Bytes that the tensors of even a small file may claim."""

_ZIP_START = b"PK\x03\x04"
_PICKLE = 1 << 26  # bytes; all but the tensors' numbers


class ClaimError(ValueError):
    """A file that claims what it does not hold."""


def load_torch_file(path: Path) -> Any:
    """Load a file of torch.save, new or old format, on the CPU.

    Raises:
        ClaimError: sizes are beyond those of the file.
        pickle.UnpicklingError: it names a function that tensors do not need.
        Exception: of any kind, for damaged bytes.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        zipped = file.read(4) == _ZIP_START
    if zipped:
        _check_archive(path, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on sparse tensors, which are refused below
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    _check_tensors(content, size)
    # A copy, since the mapped file may be replaced or taken away later.
    return copy.deepcopy(content) if zipped else content


def _check_archive(path: Path, size: int) -> None:
    """Make sure that an archive is not larger than it seems."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ClaimError("expected bytes as they are, found them compressed")
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise ClaimError(
            f"its {len(entries)} entries claim {total} bytes, the file has {size}"
        )
    for entry in entries:
        if entry.filename.endswith("data.pkl") and entry.file_size > _PICKLE:
            raise ClaimError(f"expected a data.pkl of at most {_PICKLE} bytes")


def _check_tensors(content: Any, size: int) -> None:
    """Make sure that tensors are ordinary, and together not far larger than the file.

    Loaded tensors are views of what was read; memory is taken when they are copied.
    """
    allowed = max(4 * size, LEAST_ALLOWED)
    claimed, seen, waiting = 0, set(), [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            kind = (value.layout, value.device.type, value.is_quantized)
            if kind != (torch.strided, "cpu", False):
                raise ClaimError(f"expected dense tensors of numbers, found {kind}")
            claimed += value.numel() * value.element_size()
            if claimed > allowed:
                raise ClaimError(
                    f"its tensors claim more than {allowed} bytes, the file has "
                    f"{size}; the last is of shape {tuple(value.shape)}"
                )
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
