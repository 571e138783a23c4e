"""Run lengths of masks in COCO's format: pixels column by column, background first.

pycocotools trusts the run lengths that it is given: wrong ones make it write beyond its
memory. Those of a file are therefore checked here first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_LONGEST = 7
"""Most characters of a compressed number: 35 bits."""


def checked_counts(
    counts: bytes | str | Sequence[int], height: int, width: int
) -> bytes:
    """Return run lengths of an untrusted file in compressed form.

    Args:
        counts: run lengths, compressed or as numbers.

    Raises:
        ValueError: they are not run lengths, or not of a mask of this size. The message
            does not name the file.
    """
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if isinstance(counts, bytes):
        runs = decompress(counts)
    else:
        runs = np.array(counts)
        if runs.ndim != 1 or runs.dtype.kind != "i":
            raise ValueError("expected whole numbers")
    if len(runs) == 0 or runs.min() < 0 or runs.max() > height * width:
        raise ValueError(f"expected numbers from 0 to {height * width}")
    if int(runs.sum()) != height * width:
        raise ValueError(f"expected a sum of {height * width}, found {runs.sum()}")
    return counts if isinstance(counts, bytes) else compress(runs, height, width)


def decompress(counts: bytes) -> npt.NDArray[np.int64]:
    """Decode compressed run lengths.

    A number takes five bits a character, the lowest first. From the fourth on it is the
    difference from the number two before.

    Raises:
        ValueError: the bytes are not compressed numbers.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    is_last = codes & 32 == 0
    if not ((codes >= 0) & (codes < 64)).all() or not is_last[-1:].all():
        raise ValueError("expected compressed run lengths")
    ends = np.flatnonzero(is_last)
    lengths = np.diff(ends, prepend=-1)
    if len(ends) == 0 or lengths.max() > _LONGEST:
        raise ValueError("expected compressed run lengths of 32 bits")
    starts = ends + 1 - lengths
    bits = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << bits, starts)
    runs -= (codes[ends] >> 4 & 1) << 5 * lengths  # the sign
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def compress(runs: npt.NDArray[np.int64], height: int, width: int) -> bytes:
    """Compress run lengths, which must be valid."""
    from pycocotools import mask

    uncompressed = {"counts": runs.tolist(), "size": [height, width]}
    return bytes(mask.frPyObjects(uncompressed, height, width)["counts"])


def bounding_box(
    counts: bytes, height: int, width: int
) -> tuple[float, float, float, float]:
    """Return the pixel edges x1, y1, x2, y2 of a mask, all 0 for an empty one."""
    from pycocotools import mask

    x, y, w, h = mask.toBbox({"counts": counts, "size": [height, width]}).tolist()
    return x, y, x + w, y + h
