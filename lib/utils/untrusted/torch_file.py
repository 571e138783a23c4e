"""Files of torch.save, read without running code or believing their sizes.

``weights_only`` runs no code. A mapped file takes no memory for what it claims: packed
entries are not unpacked, and no storage is longer than the file. What is left to check
are packed archives and tensors that repeat their numbers (stride 0).
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


class ClaimError(ValueError):
    """A file claims more data than it holds."""


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
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ClaimError("expected an archive without compression")
        if sum(entry.file_size for entry in entries) > size:
            raise ClaimError(f"its entries claim more bytes than its {size}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on sparse tensors, which are refused below
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    _check_tensors(content, max(4 * size, LEAST_ALLOWED))
    # A copy, since the mapped file may be replaced or deleted later.
    return copy.deepcopy(content) if zipped else content


def _check_tensors(content: Any, allowed: int) -> None:
    """Check that tensors are dense, and together claim no more bytes than allowed."""
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
                    f"its tensors claim more than {allowed} bytes; the last is of "
                    f"shape {tuple(value.shape)}"
                )
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
