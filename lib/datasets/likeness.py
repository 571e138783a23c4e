"""Find images that look the same, by their difference hashes and thumbnails."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

_FLAT = 2.0
"""Grey levels; gradients of less are noise."""
_BANDS = 4
"""Of two hashes that differ in fewer bits than this, one band of 16 bits is equal."""
_NEIGHBOURS = 16
_CORRELATION = 0.985


class Look(NamedTuple):
    """What an image looks like."""

    # the signs of the horizontal gradients of 8 x 8 cells as a 64-bit number; None for
    # an image without gradients
    gradient_hash: int | None
    thumbnail: bytes  # 16 x 16 grey levels


def look_of(pixels: npt.NDArray[np.uint8]) -> Look:
    """Return the look of an RGB image ``(H, W, 3)``."""
    small = cv2.resize(pixels, (72, 64), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    thumbnail = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).tobytes()
    if cells.std() < _FLAT:
        return Look(None, thumbnail)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return Look(int.from_bytes(bits.tobytes(), "big"), thumbnail)


def alike(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Yield the pairs ``(i, j)``, i < j, of images that look the same.

    Each hash is compared with the next few of equal bits in a band, which bounds the
    work for any number of images; among very many similar images, some pairs are
    missed.
    """
    hashed = [i for i, look in enumerate(looks) if look.gradient_hash is not None]
    if len(hashed) < 2:
        return
    hashes = np.array([looks[i].gradient_hash for i in hashed], np.uint64)
    pairs = set()
    for band in range(_BANDS):
        # Rotated so that the band leads: sorting puts equal bands, then near hashes,
        # next to each other.
        left, right = np.uint64(16 * band), np.uint64((64 - 16 * band) % 64)
        turned = (hashes << left) | (hashes >> right) if band else hashes
        order = np.argsort(turned, kind="stable")
        ordered = turned[order]
        for step in range(1, min(_NEIGHBOURS, len(ordered) - 1) + 1):
            differing = ordered[step:] ^ ordered[:-step]
            bits = np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1)
            for at in np.flatnonzero(bits.sum(axis=1) < _BANDS):
                first, second = sorted((hashed[order[at]], hashed[order[at + step]]))
                pairs.add((first, second))
    for i, j in sorted(pairs):
        first, second = (
            np.frombuffer(looks[k].thumbnail, np.uint8).astype(np.float64)
            for k in (i, j)
        )
        if np.corrcoef(first, second)[0, 1] > _CORRELATION:
            yield i, j
