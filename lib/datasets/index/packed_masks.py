"""Masks as bytes, so that one column holds all those of a data set.

A mask begins with int32 numbers. Polygons: how many, the number of vertices of each;
float32 x, y of all vertices follow. Run lengths: 0, height, width; their compressed
bytes follow. An object without a mask takes no bytes.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..records import IntArray, Mask, RunLengths
from .index_writer import Spool


class MaskBytes(Spool):
    """The packed masks of a data set."""

    def __init__(self, scratch: Path | None) -> None:
        super().__init__(np.zeros(0, np.uint8), scratch)

    def add(self, packed: Sequence[bytes]) -> IntArray:
        """Append packed masks; return the ``(N, 2)`` start and end of each."""
        lengths = np.fromiter(map(len, packed), np.int64, len(packed))
        ends = self.bytes + np.cumsum(lengths)
        self.append(np.frombuffer(b"".join(packed), np.uint8))
        return np.stack([ends - lengths, ends], axis=1)


def pack_parts(parts: Sequence["array[float]"]) -> bytes:
    """Pack polygons, each a float array of x and y in turn."""
    if not parts:
        return b""
    head = array("i", [len(parts), *(len(part) // 2 for part in parts)])
    return head.tobytes() + b"".join(part.tobytes() for part in parts)


def pack_run_lengths(counts: bytes, size: tuple[int, int]) -> bytes:
    """Pack compressed run lengths."""
    return array("i", [0, *size]).tobytes() + counts


def pack_mask(mask: Mask) -> bytes:
    """Pack a mask as a record has it."""
    if isinstance(mask, RunLengths):
        return pack_run_lengths(*mask)
    return pack_parts([array("f", np.ravel(part).tolist()) for part in mask])


def unpack_mask(data: Any) -> Mask:
    """Unpack the bytes of a mask into arrays of its own."""
    if len(data) == 0:
        return ()
    own = bytearray(data)
    count, *size = np.frombuffer(own, np.int32, 3).tolist()
    if count == 0:
        return RunLengths(bytes(own[12:]), (size[0], size[1]))
    vertices = np.frombuffer(own, np.float32, -1, 4 + 4 * count).reshape(-1, 2)
    if count == 1:
        return (vertices,)
    ends = np.cumsum(np.frombuffer(own, np.int32, count, 4))
    return tuple(np.split(vertices, ends[:-1]))
